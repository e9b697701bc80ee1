package gateway

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
)

func kernelIn(phase v1alpha1.KernelPhase, specRun, run int64, ip string) *v1alpha1.JupyterKernel {
	k := &v1alpha1.JupyterKernel{}
	k.UID, k.Spec.Run = "u", specRun
	k.Status.Phase, k.Status.Run, k.Status.PodIP = phase, run, ip
	return k
}

func TestDecide(t *testing.T) {
	const ip = "10.0.0.9"
	dial := func(run int64) action { return action{dial: target{uid: "u", run: run, ip: ip}} }
	for name, c := range map[string]struct {
		s    situation
		want action
	}{
		"deleted":                              {situation{link: linkUp}, action{deleted: true}},
		"not taken up":                         {situation{kernel: kernelIn("", 1, 0, "")}, action{}},
		"queued":                               {situation{kernel: kernelIn(v1alpha1.KernelQueued, 1, 1, ""), wanted: true}, action{}},
		"queued with an old link":              {situation{kernel: kernelIn(v1alpha1.KernelQueued, 2, 2, ""), link: linkUp, linkRun: 1}, action{unlink: true}},
		"woken, not taken up, old link":        {situation{kernel: kernelIn(v1alpha1.KernelParked, 2, 1, ip), link: linkUp, linkRun: 1}, action{unlink: true}},
		"woken, not taken up":                  {situation{kernel: kernelIn(v1alpha1.KernelParked, 2, 1, ip), wanted: true, settled: 1}, action{}},
		"starting without address":             {situation{kernel: kernelIn(v1alpha1.KernelStarting, 1, 1, "")}, action{}},
		"starting with bad address":            {situation{kernel: kernelIn(v1alpha1.KernelStarting, 1, 1, "evil.example")}, action{}},
		"starting":                             {situation{kernel: kernelIn(v1alpha1.KernelStarting, 1, 1, ip)}, dial(1)},
		"ready":                                {situation{kernel: kernelIn(v1alpha1.KernelReady, 3, 3, ip)}, dial(3)},
		"ready, dialling":                      {situation{kernel: kernelIn(v1alpha1.KernelReady, 3, 3, ip), link: linkDialing, linkRun: 3}, action{}},
		"ready, linked":                        {situation{kernel: kernelIn(v1alpha1.KernelReady, 3, 3, ip), link: linkUp, linkRun: 3}, action{}},
		"ready, linked to an earlier run":      {situation{kernel: kernelIn(v1alpha1.KernelReady, 3, 3, ip), link: linkUp, linkRun: 2}, action{unlink: true}},
		"ready, agent said goodbye":            {situation{kernel: kernelIn(v1alpha1.KernelReady, 3, 3, ip), ended: 3, wanted: true}, action{}},
		"ready, an earlier agent said goodbye": {situation{kernel: kernelIn(v1alpha1.KernelReady, 3, 3, ip), ended: 2}, dial(3)},
		"parked, last words on their way":      {situation{kernel: kernelIn(v1alpha1.KernelParked, 1, 1, ""), link: linkUp, linkRun: 1}, action{linger: true}},
		"parked, no last words":                {situation{kernel: kernelIn(v1alpha1.KernelParked, 1, 1, ""), link: linkUp, linkRun: 1, endedFor: lingerLink}, action{unlink: true}},
		"parked, dialling":                     {situation{kernel: kernelIn(v1alpha1.KernelParked, 1, 1, ip), link: linkDialing, linkRun: 1}, action{unlink: true}},
		"parked, to be dealt with":             {situation{kernel: kernelIn(v1alpha1.KernelParked, 1, 1, ""), wanted: true}, action{settle: true}},
		"parked":                               {situation{kernel: kernelIn(v1alpha1.KernelParked, 1, 1, ""), settled: 1}, action{parked: true}},
		"parked, wanted":                       {situation{kernel: kernelIn(v1alpha1.KernelParked, 1, 1, ""), settled: 1, wanted: true}, action{wake: true}},
		"parked, asked for":                    {situation{kernel: kernelIn(v1alpha1.KernelParked, 1, 1, ""), settled: 1, asked: 2, wanted: true}, action{}},
		"parked again, asked for earlier":      {situation{kernel: kernelIn(v1alpha1.KernelParked, 2, 2, ""), settled: 2, asked: 2, wanted: true}, action{wake: true}},
		"dead, to be dealt with":               {situation{kernel: kernelIn(v1alpha1.KernelDead, 2, 2, ""), settled: 1, wanted: true}, action{settle: true}},
		"dead, wanted":                         {situation{kernel: kernelIn(v1alpha1.KernelDead, 2, 2, ""), settled: 2, wanted: true}, action{wake: true}},
		"a phase of the future":                {situation{kernel: kernelIn("Frozen", 1, 1, ip), link: linkUp, linkRun: 1}, action{unlink: true}},
	} {
		assert.Equal(t, c.want, decide(c.s), name)
	}
}

