package docs

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNamedTestsExist: docs/hub.md says which test proves what. Scenarios are named by their number.
func TestNamedTestsExist(t *testing.T) {
	t.Parallel()
	var sources strings.Builder
	for _, directory := range []string{"hubapi", "internalssl", "spawner", "python/tests", "test/hub"} {
		require.NoError(t, filepath.WalkDir(filepath.Join("../..", directory), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".py") {
				return err
			}
			text, err := os.ReadFile(path)
			sources.Write(text)
			return err
		}))
	}
	page, err := os.ReadFile("../../docs/hub.md")
	require.NoError(t, err)
	modules := map[string]bool{"test_form": true, "test_hub": true, "test_spawner": true}
	_, table, found := strings.Cut(string(page), "## Which test proves what")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n## ")
	names := regexp.MustCompile("`([tT]est_?[A-Za-z0-9_]+)`").FindAllStringSubmatch(table, -1)
	require.Greater(t, len(names), 40)
	for _, name := range names {
		if modules[name[1]] {
			continue
		}
		defined := regexp.MustCompile(`(?m)^(async )?(def|func) ` + name[1] + `(\(|_)`)
		assert.True(t, defined.MatchString(sources.String()), "%s is no test", name[1])
	}
}

// TestWhatEndsIsCrossedByTests: docs/testing.md says which test moves a clock across the end of what.
func TestWhatEndsIsCrossedByTests(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/testing.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(page), "What ends by itself")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n## ")
	names := regexp.MustCompile("`(Test[A-Za-z]+)`").FindAllStringSubmatch(table, -1)
	require.Greater(t, len(names), 15)
	for _, name := range names {
		assert.NoError(t, exec.Command("git", "-C", "../..", "grep", "-q", "func "+name[1]+"(", "--", "*_test.go").Run(), "%s is no test", name[1])
	}
}
