package keep_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/python/keep"
)

func TestFilesAreThePackageAndNothingElse(t *testing.T) {
	t.Parallel()
	want, err := filepath.Glob("*.py")
	require.NoError(t, err)
	require.Contains(t, want, "boot.py")
	want = append(want, "LICENSE.cloudpickle")

	var got []string
	require.NoError(t, fs.WalkDir(keep.Files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		got = append(got, path)
		there, err := os.ReadFile(path)
		require.NoError(t, err)
		embedded, err := fs.ReadFile(keep.Files, path)
		require.NoError(t, err)
		assert.Equal(t, there, embedded, path)
		return nil
	}))
	assert.ElementsMatch(t, want, got)
}
