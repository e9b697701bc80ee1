package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	namedTest = regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*|test_\\w+)`")
	goTest    = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	pyTest    = regexp.MustCompile(`(?m)^(?:async )?def (test_\w+)\(`)
)

// TestTheTestsOfTheThreatModelExist: each test that docs/security.md or docs/rotation.md names is
// one of this repository.
func TestTheTestsOfTheThreatModelExist(t *testing.T) {
	t.Parallel()
	exist := map[string]bool{}
	root := filepath.Join("..", "..")
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		named := map[string]*regexp.Regexp{"_test.go": goTest}
		if strings.HasPrefix(d.Name(), "test_") {
			named[".py"] = pyTest
		}
		for ending, pattern := range named {
			if d.IsDir() || !strings.HasSuffix(path, ending) {
				continue
			}
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, found := range pattern.FindAllSubmatch(source, -1) {
				exist[string(found[1])] = true
			}
		}
		return nil
	}))
	for name, least := range map[string]int{"security.md": 20, "rotation.md": 15} {
		page, err := os.ReadFile(filepath.Join(root, "docs", name))
		require.NoError(t, err)
		names := namedTest.FindAllSubmatch(page, -1)
		assert.Greater(t, len(names), least)
		for _, found := range names {
			assert.True(t, exist[string(found[1])], "docs/%s names %s, which does not exist", name, found[1])
		}
	}
}
