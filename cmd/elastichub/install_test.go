package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/python/keep"
)

// TestInstallAgent: the binary, and the files that the kernel reads as another user.
func TestInstallAgent(t *testing.T) {
	dir := t.TempDir()
	command := installAgentCommand()
	command.SetArgs([]string{dir})
	require.NoError(t, command.Execute())
	binary, err := os.Stat(filepath.Join(dir, "elastichub"))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o755), binary.Mode())
	want, err := fs.ReadFile(keep.Files, "boot.py")
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(dir, "keep", "boot.py"))
	require.NoError(t, err)
	assert.Equal(t, want, got)
	files, err := os.ReadDir(filepath.Join(dir, "keep"))
	require.NoError(t, err)
	assert.Greater(t, len(files), 15)
	for _, name := range []string{"keep.R", "keep.sh", "subshell.sh"} {
		assert.FileExists(t, filepath.Join(dir, "keep", name))
	}
	for _, each := range files {
		info, err := each.Info()
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o644), info.Mode(), each.Name())
	}
}
