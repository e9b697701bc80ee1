package gateway

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
)

// parkKept parks a kernel in its first run, with all of its variables.
func (w *world) parkKept(id string) {
	w.t.Helper()
	w.phase(id, v1alpha1.KernelParked, 1, "")
	w.status(id, func(s *v1alpha1.JupyterKernelStatus) {
		s.KernelSpec, s.Cause = "python-cpu", v1alpha1.CauseIdle
		s.Kept = &v1alpha1.KeptState{Run: 1, Outcome: "whole", Variables: 3}
	})
}

func (w *world) addR() {
	w.t.Helper()
	r := &v1alpha1.JupyterKernelSpec{ObjectMeta: w.meta("r")}
	r.Spec.Language = "R"
	require.NoError(w.t, w.api.Create(context.Background(), r))
	gw, all := &v1alpha1.JupyterGateway{}, &v1alpha1.GroupPolicy{}
	gw.ObjectMeta, all.ObjectMeta = w.meta(testGateway), w.meta("all")
	require.NoError(w.t, w.api.Get(context.Background(), client.ObjectKeyFromObject(gw), gw))
	gw.Spec.Kernels = append(gw.Spec.Kernels, "r")
	require.NoError(w.t, w.api.Update(context.Background(), gw))
	require.NoError(w.t, w.api.Get(context.Background(), client.ObjectKeyFromObject(all), all))
	all.Spec.Kernels.Allowed = append(all.Spec.Kernels.Allowed, "r")
	require.NoError(w.t, w.api.Update(context.Background(), all))
}

// TestAParkedKernelReturnsAsAnother by JupyterLab's "Change kernel": the same kernel, whose
// variables are kept, asks for its next run as the other kernelspec.
func TestAParkedKernelReturnsAsAnother(t *testing.T) {
	w := newWorld(t)
	w.addR()
	s := w.session("nb-alice", "POST", "/api/sessions", `{"path":"a.ipynb","kernel":{"name":"python-cpu"}}`, 201)
	w.parkKept(s.Kernel.ID)
	w.session("nb-alice", "PATCH", "/api/sessions/"+s.ID, `{"kernel":{"name":"missing"}}`, 403)
	k := w.kernel(s.Kernel.ID)
	assert.Equal(t, []any{"python-cpu", int64(1)}, []any{k.Spec.KernelSpec, k.Spec.Run}, "a refusal changes nothing")

	changed := w.session("nb-alice", "PATCH", "/api/sessions/"+s.ID, `{"name":"b","kernel":{"name":"python-gpu"}}`, 200)
	assert.Equal(t, []string{s.Kernel.ID, "python-gpu", "b"}, []string{changed.Kernel.ID, changed.Kernel.Name, changed.Name})
	k = w.kernel(s.Kernel.ID)
	assert.Equal(t, []any{"python-gpu", int64(2)}, []any{k.Spec.KernelSpec, k.Spec.Run})
	assert.Nil(t, k.Spec.Shutdown)
	// While it waits, something else will do.
	w.session("nb-alice", "PATCH", "/api/sessions/"+s.ID, `{"kernel":{"name":"python-cpu"}}`, 200)
	k = w.kernel(s.Kernel.ID)
	assert.Equal(t, []any{"python-cpu", int64(3)}, []any{k.Spec.KernelSpec, k.Spec.Run})

	// Variables cannot be brought to another language: as without them, it begins clean.
	clean := w.session("nb-alice", "PATCH", "/api/sessions/"+s.ID, `{"kernel":{"name":"r"}}`, 200)
	assert.NotEqual(t, s.Kernel.ID, clean.Kernel.ID)
	assert.Equal(t, 404, w.call("nb-alice", "GET", "/api/kernels/"+s.Kernel.ID, "").status)
}

// TestReturn is the same by a route of its own.
func TestReturn(t *testing.T) {
	w := newWorld(t)
	w.addR()
	id := w.start("nb-alice", "python-cpu")
	path := "/api/kernels/" + id + "/return"
	w.phase(id, v1alpha1.KernelReady, 1, "10.0.0.1")
	assert.Contains(t, w.call("nb-alice", "POST", path, `{"name":"python-gpu"}`).problem(t).Message, "Park it first")
	w.phase(id, v1alpha1.KernelParked, 1, "")
	assert.Equal(t, 409, w.call("nb-alice", "POST", path, `{"name":"python-gpu","kept":true}`).status, "nothing is")
	w.parkKept(id)
	for body, want := range map[string]int{`[]`: 400, `{"name":7}`: 400, `{"kept":"x"}`: 400} {
		assert.Equal(t, want, w.call("nb-alice", "POST", path, body).status, body)
	}
	for name, want := range map[string]int{"none": 404, "r": 409, "missing": 403} {
		assert.Equal(t, want, w.call("nb-alice", "POST", path, `{"name":"`+name+`"}`).status, name)
	}
	assert.Equal(t, 404, w.call("nb-bob", "POST", path, `{"name":"python-cpu"}`).status, "it is somebody else's")
	assert.EqualValues(t, 1, w.kernel(id).Spec.Run)
	a := w.call("nb-alice", "POST", path, `{"name":"python-gpu"}`)
	require.Equal(t, 200, a.status, string(a.body))
	k := w.kernel(id)
	assert.Equal(t, []any{"python-gpu", int64(2)}, []any{k.Spec.KernelSpec, k.Spec.Run})
}

