package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kubeconfig names a cluster that has one kernel and one server, and returns how it is called.
func kubeconfig(t *testing.T) string {
	t.Helper()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		items := []any{}
		switch {
		case !strings.Contains(r.URL.Path, "/namespaces/lab/"):
		case strings.HasSuffix(r.URL.Path, "/jupyterkernels"):
			items = []any{map[string]any{"metadata": map[string]any{"name": "k-1", "namespace": "lab"}, "spec": map[string]any{"user": "alice"}, "status": map[string]any{"phase": "Ready"}}}
		case strings.HasSuffix(r.URL.Path, "/jupyternotebooks"):
			items = []any{map[string]any{"metadata": map[string]any{"name": "jupyter-alice", "namespace": "lab"}, "spec": map[string]any{"user": "alice", "stopped": true}}}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"items": items})
	}))
	t.Cleanup(api.Close)
	file := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(file, []byte(`{"current-context": "lab", "contexts": [{"name": "lab", "context": {"cluster": "c", "namespace": "lab"}}, {"name": "other", "context": {"cluster": "c"}}],
"clusters": [{"name": "c", "cluster": {"server": "`+api.URL+`"}}]}`), 0o600))
	return file
}

// called is what the binary writes when it is called so.
func called(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	command, rest := commandFor(args)
	command.SetArgs(rest)
	command.SetOut(&out)
	command.SetErr(&bytes.Buffer{})
	err := command.ExecuteContext(t.Context())
	return out.String(), err
}

func TestKubectlCompletesNames(t *testing.T) {
	file := kubeconfig(t)
	for want, args := range map[string][]string{
		"k-1\tkernel of alice, Ready":                                {"release", ""},
		"jupyter-alice\tserver, Stopping":                            {"stop", "jup"},
		"alice\tuser|jupyter-alice\tserver, Stopping|k-1\tkernel of": {"why", ""},
		"lab|other":       {"list", "--context", ""},
		"wide|json":       {"list", "--output", ""},
		"servers|kernels": {"list", ""},
	} {
		words := append([]string{"/usr/local/bin/kubectl_complete-elastichub", args[0], "--kubeconfig", file}, args[1:]...)
		out, err := called(t, words...)
		require.NoError(t, err)
		for _, part := range strings.Split(want, "|") {
			assert.Contains(t, out, part, "%q", args)
		}
	}
	out, err := called(t, "kubectl_complete-elastichub", "stop", "--kubeconfig", file, "xyz")
	require.NoError(t, err)
	assert.Equal(t, ":4\n", out, "no name and no file")
}

func TestKubectlFlags(t *testing.T) {
	file := kubeconfig(t)
	for _, name := range []string{"kubectl-elastichub", "elastichub"} {
		out, err := called(t, name, "list", "kernels", "--kubeconfig", file, "-o", "json")
		require.NoError(t, err)
		assert.Contains(t, out, `"id": "k-1"`, name)
	}
	out, err := called(t, "kubectl-elastichub", "list", "kernels", "--kubeconfig", file, "-n", "empty", "-o", "json")
	require.NoError(t, err)
	assert.NotContains(t, out, "k-1", "it is of the namespace that is named")
	_, err = called(t, "kubectl-elastichub", "list", "--kubeconfig", file, "--context", "none")
	assert.ErrorContains(t, err, `context "none" does not exist`)
	_, err = called(t, "kubectl-elastichub", "list", "--kubeconfig", file, "-o", "xml")
	assert.ErrorContains(t, err, "is not one of wide, json, yaml")
	_, err = called(t, "kubectl-elastichub", "stop", "jupyter-alice", "--kubeconfig", file, "--dry-run=client")
	assert.ErrorContains(t, err, "is not one of none, server")
	_, err = called(t, "kubectl-elastichub", "queue", "move", "k-1", "--kubeconfig", file, "--reason", "x")
	assert.ErrorContains(t, err, "at least one of the flags in the group [first last turn] is required")
	_, err = called(t, "kubectl-elastichub", "queue", "move", "k-1", "--first", "--last", "--kubeconfig", file, "--reason", "x")
	assert.ErrorContains(t, err, "were all set")
	_, err = called(t, "kubectl-elastichub", "serve")
	assert.ErrorContains(t, err, "unknown command", "the service is no part of the plugin")
}

func TestKubectlOfTheConsole(t *testing.T) {
	file := kubeconfig(t)
	for want, args := range map[string][]string{
		"--service-account":      {"explain", "alice"},
		"that is no user's name": {"explain", "a/b", "--service-account", "x"},
		"is no user's name":      {"hours", "", "--service-account", "x"},
		`--by: "day" is not one of group, user, kernelspec, date`: {"hours", "--by", "day", "--service-account", "x"},
		"none of the others can be":                               {"hours", "--days", "1", "--months", "1"},
		`--output: "csv"`:                                         {"hours", "-o", "csv"},
		"name one namespace with -n":                              {"hours", "-A", "--service-account", "x"},
		"the Service elastichub selects no Pods":                  {"hours", "--service-account", "x"},
	} {
		_, err := called(t, append([]string{"kubectl-elastichub", args[0], "--kubeconfig", file}, args[1:]...)...)
		assert.ErrorContains(t, err, want)
	}
	out, err := called(t, "kubectl_complete-elastichub", "hours", "--kubeconfig", file, "--by", "")
	require.NoError(t, err)
	assert.Contains(t, out, "group\nuser\nkernelspec\ndate\n")
}
