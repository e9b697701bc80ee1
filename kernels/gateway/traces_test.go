package gateway

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/tracing/tracingtest"
)

// TestTheTraceOfACell: of the one that brings a parked kernel back, of the one that waits for
// a kernel's first start, and of none that the kernel is there for.
func TestTheTraceOfACell(t *testing.T) {
	w := newWorld(t)
	tracer, receiver := tracingtest.Start(t, "gateway")
	w.server.tracer = tracer
	id := w.start("nb-alice", "python-gpu")
	k := w.kernel(id)
	asked := receiver.Await(t, "POST /api/kernels")["POST /api/kernels"]
	assert.Equal(t, k.Annotations[v1alpha1.AnnotationRequest], asked.Attributes["request"])
	assert.Equal(t, "00-"+asked.Trace+"-"+asked.ID+"-01", k.Annotations[v1alpha1.AnnotationTraceparent])

	came := protocol.State{ExecutionState: wire.StateIdle, Meter: &protocol.Meter{HeldSeconds: 9, BusySeconds: 1}, Came: &protocol.Came{ProcessSeconds: 1, AnswerSeconds: 3, ReadySeconds: 7}}
	agent := w.agent(id, 1)
	agent.state.Store(came)
	p := w.open("nb-alice", id, "s")
	p.execute("first = 'hunter2'")
	w.phase(id, v1alpha1.KernelStarting, 1, agent.ip)
	agent.run("s", agent.receive(wire.TypeExecuteRequest), "hunter2")
	p.next(wire.TypeExecuteReply)
	first := receiver.Await(t, "cell", "reach the agent", "load of its state")
	assert.Equal(t, asked.ID, first["cell"].Parent)
	assert.Equal(t, asked.Trace, first["load of its state"].Trace)

	w.phase(id, v1alpha1.KernelReady, 1, agent.ip)
	p.execute("second")
	agent.run("s", agent.receive(wire.TypeExecuteRequest), "42")
	p.next(wire.TypeExecuteReply)
	before := len(receiver.Spans())

	agent.end("idle")
	w.phase(id, v1alpha1.KernelParked, 1, "")
	p.execute("third = 'hunter2'")
	require.Eventually(t, func() bool { return w.kernel(id).Spec.Run == 2 }, patience, 10*time.Millisecond)
	k = w.kernel(id)
	again := w.agent(id, 2)
	again.state.Store(came)
	w.phase(id, v1alpha1.KernelStarting, 2, again.ip)
	request := again.receive(wire.TypeExecuteRequest)
	again.run("s", request, "hunter2")
	p.next(wire.TypeExecuteReply)
	require.Eventually(t, func() bool { return len(receiver.Spans()) == before+5 }, patience, 10*time.Millisecond, "%v", receiver.Spans())
	spans := tracingtest.ByName(receiver.Spans())
	cell := spans["cell"]
	assert.Empty(t, cell.Parent, "it began a trace")
	assert.Equal(t, "00-"+cell.Trace+"-"+cell.ID+"-01", k.Annotations[v1alpha1.AnnotationTraceparent], "which the controllers go on with")
	assert.Equal(t, map[string]string{"request": k.Annotations[v1alpha1.AnnotationRequest], "kernel": id, "owner": cell.Attributes["owner"]}, cell.Attributes)
	assert.Contains(t, cell.Attributes["owner"], "alice")
	for name, took := range map[string]float64{"container of the kernel": 1, "start of its process": 2, "load of its state": 4} {
		assert.Equal(t, cell.ID, spans[name].Parent, name)
		assert.InDelta(t, took, spans[name].Took().Seconds(), 1e-6, name)
	}
	assert.Equal(t, cell.ID, spans["reach the agent"].Parent)
	assert.NotContains(t, receiver.Raw(), "hunter2")

	// One that nobody waits for any more says so.
	again.end("idle")
	w.phase(id, v1alpha1.KernelParked, 2, "")
	p.execute("fourth")
	require.Eventually(t, func() bool { return w.kernel(id).Spec.Run == 3 }, patience, 10*time.Millisecond)
	require.NoError(t, p.conn.CloseNow())
	require.Eventually(t, func() bool { return tracingtest.ByName(receiver.Spans())["cell"].Failed == string(endClient) }, patience, 10*time.Millisecond)
}
