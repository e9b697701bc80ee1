package architecture

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestDocumentsLinkToWhatExists looks at every document under version control.
func TestDocumentsLinkToWhatExists(t *testing.T) {
	t.Parallel()
	const root = "../.."
	out, err := exec.Command("git", "-C", root, "ls-files", "*.md").Output()
	require.NoError(t, err)
	documents := strings.Fields(string(out))
	require.NotEmpty(t, documents)
	for _, document := range documents {
		text, err := os.ReadFile(filepath.Join(root, document))
		require.NoError(t, err)
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			target, _, _ := strings.Cut(match[1], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			_, err := os.Stat(filepath.Join(root, filepath.Dir(document), target))
			assert.NoError(t, err, "%s links to %s", document, target)
		}
	}
}
