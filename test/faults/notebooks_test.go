//go:build e2e

package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/test/docs"
)

// freePort is one at which nothing listens.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
}

// TestNotebooksByTheAPI types what docs/console.md says of the life of a notebook, as one
// script, in the demo's namespace and at ports that are free.
func TestNotebooksByTheAPI(t *testing.T) {
	d := demo(t)
	blocks, _, err := docs.ReadPage("docs/console.md")
	require.NoError(t, err)
	script := "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
	shown := 0
	for _, b := range blocks {
		if strings.Contains(b.Text, "/notebooks/analysis") || strings.Contains(b.Text, "API/notebooks ") {
			script, shown = script+b.Text+"\n", shown+1
		}
	}
	require.Equal(t, 2, shown)
	api, server := freePort(t), freePort(t)
	script = strings.NewReplacer("-n jupyterhub", "-n "+d.Namespace, "=jupyterhub:", "="+d.Namespace+":",
		"8080:8080", api+":8080", "127.0.0.1:8080", "127.0.0.1:"+api, "8888:8888", server+":8888", "127.0.0.1:8888", "127.0.0.1:"+server).Replace(script)
	remove := func() {
		_, _ = d.Kubectl("delete", "--ignore-not-found", "--wait=false", "jupyternotebook/analysis", "secret/analysis-key",
			"serviceaccount/notebooks", "role/notebooks", "rolebinding/notebooks", "persistentvolumeclaim/home-analysis")
	}
	remove()
	t.Cleanup(remove)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	began := time.Now()
	out, err := exec.CommandContext(ctx, "bash", "-c", script).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("made, opened, stopped, started, opened and deleted in %s", time.Since(began).Round(time.Second))

	var answers []map[string]any
	for line := range strings.Lines(string(out)) {
		var answer map[string]any
		if json.Unmarshal([]byte(line), &answer) == nil {
			answers = append(answers, answer)
		}
	}
	require.Len(t, answers, 7, "%s", out)
	made, stopped, list, started, file, deleted := answers[0], answers[2], answers[3], answers[4], answers[5], answers[6]
	assert.Equal(t, "http://analysis."+d.Namespace+".svc:8888", made["url"])
	assert.Equal(t, true, stopped["server"].(map[string]any)["stopped"])
	assert.NotZero(t, list["total"])
	assert.Equal(t, []any{made["url"], made["home"], made["gateway"]}, []any{started["url"], started["home"], started["gateway"]})
	assert.Equal(t, "kept", file["content"])
	assert.Equal(t, made["home"], deleted["kept_home"])
}
