//go:build e2e

package faults

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/client"
	"github.com/elastichub/elastichub/test/docs"
)

// TestBackupAndRestore types what docs/backup.md says, beside the demo: a notebook, its parked kernel, a policy
// and a kernelspec are deleted between, and come back, the kernel with its variables.
func TestBackupAndRestore(t *testing.T) {
	d := demo(t)
	blocks, _, err := docs.ReadPage("docs/backup.md")
	require.NoError(t, err)
	var typed []string
	for _, b := range blocks {
		if strings.Contains(b.Text, "elastichub ") {
			typed = append(typed, strings.ReplaceAll(b.Text, "-n jupyterhub", "-n "+d.Namespace))
		}
	}
	require.Len(t, typed, 2)
	directory := t.TempDir()
	built, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(directory, "elastichub"), "../../cmd/elastichub").CombinedOutput()
	require.NoError(t, err, string(built))
	script := func(text string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "bash", "-c", "set -euo pipefail\nPATH=$PWD:$PATH\n"+text)
		cmd.Dir = directory
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}

	const name = "faults-backup"
	t.Cleanup(func() { d.must(t, "delete", "grouppolicy,jupyterkernelspec", name, "--ignore-not-found") })
	for kind, like := range map[string]string{"grouppolicy": "ml-research", "jupyterkernelspec": "python-cpu"} {
		var object map[string]any
		require.NoError(t, json.Unmarshal([]byte(d.must(t, "get", kind, like, "-o", "json")), &object))
		object["metadata"] = map[string]any{"name": name}
		delete(object, "status")
		if kind == "grouppolicy" {
			object["spec"].(map[string]any)["groups"] = []string{name} // of nobody
		}
		text, err := json.Marshal(object)
		require.NoError(t, err)
		d.apply(t, string(text))
	}
	s := d.notebook(t, name, nil, "64Mi")
	made, k := s.open(wire.SubprotocolV1)
	id := made.Kernel.ID
	run(t, k, "x = [6]")
	assert.Equal(t, "whole", d.park(t, id, 1).Kept.Outcome)
	k.Close()
	uid := d.must(t, "get", "jupyterkernel", id, "-o", "jsonpath={.metadata.uid}")
	require.Eventually(t, func() bool {
		return strings.Contains(d.must(t, "get", "jupyterkernel", id, "-o", "jsonpath={.metadata.annotations}"), `\"variables\":`)
	}, 10*time.Second, 100*time.Millisecond, "what a copy needs is noted")

	assert.Contains(t, script(typed[0]), "Homes are not in it.")
	before := s.ready()
	d.must(t, "delete", "jupyternotebook", name, "--cascade=foreground", "--wait=true")
	d.must(t, "delete", "jupyterkernel", id, "--ignore-not-found", "--wait=true")
	d.must(t, "delete", "grouppolicy,jupyterkernelspec", name)
	require.Eventually(t, func() bool {
		pods, err := d.Kubectl("get", "pods", "-l", s.selector(), "-o", "name")
		return err == nil && pods == ""
	}, time.Minute, 100*time.Millisecond)

	said := script(typed[1])
	for _, object := range []string{"JupyterNotebook " + d.Namespace + "/" + name, "JupyterKernel " + d.Namespace + "/" + id, "GroupPolicy " + d.Namespace + "/" + name, "JupyterKernelSpec " + d.Namespace + "/" + name} {
		assert.Contains(t, said, object+" created (dry run)\n")
		assert.Contains(t, said, object+" created\n")
	}
	assert.NotContains(t, said, "cannot be made")
	assert.NotContains(t, said, "overwritten")

	s.ready(before)
	s.URL = "http://" + d.must(t, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}")
	require.Eventually(t, func() bool {
		now := d.kernelStatus(t, id)
		return now.Phase == "Parked" && now.Run == 1 && now.Kept.Outcome == "whole"
	}, time.Minute, 100*time.Millisecond)
	assert.Equal(t, uid, d.must(t, "get", "jupyterkernel", id, "-o", "jsonpath={.status.keptAs}"))
	require.Eventually(t, func() bool {
		status, err := s.Call(t.Context(), "GET", "/api/kernels/"+id, nil, nil)
		return err == nil && status == 200
	}, time.Minute, 250*time.Millisecond, "the server knows its kernel")
	again := &client.Kernel{Gateway: s.Gateway, ID: id, Session: uuid.NewString(), Subprotocol: wire.SubprotocolV1, Patience: 90 * time.Second}
	require.NoError(t, again.Open(t.Context()))
	defer again.Close()
	assert.Contains(t, run(t, again, "print(x)"), "[6]")
}
