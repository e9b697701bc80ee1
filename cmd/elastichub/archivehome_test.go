package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/spawner/homes/archive"
)

// TestArchiveHomeTellsTheKubelet what came of it, where there is a kubelet.
func TestArchiveHomeTellsTheKubelet(t *testing.T) {
	t.Parallel()
	home, to, words := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "termination-log")
	require.NoError(t, os.WriteFile(filepath.Join(home, "own"), []byte("hers"), 0o600))
	run := func(args ...string) (string, error) {
		command := archiveHomeCommand()
		var out bytes.Buffer
		command.SetArgs(args)
		command.SetOut(&out)
		command.SetErr(&out)
		command.SilenceErrors, command.SilenceUsage = true, true
		err := command.ExecuteContext(t.Context())
		return out.String(), err
	}
	_, err := run("--home", home, "--to", to, "--name", "ann", "--last-words", words)
	require.NoError(t, err)
	assert.NoFileExists(t, words, "there is no kubelet")
	require.NoError(t, os.WriteFile(words, nil, 0o600))
	out, err := run("--home", home, "--to", to, "--name", "ann", "--last-words", words)
	require.NoError(t, err)
	told, err := os.ReadFile(words)
	require.NoError(t, err)
	assert.Equal(t, out, string(told)+"\n")
	var result archive.Result
	require.NoError(t, json.Unmarshal(told, &result))
	assert.Equal(t, "ann.tar.zst", result.File)
	assert.Equal(t, int64(2), result.Entries)

	_, err = run("--home", filepath.Join(home, "nowhere"), "--to", to, "--name", "bob", "--last-words", words)
	require.ErrorIs(t, err, os.ErrNotExist)
	told, err = os.ReadFile(words)
	require.NoError(t, err)
	assert.Contains(t, string(told), "nowhere")
}
