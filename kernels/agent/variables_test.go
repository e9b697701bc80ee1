package agent_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// TestAKernelIsToldVariables: the process that runs, without a trace, and those after it.
func TestAKernelIsToldVariables(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	r.waitReady()
	want := map[string]string{
		"JUPYTERHUB_USER": "ann", "JUPYTERHUB_HOST": "",
		"JPY_SESSION_NAME": "/home/jovyan/\"ü\" '''\\ $(A) \U0001F600\x01.ipynb",
	}
	body, err := json.Marshal(protocol.Variables{Variables: want})
	require.NoError(t, err)
	status, answer := r.request("PUT", protocol.PathVariables, string(body))
	require.Equal(t, 204, status, answer)
	g := r.connect("s1")
	see := `import os, json; print(json.dumps({n: os.environ.get(n) for n in ["JUPYTERHUB_USER", "JUPYTERHUB_HOST", "JPY_SESSION_NAME"]}))`
	assertSeen := func() {
		t.Helper()
		var got map[string]string
		require.NoError(t, json.Unmarshal([]byte(g.run(see)), &got))
		assert.Equal(t, want, got)
	}
	var reply struct {
		Count int `json:"execution_count"`
	}
	require.NoError(t, json.Unmarshal(g.result(g.execute("None")).reply.Content, &reply))
	assert.Equal(t, 1, reply.Count, "it was no cell")
	assertSeen()
	status, _ = r.request("POST", protocol.PathRestart, "")
	require.Equal(t, 204, status)
	assertSeen()
}

// TestAKernelIsToldItsDirectory: where the document is, if that is in one of the roots;
// and the processes after it begin there.
func TestAKernelIsToldItsDirectory(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	r.waitReady()
	home, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	work, outside := filepath.Join(home, "a b ü"), t.TempDir()
	require.NoError(t, os.MkdirAll(work, 0o755))
	require.NoError(t, os.Symlink(work, filepath.Join(home, "link")))
	require.NoError(t, os.Symlink(outside, filepath.Join(home, "escape")))
	g := r.connect("s1")
	where := func() string { return g.run("import os; print(os.getcwd())") }
	tell := func(path string) {
		t.Helper()
		body, err := json.Marshal(protocol.Variables{Directory: &protocol.Directory{Path: path, Roots: []string{"/nonexistent", home}}})
		require.NoError(t, err)
		status, answer := r.request("PUT", protocol.PathVariables, string(body))
		require.Equal(t, 204, status, answer)
	}
	before := where()
	for _, path := range []string{filepath.Join(home, "absent"), filepath.Join(home, "escape"), outside, home + "-not"} {
		tell(path)
		assert.Equal(t, before, where(), path)
	}
	tell(filepath.Join(home, "link"))
	assert.Equal(t, work+"\n", where())
	status, _ := r.request("POST", protocol.PathRestart, "")
	require.Equal(t, 204, status)
	assert.Equal(t, work+"\n", where())
	tell(home)
	assert.Equal(t, home+"\n", where())
}

func TestVariablesThatAreRefused(t *testing.T) {
	t.Parallel()
	r := start(t, stub(t), nil)
	r.waitReady()
	for name, body := range map[string]string{
		"reserved":     `{"variables": {"ELASTICHUB_GPUS": "8"}}`,
		"no name":      `{"variables": {"A=B": "1"}}`,
		"NUL":          `{"variables": {"A": "\u0000"}}`,
		"too much":     `{"variables": {"A": "` + strings.Repeat("x", protocol.VariablesBytes) + `"}}`,
		"no directory": `{"variables": {}, "directory": {"path": "a/b", "roots": ["/"]}}`,
		"a newer word": `{"variables": {}, "other": 1}`,
	} {
		status, answer := r.request("PUT", protocol.PathVariables, body)
		assert.Equal(t, 400, status, "%s: %s", name, answer)
	}
	// Nobody knows how to say it in the stub's language. Whoever asks makes another Pod.
	status, answer := r.request("PUT", protocol.PathVariables, `{"variables": {"A": "1"}}`)
	assert.Equal(t, 409, status, answer)
}