func TestNoticesEscape(t *testing.T) {
	k := kernelIn(v1alpha1.KernelStarting, 1, 1, "")
	k.Status.Node, k.Status.Message = "n<1>", `<script>alert("x")</script>`
	b := wire.Notice(waiting(k, nil, false))
	assert.Equal(t, `Starting the kernel's Pod on node n<1>: <script>alert("x")</script>…`, b["text/plain"])
	assert.NotContains(t, b["text/html"], "<script")
	assert.NotContains(t, b["text/html"], "n<1>")
	assert.Equal(t, `<div role="status" style="border-left:3px solid #888;padding:.3em .8em;opacity:.85">Starting the kernel&#39;s Pod on node n&lt;1&gt;: &lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;…</div>`, b["text/html"])
}

func TestEveryCauseIsPutIntoWords(t *testing.T) {
	for _, cause := range []v1alpha1.KernelCause{
		v1alpha1.CauseIdle, v1alpha1.CauseShutdown, v1alpha1.CauseKernelExited, v1alpha1.CauseStartFailed, v1alpha1.CauseOutOfMemory,
		v1alpha1.CauseEvicted, v1alpha1.CauseNodeLost, v1alpha1.CauseImage, v1alpha1.CauseInvalid, v1alpha1.CauseOrphaned, v1alpha1.CauseRefused,
	} {
		k := kernelIn(v1alpha1.KernelDead, 1, 1, "")
		k.Status.Cause = cause
		name, text := over(k)
		assert.True(t, strings.HasPrefix(name, "Kernel") && !strings.HasPrefix(name, "KernelKernel"), name)
		assert.NotContains(t, text, "The kernel ended. ", cause)
		assert.True(t, strings.HasSuffix(text, "Run a cell to start it again."), cause)
	}
}

func TestAnEndSaysWhetherVariablesAreKept(t *testing.T) {
	for _, row := range []struct {
		kept *v1alpha1.KeptState
		want string
	}{
		{nil, "The kernel ended. Its Pod was deleted. Run a cell to start it again."},
		{&v1alpha1.KeptState{Outcome: "whole", Run: 2, Variables: 3}, "The kernel ended. Its Pod was deleted. Its variables are kept. Run a cell to start it again."},
		{&v1alpha1.KeptState{Outcome: "part", Run: 2, Variables: 3}, "The kernel ended. Its Pod was deleted. 3 of its variables are kept. Run a cell to start it again."},
		{&v1alpha1.KeptState{Outcome: "none", Run: 2}, "The kernel ended. Its Pod was deleted. Run a cell to start it again."},
		{&v1alpha1.KeptState{Outcome: "whole", Run: 1}, "The kernel ended. Its Pod was deleted. Run a cell to start it again."},
	} {
		k := kernelIn(v1alpha1.KernelDead, 2, 2, "")
		k.Status.Cause, k.Status.Message, k.Status.Kept = v1alpha1.CauseUnknown, "Its Pod was deleted.", row.kept
		_, text := over(k)
		assert.Equal(t, row.want, text)
	}
}

func TestPendingRequestsCountWhatTheyHold(t *testing.T) {
	room := roomFor(1 << 20)
	l := newPendingRequests(10_000, room, "alice")
	b := wire.NewBuilder("a")
	add := func(kind string, size int) *request {
		m := b.New(wire.Shell, kind, nil, map[string]string{"code": strings.Repeat("x", size)})
		r, err := l.add(&m, m.AppendV1(nil), time.Now())
		require.NoError(t, err)
		return r
	}
	first := add(wire.TypeExecuteRequest, 100)
	add(wire.TypeCommMsg, 100)
	second := add(wire.TypeExecuteRequest, 100)
	for range 3 {
		_, ok := l.next()
		require.True(t, ok)
	}
	assert.Equal(t, first.cost()+second.cost()+int64(cap(first.frame)+cap(second.frame)), l.bytes, "kept until the kernel shows a sign")
	assert.Same(t, first, l.markStarted([]byte(first.id)))
	assert.Nil(t, l.markStarted([]byte(first.id)), "the first time only")
	assert.Equal(t, first.cost()+second.cost()+int64(cap(second.frame)), l.bytes)
	assert.Equal(t, l.bytes, room.held)
	third := add(wire.TypeExecuteRequest, 100)
	assert.Equal(t, []*request{first}, l.endRun(true))
	var order []string
	for f, ok := l.next(); ok; f, ok = l.next() {
		order = append(order, f.request.id)
	}
	assert.Equal(t, []string{second.id, third.id}, order, "again, before what came later")
	assert.True(t, l.answered([]byte(second.id)))
	assert.Equal(t, []*request{third}, l.endRun(false))
	assert.Zero(t, l.bytes)
	assert.False(t, l.following())

	add(wire.TypeExecuteRequest, 20_000)
	m := b.New(wire.Shell, wire.TypeExecuteRequest, nil, struct{}{})
	_, err := l.add(&m, m.AppendV1(nil), time.Now())
	assert.ErrorIs(t, err, errHeldFull, "one frame may exceed the bound, the next may not")
	l.close()
	assert.Zero(t, l.bytes)
	assert.Zero(t, room.taken)
}