// TestACellReadsThatItsKernelCouldNotReturn, is not run as what nobody has chosen, and the
// next one wakes the kernel as it was.
func TestACellReadsThatItsKernelCouldNotReturn(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-cpu")
	w.parkKept(id)
	p := w.open("nb-alice", id, "s1")
	require.Equal(t, 200, w.call("nb-alice", "POST", "/api/kernels/"+id+"/return", `{"name":"python-gpu"}`).status)
	p.execute("1")
	for m := p.next(wire.TypeDisplayData); !strings.Contains(plainText(m), "a GPU"); { // it waits for what it is to be
		m = p.next(wire.TypeUpdateDisplayData, wire.TypeDisplayData)
	}
	w.status(id, func(s *v1alpha1.JupyterKernelStatus) {
		s.Run, s.ReadyTime, s.Cause = 2, nil, v1alpha1.CauseRefused
		s.Message = `The kernel cannot return as "python-gpu": no. It is parked as it was, as "python-cpu".`
	})
	reply := p.next(wire.TypeExecuteReply)
	assert.Contains(t, string(reply.Content), "It is parked as it was")
	assert.Contains(t, string(reply.Content), "KernelRefused")
	p.execute("2")
	require.Eventually(t, func() bool { return w.kernel(id).Spec.Run == 3 }, patience, 10*time.Millisecond)
	assert.Equal(t, "python-cpu", w.kernel(id).Spec.KernelSpec)
}

// TestACellReadsThatABudgetIsSpent, and from when on its kernel can return; the next one asks again.
func TestACellReadsThatABudgetIsSpent(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-gpu")
	w.parkKept(id)
	p := w.open("nb-alice", id, "s1")
	p.execute("1")
	require.Eventually(t, func() bool { return w.kernel(id).Spec.Run == 2 }, patience, 10*time.Millisecond)
	const spent = "The budget of policy lab is spent: 40 hours of nvidia.com/gpu of each user per 7 days. Kernels are started again from 15:04:05 on 2 January 2026 (Europe/Berlin)."
	w.status(id, func(s *v1alpha1.JupyterKernelStatus) {
		s.Phase, s.Run, s.ReadyTime, s.Cause, s.Message = v1alpha1.KernelParked, 2, nil, v1alpha1.CauseBudget, spent
	})
	reply := p.next(wire.TypeExecuteReply)
	assert.Contains(t, string(reply.Content), "The kernel is parked. "+spent+" Run a cell to start it again.")
	assert.Contains(t, string(reply.Content), "KernelBudget")
	p.execute("2")
	require.Eventually(t, func() bool { return w.kernel(id).Spec.Run == 3 }, patience, 10*time.Millisecond)
}

// TestStates: a notebook is told of its own kernels that exist.
func TestStates(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-cpu")
	w.start("nb-bob", "python-cpu")
	list := func(who string) (s states) {
		a := w.call(who, "GET", "/api/states", "")
		require.Equal(t, 200, a.status, string(a.body))
		a.json(t, &s)
		return s
	}
	want := states{Holder: "gw-uid/nb-alice-uid", Kernels: []string{string(w.kernel(id).UID)}}
	require.Eventually(t, func() bool { return assert.ObjectsAreEqual(want, list("nb-alice")) }, patience, 10*time.Millisecond)
	k := w.kernel(id)
	k.Spec.Shutdown = &v1alpha1.KernelShutdown{By: "somebody"}
	require.NoError(t, w.api.Update(context.Background(), k))
	require.Eventually(t, func() bool { return len(list("nb-alice").Kernels) == 0 }, patience, 10*time.Millisecond)
	assert.Equal(t, states{Holder: "gw-uid/plain-uid", Kernels: []string{}}, list("plain"))
	assert.Equal(t, 404, w.call("ci", "GET", "/api/states", "").status)
}
