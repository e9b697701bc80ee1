//go:build e2e

package faults

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
)

// kernelStatus is what of a JupyterKernel's status these tests read.
type kernelStatus struct {
	Phase, Message string
	Run            int64
	Kept           struct {
		Outcome   string
		Variables int
	}
}

func (d *Demo) kernelStatus(t *testing.T, id string) kernelStatus {
	t.Helper()
	var k struct{ Status kernelStatus }
	require.NoError(t, json.Unmarshal([]byte(d.must(t, "get", "jupyterkernel", id, "-o", "json")), &k))
	return k.Status
}

// over waits until a run of a kernel has no Pod any more.
func (d *Demo) over(t *testing.T, id string, run int64) kernelStatus {
	t.Helper()
	var now kernelStatus
	require.Eventually(t, func() bool {
		now = d.kernelStatus(t, id)
		pods, err := d.Kubectl("get", "pods", "-l", "elastichub.io/kernel="+id, "-o", "name")
		return err == nil && pods == "" && now.Run == run && (now.Phase == "Parked" || now.Phase == "Dead")
	}, 2*time.Minute, 250*time.Millisecond)
	return now
}

// TestVariablesSurviveWhatHappensToTheirKernel: one kernel with its home, parked again and
// again while something else breaks. What it has is there in its next run, or it says why.
func TestVariablesSurviveWhatHappensToTheirKernel(t *testing.T) {
	d := demo(t)
	s := d.notebook(t, "faults-keep", nil, "64Mi")
	made, k := s.open(wire.SubprotocolV1)
	id := made.Kernel.ID
	run(t, k, "x = [6]; y = x")
	states := func(command string) string {
		return d.must(t, "exec", s.ready().Metadata.Name, "--", "sh", "-c", "cd /home/jovyan/.elastichub/kernels && "+command)
	}
	for i, way := range []struct {
		name string
		end  func(t *testing.T) // of the run
		kept bool
	}{
		{"its Pod is deleted", func(t *testing.T) { d.must(t, "delete", "pod", d.podOf(t, k), "--wait=false") }, true},
		{"service and gateway die while it is parked", func(t *testing.T) {
			d.over(t, id, 2)
			d.must(t, "delete", "pod", "-l", servicePods, "--grace-period=1")
			d.must(t, "delete", "pod", "-l", gatewayPods, "--grace-period=1")
			d.replicas(t, 1)
		}, true},
		{"its server is replaced while it is parked", func(t *testing.T) {
			d.over(t, id, 3)
			before := s.ready()
			d.must(t, "delete", "pod", before.Metadata.Name)
			s.ready(before)
		}, true},
		{"what is in the home is not what was kept", func(t *testing.T) {
			d.over(t, id, 4)
			states(`f=$(find . -path '*/chunks/*' -type f | head -n 1) && printf X | dd of="$f" bs=1 seek=40 conv=notrunc`)
		}, false},
	} {
		t.Run(way.name, func(t *testing.T) {
			way.end(t)
			ended := d.over(t, id, int64(i+1))
			t.Log(ended.Message)
			assert.Equal(t, "whole", ended.Kept.Outcome)
			assert.Equal(t, 3, ended.Kept.Variables, "x, y and time")
			k.Close()
			require.Eventually(t, func() bool { return k.Open(t.Context()) == nil }, time.Minute, time.Second)
			if !way.kept {
				assert.Equal(t, "False\n", run(t, k, `print("x" in globals())`))
				return
			}
			assert.Equal(t, "True "+want(i+1)+"\n", run(t, k, "x.append(7); print(x is y, y)"))
		})
	}
	run(t, k, "z = 1")
	pod := d.podOf(t, k)
	status, err := s.Call(t.Context(), "DELETE", "/api/sessions/"+made.ID, nil, nil)
	require.NoError(t, err)
	require.Equal(t, 204, status)
	d.ended(t, id, pod)
	assert.Empty(t, strings.TrimSpace(states("ls")), "nothing is left of a kernel that is shut down")
}

