//go:build e2e

package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/client"
)

// keepReady has the gateway keep so many CPU kernels ready, for the length of a test.
func (d *Demo) keepReady(t *testing.T, n int) {
	t.Helper()
	before := d.must(t, "get", "jupytergateway", "default", "-o", "jsonpath={.spec.warm}")
	set := func(n string) {
		d.must(t, "patch", "jupytergateway", "default", "--type=merge", "-p", `{"spec":{"warm":`+n+`}}`)
	}
	t.Cleanup(func() {
		if before == "" {
			before = "null"
		}
		set(before)
	})
	set(fmt.Sprint(n))
}

// warmPod waits until a warm Pod that these labels select is ready.
func (d *Demo) warmPod(t *testing.T, labels string) string {
	t.Helper()
	var pods []Pod
	require.Eventually(t, func() bool {
		var err error
		pods, err = d.ReadyPods("app.kubernetes.io/component=kernel,!elastichub.io/taken," + labels)
		return err == nil && len(pods) > 0
	}, 2*time.Minute, 250*time.Millisecond, labels)
	return pods[0].Metadata.Name
}

// withHome is a server of one of the demo's users, as its Hub has them: policy and home.
func (d *Demo) withHome(t *testing.T, user string) *server {
	t.Helper()
	return d.notebook(t, "faults-"+user, nil, "1Gi", map[string]any{
		"user": user, "kernelOptions": map[string]any{"policies": []string{"analysts"}, "idleTimeoutSeconds": 20},
	})
}

// TestAPlainNotebookTakesAWarmPod: what every jupyter_server sends, and other variables of
// its environment, keep nobody from a kernel that is kept ready.
func TestAPlainNotebookTakesAWarmPod(t *testing.T) {
	d := demo(t)
	d.keepReady(t, 3)
	s := d.notebook(t, "faults-warm", map[string]string{"KERNEL_LAUNCH_TIMEOUT": "58", "KERNEL_TOPIC": "a b"}, "")
	d.warmPod(t, "!elastichub.io/warm-for")
	_, k := s.open(wire.SubprotocolV1)
	assert.True(t, strings.HasPrefix(d.podOf(t, k), "warm-"), "it runs in %s", d.podOf(t, k))
	assert.Equal(t, "a b\n", run(t, k, "import os; print(os.environ['KERNEL_TOPIC'])"))
}

// TestAKernelWithAHomeIsKeptReady: for its person alone, on their files, in the directory
// of their document, and booked to nobody before it is taken.
func TestAKernelWithAHomeIsKeptReady(t *testing.T) {
	d := demo(t)
	d.keepReady(t, 3)
	alice, bob := d.withHome(t, "alice"), d.withHome(t, "bob")
	warm := d.warmPod(t, "elastichub.io/warm-for="+alice.notebook)
	d.warmPod(t, "elastichub.io/warm-for="+bob.notebook)
	assert.Empty(t, d.must(t, "get", "pod", warm, "-o", `jsonpath={.metadata.labels.hub\.jupyter\.org/username}`))
	assert.Equal(t, "home-"+alice.notebook, d.must(t, "get", "pod", warm, "-o", "jsonpath={.spec.volumes[*].persistentVolumeClaim.claimName}"))

	parked := map[*server]*client.Kernel{}
	for _, s := range []*server{bob, alice} {
		status, err := s.Call(t.Context(), "PUT", "/api/contents/work%20dir", map[string]string{"type": "directory"}, nil)
		require.NoError(t, err)
		require.Contains(t, []int{200, 201}, status)
		status, err = s.Call(t.Context(), "PUT", "/api/contents/work%20dir/whose.txt", map[string]string{"type": "file", "format": "text", "content": s.notebook}, nil)
		require.NoError(t, err)
		require.Contains(t, []int{200, 201}, status)
		made, k := s.openAt("work dir/a.ipynb", wire.SubprotocolV1)
		pod := d.podOf(t, k)
		assert.True(t, strings.HasPrefix(pod, "warm-"), "it runs in %s", pod)
		assert.Equal(t, s == alice, pod == warm, "hers is for her alone")
		assert.Equal(t, "/home/jovyan/work dir "+s.notebook+"\n", run(t, k, "import os; print(os.getcwd(), open('whose.txt').read())"))
		assert.Equal(t, s.notebook, d.must(t, "get", "pod", pod, "-o", `jsonpath={.metadata.labels.elastichub\.io/notebook}`))
		status, err = s.Call(t.Context(), "POST", "/api/kernels/"+made.Kernel.ID+"/restart", struct{}{}, nil)
		require.NoError(t, err)
		require.Equal(t, 200, status)
		assert.Equal(t, "/home/jovyan/work dir\n", run(t, k, "import os; y = 41; print(os.getcwd())"))
		parked[s] = k
	}

	// it comes back on the next one, with its variables
	k := parked[alice]
	require.Eventually(t, func() bool {
		out, err := d.Kubectl("get", "jupyterkernel", k.ID, "-o", "jsonpath={.status.phase}")
		return err == nil && out == "Parked"
	}, 2*time.Minute, 250*time.Millisecond)
	next := d.warmPod(t, "elastichub.io/warm-for="+alice.notebook)
	assert.Equal(t, "42\n", run(t, k, "print(y + 1)"))
	assert.Equal(t, next, d.podOf(t, k))

	d.must(t, "patch", "jupyternotebook", alice.notebook, "--type=merge", "-p", `{"spec":{"stopped":true}}`)
	require.Eventually(t, func() bool {
		out, err := d.Kubectl("get", "pods", "-l", "elastichub.io/warm-for="+alice.notebook, "-o", "name")
		return err == nil && out == ""
	}, time.Minute, 250*time.Millisecond, "it ends with the notebook")
}