// roomFor is a budget.
func roomFor(limit int64) *budget {
	gauge := func() prometheus.Gauge { return prometheus.NewGauge(prometheus.GaugeOpts{Name: "x"}) }
	return newBudget(limit, gauge(), gauge())
}

func TestLeftoversAreBoundedInTimeAndCount(t *testing.T) {
	now := time.Now()
	room := roomFor(1 << 20)
	l := newLeftovers(func() time.Time { return now }, room)
	a := sessionKey{"k", "o", "a"}
	leave := func(key sessionKey) { // as a queue that was given it
		from := newPendingRequests(1<<20, room, key.owner)
		m := wire.NewBuilder("a").New(wire.Shell, wire.TypeExecuteRequest, nil, struct{}{})
		_, err := from.add(&m, m.AppendV1(nil), now)
		require.NoError(t, err)
		l.leave(key, from.leave(), nil)
		from.close()
	}
	leave(a)
	frames, _ := l.collect(sessionKey{"k", "other", "a"})
	assert.Empty(t, frames)
	frames, _ = l.collect(a)
	assert.Len(t, frames, 1)
	assert.Equal(t, held(frames), room.held, "what is handed over still counts")
	to := newPendingRequests(1<<20, room, "o")
	to.adopt(frames)
	to.close()
	assert.Zero(t, room.taken)
	frames, _ = l.collect(a)
	assert.Empty(t, frames)
	leave(a)
	leave(a)
	assert.NotZero(t, room.held)
	now = now.Add(leftFor + time.Second)
	frames, _ = l.collect(a)
	assert.Empty(t, frames)
	assert.Zero(t, room.taken)
	leave(a)
	leave(sessionKey{"k", "o", "b"})
	now = now.Add(leftFor + time.Second)
	l.sweep()
	assert.Zero(t, room.taken)
	assert.Empty(t, l.by)
}

func TestANoticeDoesNotComeTooLate(t *testing.T) {
	l := newPendingRequests(1<<20, roomFor(16<<20), "alice")
	m := wire.NewBuilder("a").New(wire.Shell, wire.TypeExecuteRequest, nil, struct{}{})
	r, err := l.add(&m, m.AppendV1(nil), time.Now())
	require.NoError(t, err)
	tell := &cellNotices{client: &clientConn{}} // which cannot write
	l.markStarted([]byte(r.id))
	require.NoError(t, tell.clear(r, ""))
	assert.NoError(t, tell.showWait(r, "late", l.stillWaits))
	assert.Nil(t, tell.shown)
}

func TestALinkPassesNoMessageTwice(t *testing.T) {
	var passed []string
	var greeted greeting
	l := &link{acks: make(chan struct{}, 1), metrics: newMetrics(prometheus.NewRegistry()),
		greet:   func(h *protocol.Hello) error { greeted = greeting{h.Epoch, h.Next}; return nil },
		deliver: func(m *wire.Message, _ []byte) error { passed = append(passed, m.ID()); return nil }}
	b := wire.NewBuilder("k")
	var ids []string
	frame := func(seq uint64) []byte {
		m := b.Stream(nil, "stdout", "x")
		ids = append(ids, m.ID())
		return m.AppendV1(binary.LittleEndian.AppendUint64(nil, seq))
	}
	for _, seq := range []uint64{1, 2, 2, 1, 4} { // 3 was dropped by the agent
		require.NoError(t, l.binary(frame(seq)))
	}
	require.NoError(t, l.binary(append(binary.LittleEndian.AppendUint64(nil, 5), "no message"...)))
	assert.Equal(t, []string{ids[0], ids[1], ids[4]}, passed)
	assert.Equal(t, resume{delivered: 5, acked: 5}, l.from(), "what cannot be read is acknowledged all the same")
	assert.Error(t, l.binary([]byte("short")))
	require.NoError(t, l.text([]byte(`{"hello":{"epoch":"another","next":7}}`)))
	assert.Equal(t, greeting{Epoch: "another", Next: 7}, greeted)
	assert.Equal(t, resume{epoch: "another"}, l.from())
	l.acknowledges = true
	require.NoError(t, l.binary(frame(1)))
	for _, ack := range []struct {
		epoch string
		n     uint64
	}{{"old", 1}, {"another", 2}} {
		l.acknowledge(ack.epoch, ack.n)
		assert.Equal(t, resume{epoch: "another", delivered: 1}, l.from(), "not what it was given: %v", ack)
	}
	l.acknowledge("another", 1)
	assert.Equal(t, resume{epoch: "another", delivered: 1, acked: 1}, l.from())
}