// want is the list after so many runs.
func want(runs int) string {
	return "[6" + strings.Repeat(", 7", runs) + "]"
}

// park parks a kernel by hand, and waits until it has no Pod.
func (d *Demo) park(t *testing.T, id string, run int64) kernelStatus {
	t.Helper()
	d.must(t, "patch", "jupyterkernel", id, "--type=merge", "-p", fmt.Sprintf(`{"spec":{"park":{"run":%d}}}`, run))
	return d.over(t, id, run)
}

// TestAParkedKernelReturnsAsAnother by what JupyterLab's "Change kernel" sends, on a GPU, and
// again without one, by kubectl: the same kernel, with what it had.
func TestAParkedKernelReturnsAsAnother(t *testing.T) {
	d := demo(t)
	s := d.notebook(t, "faults-return", nil, "64Mi")
	made, k := s.open(wire.SubprotocolV1)
	id := made.Kernel.ID
	run(t, k, "x = [6]; y = x")
	assert.Equal(t, "whole", d.park(t, id, 1).Kept.Outcome)
	spec := func(path string) string { return d.must(t, "get", "jupyterkernel", id, "-o", "jsonpath={"+path+"}") }

	k.Close()
	var changed session
	status, err := s.Call(t.Context(), "PATCH", "/api/sessions/"+made.ID, map[string]any{"kernel": map[string]string{"name": "python-gpu"}}, &changed)
	require.NoError(t, err)
	require.Equal(t, 200, status)
	assert.Equal(t, id, changed.Kernel.ID)
	require.Eventually(t, func() bool { return k.Open(t.Context()) == nil }, time.Minute, time.Second)
	assert.Equal(t, "True [6, 7]\n", run(t, k, "x.append(7); print(x is y, y)"))
	assert.Equal(t, "python-gpu", spec(".spec.kernelSpec"))
	assert.Equal(t, "1", spec(`.status.held.nvidia\.com/gpu`))

	assert.Equal(t, "whole", d.park(t, id, 2).Kept.Outcome)
	_, err = d.Kubectl("patch", "jupyterkernel", id, "--type=merge", "-p", `{"spec":{"kernelSpec":"python-cpu"}}`)
	require.ErrorContains(t, err, "changes only together with spec.run")
	d.must(t, "patch", "jupyterkernel", id, "--type=merge", "-p", `{"spec":{"kernelSpec":"python-cpu","run":3}}`)
	k.Close()
	require.Eventually(t, func() bool { return k.Open(t.Context()) == nil }, time.Minute, time.Second)
	assert.Equal(t, "True [6, 7, 8]\n", run(t, k, "x.append(8); print(x is y, y)"))
	assert.Empty(t, spec(".status.held"))
}

// TestStatesOfDeletedKernelsAreRemoved by the notebook server, though no other kernel ever uses
// the home.
func TestStatesOfDeletedKernelsAreRemoved(t *testing.T) {
	d := demo(t)
	s := d.notebook(t, "faults-states", nil, "64Mi")
	made, k := s.open(wire.SubprotocolV1)
	id := made.Kernel.ID
	run(t, k, "x = [6]")
	assert.Equal(t, "whole", d.park(t, id, 1).Kept.Outcome)
	k.Close()
	states := func() string {
		return strings.TrimSpace(d.must(t, "exec", s.ready().Metadata.Name, "--", "sh", "-c", "cat /home/jovyan/.elastichub/seen; ls /home/jovyan/.elastichub/kernels"))
	}
	uid := d.must(t, "get", "jupyterkernel", id, "-o", "jsonpath={.metadata.uid}")
	replace := func() {
		before := s.ready()
		d.must(t, "delete", "pod", before.Metadata.Name)
		s.ready(before)
	}
	replace() // it looks when it starts, and then every ten minutes
	require.Eventually(t, func() bool { return strings.Count(states(), uid) == 2 }, time.Minute, time.Second, "it is kept, and noted")
	d.must(t, "delete", "jupyterkernel", id)
	replace()
	require.Eventually(t, func() bool { return !strings.Contains(states(), uid) }, time.Minute, time.Second)
}
