package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/languages"
	"github.com/elastichub/elastichub/kernels/wire"
)

func parentOf(m *peerMessage) string { return m.ParentID() }

func errorText(m *peerMessage) (name, text string) {
	return wire.Member(m.Content, "ename"), wire.Member(m.Content, "evalue")
}

func TestFirstStartHoldsFramesAndLeavesNothingBehind(t *testing.T) {
	for _, protocol := range [][]string{nil, {wire.SubprotocolV1}} {
		t.Run(fmt.Sprint(protocol), func(t *testing.T) {
			w := newWorld(t)
			id := w.start("nb-alice", "python-gpu")
			p := w.open("nb-alice", id, "s", protocol...)
			assert.Equal(t, "starting", p.next(wire.TypeStatus).ExecutionState())
			exec := p.execute("print(6*7)")

			w.status(id, func(s *v1alpha1.JupyterKernelStatus) {
				*s = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelQueued, Run: 1,
					Queue: &v1alpha1.QueueStatus{Position: 2, Length: 2, Reason: "all 2 nvidia.com/gpu are in use"}}
			})
			shown := p.next(wire.TypeDisplayData)
			assert.Equal(t, exec, parentOf(shown))
			update := p.told(shown, "Waiting for a GPU: position 2 of 2. All 2 nvidia.com/gpu are in use.")
			assert.Equal(t, displayID(shown), displayID(update))
			w.status(id, func(s *v1alpha1.JupyterKernelStatus) { s.Queue.Position, s.Queue.Length = 1, 1 })
			update = p.next(wire.TypeUpdateDisplayData)
			assert.Equal(t, displayID(shown), displayID(update))
			assert.Equal(t, "Waiting for a GPU: position 1 of 1. All 2 nvidia.com/gpu are in use.", plainText(update))
			w.status(id, func(s *v1alpha1.JupyterKernelStatus) {
				s.Phase, s.Queue, s.Node = v1alpha1.KernelStarting, nil, "node-1"
			})
			assert.Equal(t, "Starting the kernel's Pod on node node-1…", plainText(p.next(wire.TypeUpdateDisplayData)))

			agent := w.agent(id, 1)
			w.status(id, func(s *v1alpha1.JupyterKernelStatus) { s.PodIP = agent.ip })
			request := agent.receive(wire.TypeExecuteRequest)
			assert.Equal(t, exec, request.ID())
			agent.run("s", request, "42\n")
			cleared := p.next(wire.TypeClearOutput)
			assert.Equal(t, exec, parentOf(cleared))
			out := p.next(wire.TypeStream)
			assert.Equal(t, "42\n", wire.Member(out.Content, "text"))
			p.next(wire.TypeExecuteReply)
			assert.Equal(t, "idle", p.next(wire.TypeStatus).ExecutionState())
			require.Eventually(t, func() bool { return agent.ackedBy("s") == 4 }, patience, 10*time.Millisecond)
		})
	}
}

func TestAQuickStartSaysNothing(t *testing.T) {
	w := newWorld(t)
	w.server.timing.grace = 10 * time.Second
	id := w.start("nb-alice", "python-gpu")
	agent := w.agent(id, 1)
	p := w.open("nb-alice", id, "s")
	p.execute("1")
	w.phase(id, v1alpha1.KernelReady, 1, agent.ip)
	agent.run("s", agent.receive(wire.TypeExecuteRequest), "1")
	m := p.next(wire.TypeDisplayData, wire.TypeClearOutput, wire.TypeStream)
	assert.Equal(t, wire.TypeStream, m.Type())
}

// ready opens a socket on a running kernel that has executed a cell.
func ready(t *testing.T, w *world, session string, protocol ...string) (id string, agent *fakeAgent, p *peer) {
	t.Helper()
	id = w.start("nb-alice", "python-gpu")
	agent = w.agent(id, 1)
	w.phase(id, v1alpha1.KernelReady, 1, agent.ip)
	p = w.open("nb-alice", id, session, protocol...)
	p.execute("x = 1")
	agent.run(session, agent.receive(wire.TypeExecuteRequest), "ran\n")
	p.next(wire.TypeExecuteReply)
	return id, agent, p
}

func TestParkedKernelComesBackWithTheNextCell(t *testing.T) {
	w := newWorld(t)
	id, agent, p := ready(t, w, "s")
	agent.end("idle")
	w.phase(id, v1alpha1.KernelParked, 1, "")
	p.silent(200*time.Millisecond, wire.TypeError, wire.TypeStream)

	// Nothing but an execute_request that somebody runs wakes it; everything is answered.
	for _, kind := range []string{wire.TypeKernelInfoRequest, wire.TypeCompleteRequest, wire.TypeCommInfoRequest} {
		request := p.send(wire.Shell, kind, map[string]any{})
		reply := p.next(wire.ReplyType(kind))
		assert.Equal(t, request, parentOf(reply), kind)
		assert.Equal(t, "idle", p.next(wire.TypeStatus).ExecutionState(), kind)
	}
	unasked := p.send(wire.Shell, wire.TypeExecuteRequest, map[string]any{"code": "dir()", "silent": true})
	reply := p.next(wire.ReplyType(wire.TypeExecuteRequest))
	assert.Equal(t, unasked, parentOf(reply))
	assert.Equal(t, "KernelParked", wire.Member(reply.Content, "ename"))
	p.send(wire.Shell, wire.TypeCommMsg, map[string]any{"comm_id": "c"})
	request := p.send(wire.Control, wire.TypeInterruptRequest, map[string]any{})
	assert.Equal(t, request, parentOf(p.next(wire.TypeInterruptReply)))
	assert.EqualValues(t, 1, w.kernel(id).Spec.Run)

	exec := p.execute("x")
	require.Eventually(t, func() bool { return w.kernel(id).Spec.Run == 2 }, patience, 5*time.Millisecond)
	shown := p.next(wire.TypeDisplayData)
	assert.Equal(t, exec, parentOf(shown))
	second := w.agent(id, 2)
	w.phase(id, v1alpha1.KernelReady, 2, second.ip)
	got := second.receive(wire.TypeExecuteRequest)
	assert.Equal(t, exec, got.ID())
	assert.Empty(t, second.got, "what was for the old process is not passed on")
	second.run("s", got, "again\n")
	for {
		m := p.next(wire.TypeUpdateDisplayData, wire.TypeStream)
		require.Equal(t, wire.TypeUpdateDisplayData, m.Type(), "the notice comes before the output")
		assert.Equal(t, displayID(shown), displayID(m))
		if text := plainText(m); strings.HasPrefix(text, "Kernel back after ") {
			assert.Regexp(t, `^Kernel back after \d+\.\d s on a fresh Pod\. Variables from before are gone; files are kept\.$`, text)
			break
		}
	}
	assert.Equal(t, "again\n", wire.Member(p.next(wire.TypeStream).Content, "text"))

	p.execute("y")
	second.run("s", second.receive(wire.TypeExecuteRequest), "next\n")
	m := p.next(wire.TypeStream, wire.TypeDisplayData)
	assert.Equal(t, wire.TypeStream, m.Type(), "told once")
}

// TestADebuggerWaitsForAParkedKernel: what a page asks of it once or sets reaches the
// next run before the cell, and what would be stale by then is refused. None of it wakes the kernel.
func TestADebuggerWaitsForAParkedKernel(t *testing.T) {
	w := newWorld(t)
	id, agent, p := ready(t, w, "s")
	agent.end("idle")
	w.phase(id, v1alpha1.KernelParked, 1, "")
	p.silent(200*time.Millisecond, wire.TypeError, wire.TypeStream)
	debug := func(command string) string {
		return p.send(wire.Control, wire.TypeDebugRequest, map[string]any{"type": "request", "seq": 1, "command": command})
	}
	held := []string{debug("debugInfo"), debug("disconnect")}
	refused := debug("inspectVariables")
	reply := p.next(wire.TypeDebugReply)
	assert.Equal(t, refused, parentOf(reply))
	assert.Equal(t, "KernelParked", wire.Member(reply.Content, "ename"))
	p.silent(200*time.Millisecond, wire.TypeDebugReply)
	assert.EqualValues(t, 1, w.kernel(id).Spec.Run)

	exec := p.execute("x")
	require.Eventually(t, func() bool { return w.kernel(id).Spec.Run == 2 }, patience, 5*time.Millisecond)
	second := w.agent(id, 2)
	w.phase(id, v1alpha1.KernelReady, 2, second.ip)
	for _, request := range held {
		got := second.receive(wire.TypeDebugRequest)
		assert.Equal(t, request, got.ID())
	}
	got := second.receive(wire.TypeExecuteRequest)
	assert.Equal(t, exec, got.ID())
}

// TestALargeCellIsReadBeforeItsBufferIsGivenBack: 70 KiB in 128 KiB are copied.
func TestALargeCellIsReadBeforeItsBufferIsGivenBack(t *testing.T) {
	w := newWorld(t)
	id, agent, p := ready(t, w, "s", wire.SubprotocolV1)
	agent.end("idle")
	w.phase(id, v1alpha1.KernelParked, 1, "")
	exec := p.execute(strings.Repeat("x", 70<<10))
	require.Eventually(t, func() bool { return w.kernel(id).Spec.Run == 2 }, patience, 5*time.Millisecond)
	assert.Equal(t, exec, parentOf(p.next(wire.TypeDisplayData)))
}

// TestAnAgentThatKeepsVariablesTellsOfThem, and the gateway does not.
func TestAnAgentThatKeepsVariablesTellsOfThem(t *testing.T) {
	w := newWorld(t)
	id, agent, p := ready(t, w, "s")
	agent.end("idle")
	w.phase(id, v1alpha1.KernelParked, 1, "")
	p.execute("x")
	require.Eventually(t, func() bool { return w.kernel(id).Spec.Run == 2 }, patience, 5*time.Millisecond)
	second := w.agent(id, 2)
	second.keeps.Store(true)
	w.phase(id, v1alpha1.KernelReady, 2, second.ip)
	second.run("s", second.receive(wire.TypeExecuteRequest), "again\n")
	for {
		m := p.next(wire.TypeUpdateDisplayData, wire.TypeStream)
		require.Equal(t, wire.TypeUpdateDisplayData, m.Type())
		if text := plainText(m); strings.HasPrefix(text, "Kernel back after ") {
			assert.Regexp(t, `^Kernel back after \d+\.\d s on a fresh Pod\.$`, text)
			break
		}
	}
}

func TestARequestThatReachedAnEndingAgentIsNotLost(t *testing.T) {
	w := newWorld(t)
	id, agent, p := ready(t, w, "s")
	exec := p.execute("late")
	agent.receive(wire.TypeExecuteRequest) // and is never begun
	agent.end("idle")
	w.phase(id, v1alpha1.KernelParked, 1, "")
	require.Eventually(t, func() bool { return w.kernel(id).Spec.Run == 2 }, patience, 5*time.Millisecond)
	second := w.agent(id, 2)
	w.phase(id, v1alpha1.KernelReady, 2, second.ip)
	assert.Equal(t, exec, second.receive(wire.TypeExecuteRequest).ID())
}

func TestSocketOnAParkedKernel(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-gpu")
	w.phase(id, v1alpha1.KernelParked, 1, "")
	p := w.open("nb-alice", id, "s")
	assert.Equal(t, "idle", p.next(wire.TypeStatus).ExecutionState())
	p.send(wire.Shell, wire.TypeKernelInfoRequest, map[string]any{})
	info := p.next(wire.TypeKernelInfoReply)
	var content struct {
		Status       string         `json:"status"`
		LanguageInfo map[string]any `json:"language_info"`
	}
	require.NoError(t, json.Unmarshal(info.Content, &content))
	assert.Equal(t, "ok", content.Status)
	assert.Equal(t, "python", content.LanguageInfo["name"])

	other := w.open("nb-alice", id, "s2")
	p.execute("1")
	other.execute("2") // both at once, as from two replicas
	agent := w.agent(id, 2)
	require.Eventually(t, func() bool { return w.kernel(id).Spec.Run == 2 }, patience, 5*time.Millisecond)
	w.phase(id, v1alpha1.KernelReady, 2, agent.ip)
	agent.receive(wire.TypeExecuteRequest)
	agent.receive(wire.TypeExecuteRequest)
	assert.EqualValues(t, 2, w.kernel(id).Spec.Run)
}

func TestDeathIsToldAndNothingHangs(t *testing.T) {
	w := newWorld(t)
	id, agent, p := ready(t, w, "s")
	running := p.execute("allocate()")
	request := agent.receive(wire.TypeExecuteRequest)
	b := wire.Builder{Session: "kernel-session", Now: time.Now}
	agent.publish("s", b.Status(request.Header, wire.StateBusy))
	p.next(wire.TypeStatus)
	waiting := p.execute("more()")
	agent.receive(wire.TypeExecuteRequest)
	completion := p.send(wire.Shell, wire.TypeCompleteRequest, map[string]any{})
	agent.publish("s", b.Status(nil, wire.StateDead))
	agent.end("kernel-exited")
	w.status(id, func(s *v1alpha1.JupyterKernelStatus) {
		s.Phase, s.Cause, s.Message = v1alpha1.KernelDead, v1alpha1.CauseOutOfMemory, "limit 2Gi"
	})
	answered := map[string]bool{}
	for len(answered) < 2 {
		m := p.next(wire.TypeError, wire.TypeStatus)
		if m.Type() != wire.TypeError {
			assert.NotEqual(t, "dead", m.ExecutionState(), "JupyterLab would dispose the connection")
			continue
		}
		name, text := errorText(m)
		assert.Equal(t, "KernelOutOfMemory", name)
		assert.Equal(t, "The kernel used more memory than it may and was ended. limit 2Gi. Run a cell to start it again.", text)
		reply := p.next(wire.TypeExecuteReply)
		assert.Equal(t, parentOf(m), parentOf(reply))
		assert.Equal(t, "error", wire.Member(reply.Content, "status"))
		idle := p.next(wire.TypeStatus)
		assert.Equal(t, "idle", idle.ExecutionState())
		assert.Equal(t, parentOf(m), parentOf(idle))
		answered[parentOf(m)] = true
	}
	assert.Equal(t, map[string]bool{running: true, waiting: true}, answered)
	assert.Equal(t, completion, parentOf(p.next(wire.TypeCompleteReply)))
	assert.EqualValues(t, 1, w.kernel(id).Spec.Run)

	p.execute("again")
	require.Eventually(t, func() bool { return w.kernel(id).Spec.Run == 2 }, patience, 5*time.Millisecond)
	w.status(id, func(s *v1alpha1.JupyterKernelStatus) {
		*s = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelDead, Run: 2, Cause: v1alpha1.CauseRefused, Message: "Your limit of 1 GPU is reached."}
	})
	name, text := errorText(p.next(wire.TypeError))
	assert.Equal(t, "KernelRefused", name)
	assert.Equal(t, "The kernel was refused. Your limit of 1 GPU is reached. Run a cell to start it again.", text)
	time.Sleep(100 * time.Millisecond)
	assert.EqualValues(t, 2, w.kernel(id).Spec.Run, "not asked for again by itself")
}

func TestDeathWhileNothingRunsIsToldInTheLastCell(t *testing.T) {
	w := newWorld(t)
	id, agent, p := ready(t, w, "s")
	agent.end("kernel-exited")
	w.status(id, func(s *v1alpha1.JupyterKernelStatus) { s.Phase, s.Cause = v1alpha1.KernelDead, v1alpha1.CauseNodeLost })
	m := p.next(wire.TypeStream)
	assert.Equal(t, "stderr", wire.Member(m.Content, "name"))
	assert.Equal(t, "The node the kernel ran on is gone. Run a cell to start it again.\n", wire.Member(m.Content, "text"))
	assert.NotEmpty(t, parentOf(m))
}

func TestInterruptGivesUpAWaitingCell(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-gpu")
	p := w.open("nb-alice", id, "s")
	exec := p.execute("1")
	p.next(wire.TypeDisplayData)
	require.Equal(t, http.StatusNoContent, w.call("nb-alice", "POST", "/api/kernels/"+id+"/interrupt", "{}").status)
	assert.Equal(t, exec, parentOf(p.next(wire.TypeClearOutput)))
	name, _ := errorText(p.next(wire.TypeError))
	assert.Equal(t, "KeyboardInterrupt", name)
	assert.Equal(t, exec, parentOf(p.next(wire.TypeExecuteReply)))
	agent := w.agent(id, 1)
	w.phase(id, v1alpha1.KernelReady, 1, agent.ip)
	next := p.execute("2")
	assert.Equal(t, next, agent.receive(wire.TypeExecuteRequest).ID(), "what was given up is not run")
}

// TestWhatAKernelSaysOfItselfIsForItAlone: whoever owns a kernel decides what
// its kernel_info_reply says, banner, links and exporter.
func TestWhatAKernelSaysOfItselfIsForItAlone(t *testing.T) {
	w := newWorld(t)
	said := map[string]any{
		"status": "ok", "protocol_version": "5.3", "implementation": "evil", "banner": "type your password",
		"help_links":    []any{map[string]string{"text": "evil", "url": "https://evil.example"}},
		"language_info": map[string]any{"name": "evil", "mimetype": "text/html", "nbconvert_exporter": "evil"},
	}
	// The first kernel of the kernelspec in this gateway's life says it, and says it again in a second run.
	evil := w.start("nb-alice", "python-cpu")
	p := w.open("nb-alice", evil, "s")
	b := wire.NewBuilder("kernel")
	for run := int64(1); run <= 2; run++ {
		agent := w.agent(evil, run)
		w.phase(evil, v1alpha1.KernelReady, run, agent.ip)
		p.send(wire.Shell, wire.TypeKernelInfoRequest, map[string]any{})
		agent.publish("s", b.New(wire.Shell, wire.TypeKernelInfoReply, agent.receive(wire.TypeKernelInfoRequest).Header, said))
		require.Equal(t, "evil", wire.Member(p.next(wire.TypeKernelInfoReply).Content, "implementation"))
	}

	unasked := func(who, id string) string { // while it starts, and while it is parked
		p := w.open(who, id, "s")
		p.askHastily()
		starting := string(p.next(wire.TypeKernelInfoReply).Content)
		w.phase(id, v1alpha1.KernelParked, 1, "")
		p.askHastily()
		return starting + string(p.next(wire.TypeKernelInfoReply).Content)
	}
	bob := w.start("nb-bob", "python-cpu")
	for whose, text := range map[string]string{
		"somebody else's":          unasked("nb-bob", bob),
		"a client's":               unasked("ci", w.start("ci", "python-cpu")),
		"another of the same user": unasked("nb-alice", w.start("nb-alice", "python-cpu")),
	} {
		assert.NotContains(t, text, "evil", whose)
	}

	// The id of the one that said it, in other hands.
	w.remake(evil, "bob", "nb-bob")
	w.phase(evil, v1alpha1.KernelStarting, 1, "")
	assert.NotContains(t, unasked("nb-bob", evil), "evil")
}

func TestKernelInfoFollowsFromTheKernelspec(t *testing.T) {
	info := func(language string) (all struct {
		Debugger bool           `json:"debugger"`
		Features []string       `json:"supported_features"`
		Info     languages.Info `json:"language_info"`
	}) {
		ks := &v1alpha1.JupyterKernelSpec{Spec: v1alpha1.JupyterKernelSpecSpec{Language: language}}
		raw, err := json.Marshal(newInfos().content("u", ks))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, &all))
		return all
	}
	for language, want := range map[string][3]string{
		"R": {"R", "text/x-r-source", ".r"}, "julia": {"julia", "application/julia", ".jl"}, "Bash": {"bash", "text/x-sh", ".sh"},
		"": {"python", "text/x-python", ".py"}, "Brainfuck": {"Brainfuck", "text/plain", ".txt"},
	} {
		got := info(language)
		assert.Equal(t, want, [3]string{got.Info.Name, got.Info.Mimetype, got.Info.FileExtension}, language)
		assert.Equal(t, language == "", got.Debugger, language)
	}
	assert.Equal(t, []string{"debugger"}, info("python").Features)
	_, err := json.Marshal(newInfos().content("u", nil))
	assert.NoError(t, err)
}

func TestInfosAreBounded(t *testing.T) {
	i := newInfos()
	for n := range maxInfos + 1 {
		i.learn(types.UID(fmt.Sprint(n)), []byte(`{"status":"ok","banner":"own"}`))
	}
	i.learn("large", []byte(`{"status":"ok","banner":"`+strings.Repeat("x", maxInfo)+`"}`))
	assert.Len(t, i.by, maxInfos)
	assert.Len(t, i.queue, maxInfos)
	assert.NotContains(t, i.by, types.UID("0"))
	assert.NotContains(t, i.by, types.UID("large"))
}

func TestALostLinkIsResumedWithoutLossOrRepetition(t *testing.T) {
	w := newWorld(t)
	_, agent, p := ready(t, w, "s")
	exec := p.execute("stream")
	request := agent.receive(wire.TypeExecuteRequest)
	b := wire.Builder{Session: "kernel-session", Now: time.Now}
	const n = 300
	go func() {
		for i := range n {
			agent.publish("s", b.Stream(request.Header, "stdout", fmt.Sprintf("%d\n", i)))
			if i%100 == 50 {
				agent.cutOff()
			}
		}
	}()
	for i := range n {
		m := p.next(wire.TypeStream)
		require.Equal(t, fmt.Sprintf("%d\n", i), wire.Member(m.Content, "text"))
		assert.Equal(t, exec, parentOf(m))
	}
	p.silent(100*time.Millisecond, wire.TypeStream)
}

// TestMuchIsAcknowledgedAtOnce: the kernel waits until large output is acknowledged.
func TestMuchIsAcknowledgedAtOnce(t *testing.T) {
	w := newWorld(t)
	w.server.timing.ack = time.Hour
	_, agent, p := ready(t, w, "s", wire.SubprotocolV1)
	p.execute("large")
	request := agent.receive(wire.TypeExecuteRequest)
	b := wire.Builder{Session: "kernel-session", Now: time.Now}
	agent.publish("s", b.Stream(request.Header, "stdout", "small"))
	p.next(wire.TypeStream)
	p.silent(100*time.Millisecond, wire.TypeStream)
	assert.Zero(t, agent.ackedBy("s"), "little waits for more")
	for range 2 {
		agent.publish("s", b.Stream(request.Header, "stdout", strings.Repeat("x", ackBytes/2)))
		p.next(wire.TypeStream)
	}
	require.Eventually(t, func() bool { return agent.ackedBy("s") > 0 }, patience, 5*time.Millisecond)
}

func TestAClientThatReconnectsGetsWhatItMissed(t *testing.T) {
	w := newWorld(t)
	id, agent, p := ready(t, w, "s", wire.SubprotocolV1)
	p.execute("1")
	request := agent.receive(wire.TypeExecuteRequest)
	require.Eventually(t, func() bool { return agent.ackedBy("s") == 4 }, patience, 5*time.Millisecond)
	_ = p.conn.CloseNow()
	require.Eventually(t, func() bool { return w.server.activity.of(w.kernel(id).UID).connections == 0 }, patience, 5*time.Millisecond)
	agent.run("s", request, "missed\n")
	p = w.open("nb-alice", id, "s", wire.SubprotocolV1)
	assert.Equal(t, "busy", p.next(wire.TypeStatus).ExecutionState())
	assert.Equal(t, "missed\n", wire.Member(p.next(wire.TypeStream).Content, "text"))
}

func TestACellThatWaitsSurvivesABrokenConnection(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-gpu")
	p := w.open("nb-alice", id, "s")
	exec := p.execute("1")
	shown := p.next(wire.TypeDisplayData)
	_ = p.conn.CloseNow()
	require.Eventually(t, func() bool { return w.server.activity.of(w.kernel(id).UID).connections == 0 }, patience, 5*time.Millisecond)
	other := w.open("nb-alice", id, "other")
	p = w.open("nb-alice", id, "s")
	w.status(id, func(s *v1alpha1.JupyterKernelStatus) { s.Phase, s.Run, s.Node = v1alpha1.KernelStarting, 1, "n" })
	assert.Equal(t, displayID(shown), displayID(p.next(wire.TypeUpdateDisplayData)))
	agent := w.agent(id, 1)
	w.phase(id, v1alpha1.KernelReady, 1, agent.ip)
	request := agent.receive(wire.TypeExecuteRequest)
	assert.Equal(t, exec, request.ID())
	agent.run("s", request, "done\n")
	assert.Equal(t, "done\n", wire.Member(p.next(wire.TypeStream).Content, "text"))
	assert.Empty(t, agent.got, "sent once, by its own session")
	other.silent(50*time.Millisecond, wire.TypeStream)
}

// TestTwoSocketsOfOneSession: jupyter_server opens a second socket with the
// session id of one that it may go on using.
func TestTwoSocketsOfOneSession(t *testing.T) {
	w := newWorld(t)
	id, agent, p := ready(t, w, "s")
	require.Eventually(t, func() bool { return agent.ackedBy("s") == 4 }, patience, 5*time.Millisecond)
	q := w.open("nb-alice", id, "s")
	p.execute("1")
	agent.run("s", agent.receive(wire.TypeExecuteRequest), "here\n")
	assert.Equal(t, "here\n", wire.Member(p.next(wire.TypeStream).Content, "text"))
	assert.Equal(t, "here\n", wire.Member(q.next(wire.TypeStream).Content, "text"))
}

func TestTwoSessionsDoNotMix(t *testing.T) {
	w := newWorld(t)
	id, agent, p := ready(t, w, "one")
	q := w.open("nb-alice", id, "two")
	q.execute("2")
	agent.run("two", agent.receive(wire.TypeExecuteRequest), "for two\n")
	assert.Equal(t, "for two\n", wire.Member(q.next(wire.TypeStream).Content, "text"))
	p.silent(100*time.Millisecond, wire.TypeStream)
}

func TestLegacyClientsNeverGetWhatKillsThem(t *testing.T) {
	w := newWorld(t)
	_, agent, p := ready(t, w, "s")
	p.execute("widget")
	request := agent.receive(wire.TypeExecuteRequest)
	b := wire.Builder{Session: "kernel-session", Now: time.Now}
	binary := b.New(wire.IOPub, wire.TypeCommMsg, request.Header, map[string]any{"comm_id": "c", "data": map[string]any{}})
	binary.Buffers = [][]byte{{0, 0xff, 1}}
	huge := b.Stream(request.Header, "stdout", strings.Repeat("x", 11<<20))
	reply := b.New(wire.Shell, wire.TypeExecuteReply, request.Header, map[string]any{"status": "ok", "payload": strings.Repeat("x", 11<<20)})
	invalid := b.Stream(request.Header, "stdout", "ok")
	invalid.Content = []byte("{\"name\":\"stdout\",\"text\":\"\xff\xfe\"}")
	broken := b.Stream(request.Header, "stdout", "ok")
	broken.Content = []byte(`]`)
	edge := b.Stream(request.Header, "stdout", strings.Repeat("y", maxLegacyFrame-len(request.Header)-1000))
	for _, m := range []wire.Message{binary, binary, huge, invalid, broken, edge, reply} {
		agent.publish("s", m)
	}
	first := p.next(wire.TypeCommMsg)
	note := p.next(wire.TypeStream)
	assert.Equal(t, buffersLost, wire.Member(note.Content, "text"))
	second := p.next(wire.TypeCommMsg, wire.TypeStream)
	assert.Equal(t, wire.TypeCommMsg, second.Type(), "the note comes once")
	large := p.next(wire.TypeStream)
	assert.Equal(t, "stderr", wire.Member(large.Content, "name"))
	assert.Contains(t, wire.Member(large.Content, "text"), "11.0 MiB")
	assert.Equal(t, request.ID(), parentOf(large))
	repaired := p.next(wire.TypeStream)
	assert.Equal(t, "\ufffd\ufffd", wire.Member(repaired.Content, "text"))
	whole := p.next(wire.TypeStream)
	assert.Equal(t, "stdout", wire.Member(whole.Content, "name"))
	assert.LessOrEqual(t, whole.size, maxLegacyFrame)
	failed := p.next(wire.TypeExecuteReply)
	assert.Equal(t, "error", wire.Member(failed.Content, "status"))
	for _, m := range []*peerMessage{first, note, second, large, repaired, whole, failed} {
		assert.Equal(t, websocket.MessageText, m.kind)
	}
}

// TestOnlyWhatIsCopiedIsLent: neither what the legacy framing leaves out, nor a
// message that another stands in for.
func TestOnlyWhatIsCopiedIsLent(t *testing.T) {
	m := wire.NewBuilder("kernel").Stream(nil, "stdout", "text")
	text := m.Size()
	m.Buffers = [][]byte{make([]byte, 1<<20)}
	assert.Equal(t, text, framingLegacy.rendersTo(&m))
	assert.Equal(t, text+1<<20, framingLegacyBinary.rendersTo(&m))
	m.Buffers[0] = make([]byte, maxLegacyFrame)
	assert.Zero(t, framingLegacy.rendersTo(&m))
}

// TestALegacyClientThatSendsBinaryGetsIt: it has shown that it is not a
// jupyter_server. It gets all there is, and of any size.
func TestALegacyClientThatSendsBinaryGetsIt(t *testing.T) {
	for name, kind := range map[string]websocket.MessageType{"itself": websocket.MessageBinary, "for a browser": websocket.MessageText} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, agent, p := ready(t, w, "s")
			b := wire.Builder{Session: "kernel-session", Now: time.Now}
			m := b.New(wire.Shell, wire.TypeCommMsg, nil, map[string]any{"comm_id": "c"})
			m.Buffers = [][]byte{{0, 0xff}}
			frame, err := m.AppendLegacyBinary(nil)
			require.NoError(t, err)
			require.NoError(t, p.conn.Write(context.Background(), kind, frame))
			assert.Equal(t, m.Buffers, agent.receive(wire.TypeCommMsg).Buffers)

			binary := b.New(wire.IOPub, wire.TypeCommMsg, nil, map[string]any{"comm_id": "c"})
			binary.Buffers = [][]byte{{1, 0xff}, {}}
			agent.publish("s", binary)
			got := p.next(wire.TypeCommMsg)
			agent.publish("s", b.Stream(nil, "stdout", strings.Repeat("x", 11<<20)))
			if kind == websocket.MessageText { // jupyter_server
				assert.Equal(t, websocket.MessageText, got.kind)
				assert.Equal(t, buffersLost, wire.Member(p.next(wire.TypeStream).Content, "text"))
				assert.Contains(t, wire.Member(p.next(wire.TypeStream).Content, "text"), "was not delivered")
				return
			}
			assert.Equal(t, websocket.MessageBinary, got.kind)
			assert.Equal(t, binary.Buffers, got.Buffers)
			large := p.next(wire.TypeStream)
			assert.Equal(t, websocket.MessageText, large.kind)
			assert.Len(t, wire.Member(large.Content, "text"), 11<<20)
		})
	}
}

func TestV1CarriesBuffersAndUnknownHeadersBothWays(t *testing.T) {
	w := newWorld(t)
	_, agent, p := ready(t, w, "s", wire.SubprotocolV1)
	b := wire.NewBuilder("alice")
	m := b.New(wire.Shell, wire.TypeCommMsg, nil, map[string]any{"comm_id": "c"})
	m.Header = []byte(`{"msg_id":"m1","msg_type":"comm_msg","session":"x","subshell_id":"sub","novel":{"a":[1]}}`)
	m.Buffers = [][]byte{{0, 1, 2}, {}, {0xff}}
	p.write(&m)
	got := agent.receive(wire.TypeCommMsg)
	assert.Equal(t, string(m.Header), string(got.Header))
	assert.Equal(t, m.Buffers, got.Buffers)
	agent.publish("s", wire.Message{Channel: wire.IOPub, Header: m.Header, ParentHeader: []byte(`{"z":1}`), Metadata: []byte(`{"y":2}`), Content: []byte(`{"x":3}`), Buffers: m.Buffers})
	back := p.next(wire.TypeCommMsg)
	assert.Equal(t, string(m.Header), string(back.Header))
	assert.Equal(t, `{"y":2}`, string(back.Metadata))
	assert.Equal(t, m.Buffers, back.Buffers)
}

func TestBadFramesAreDroppedAndTheSocketLives(t *testing.T) {
	w := newWorld(t)
	_, agent, p := ready(t, w, "s")
	exec := wire.NewBuilder("a").New(wire.Shell, wire.TypeExecuteRequest, nil, map[string]any{"code": "good"})
	good, err := exec.AppendLegacyText(nil)
	require.NoError(t, err)
	bad := [][]byte{
		{}, []byte("{"), []byte("nonsense"), []byte(`{"channel":"heartbeat","header":{}}`), []byte(`{"channel":7,"header":{}}`),
		[]byte(`{"channel":"shell","header":[]}`), []byte(`{"channel":"iopub","header":{"msg_type":"status"},"content":{}}`),
		good[:len(good)-5], []byte("\x00\x00\x00\x02\x00\x00\x00\x0c\xff\xff\xff\xff{}"), []byte("\xff\xfe\xfd\xfc"),
		append([]byte(`{"channel":"shell","header":{},"content":`), strings.Repeat("[", 1_000_000)...),
		[]byte("{}{}"),
	}
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		for _, data := range bad {
			require.NoError(t, p.conn.Write(context.Background(), kind, data))
		}
	}
	binary := exec
	binary.Buffers = [][]byte{{0xff, 0x00}}
	data, err := binary.AppendLegacyBinary(nil)
	require.NoError(t, err)
	// As an unpatched jupyter_server forwards it: binary bytes in a TEXT frame.
	require.NoError(t, p.conn.Write(context.Background(), websocket.MessageText, data))
	got := agent.receive(wire.TypeExecuteRequest)
	assert.Equal(t, exec.ID(), got.ID())
	assert.Equal(t, binary.Buffers, got.Buffers)
	assert.Empty(t, agent.got)
}

func TestBadV1FramesAreDropped(t *testing.T) {
	w := newWorld(t)
	_, agent, p := ready(t, w, "s", wire.SubprotocolV1)
	exec := wire.NewBuilder("a").New(wire.Shell, wire.TypeExecuteRequest, nil, map[string]any{"code": "good"})
	good := exec.AppendV1(nil)
	lying := append([]byte(nil), good...)
	lying[16] = 0xff
	lying[20] = 0xff
	for _, data := range [][]byte{{}, good[:20], good[:len(good)-3], lying, []byte("{}"), make([]byte, 64)} {
		require.NoError(t, p.conn.Write(context.Background(), websocket.MessageBinary, data))
	}
	require.NoError(t, p.conn.Write(context.Background(), websocket.MessageBinary, good))
	assert.Equal(t, exec.ID(), agent.receive(wire.TypeExecuteRequest).ID())
	assert.Empty(t, agent.got)
}

func TestTooLargeAFrameEndsTheSocket(t *testing.T) {
	w := newWorldWith(t, func(c *Config) { c.bounds.frameBytes = 1 << 20 })
	_, _, p := ready(t, w, "s")
	_ = p.conn.Write(context.Background(), websocket.MessageText, []byte(`{"channel":"shell","content":{"x":"`+strings.Repeat("x", 1<<20)+`"}}`))
	assert.Equal(t, websocket.StatusMessageTooBig, p.closed())
}

func TestWhatIsHeldIsBounded(t *testing.T) {
	w := newWorldWith(t, func(c *Config) { c.bounds.heldBytes = 1 << 20 })
	id := w.start("nb-alice", "python-gpu")
	p := w.open("nb-alice", id, "s")
	p.execute(strings.Repeat("a", 900<<10))
	refused := p.execute(strings.Repeat("b", 900<<10))
	name, _ := errorText(p.next(wire.TypeError))
	assert.Equal(t, "TooMuchWaiting", name)
	assert.Equal(t, refused, parentOf(p.next(wire.TypeExecuteReply)))
}

func TestRevokedTokensLoseTheirSockets(t *testing.T) {
	w := newWorld(t)
	_, _, p := ready(t, w, "s")
	nb := &v1alpha1.JupyterNotebook{}
	require.NoError(t, w.api.Get(context.Background(), types.NamespacedName{Namespace: testNS, Name: "nb-alice"}, nb))
	nb.Spec.Start = "s2"
	require.NoError(t, w.api.Update(context.Background(), nb))
	assert.Equal(t, websocket.StatusPolicyViolation, p.closed())
}

func TestADeletedKernelIsDead(t *testing.T) {
	w := newWorld(t)
	id, _, p := ready(t, w, "s")
	p.next(wire.TypeStatus)
	require.Equal(t, http.StatusNoContent, w.call("nb-alice", "DELETE", "/api/kernels/"+id, "").status)
	assert.Equal(t, "dead", p.next(wire.TypeStatus).ExecutionState())
	assert.Equal(t, websocket.StatusNormalClosure, p.closed())
	_, resp, err := w.dial("nb-alice", id, "s")
	require.Error(t, err)
	assert.Equal(t, http.StatusNotFound, resp.StatusCode)
}

func TestAStoppingGatewaySaysSo(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-gpu")
	p := w.open("nb-alice", id, "s")
	exec := p.execute("1")
	p.next(wire.TypeDisplayData)
	go w.server.Close()
	name, _ := errorText(p.next(wire.TypeError))
	assert.Equal(t, "GatewayRestarted", name)
	assert.Equal(t, exec, parentOf(p.next(wire.TypeExecuteReply)))
	assert.Equal(t, websocket.StatusServiceRestart, p.closed())
	_, resp, err := w.dial("nb-alice", id, "s")
	require.Error(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
}

func TestAWakeSurvivesAnAPIServerThatIsDown(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-gpu")
	w.phase(id, v1alpha1.KernelParked, 1, "")
	w.failing.Store(true)
	p := w.open("nb-alice", id, "s")
	p.execute("1")
	for plainText(p.next(wire.TypeDisplayData, wire.TypeUpdateDisplayData)) != "The cluster does not answer; trying again…" {
	}
	w.failing.Store(false)
	require.Eventually(t, func() bool { return w.kernel(id).Spec.Run == 2 }, patience, 10*time.Millisecond)
}

func TestSocketsPerUser(t *testing.T) {
	w := newWorldWith(t, func(c *Config) { c.bounds.socketsPerUser = 2 })
	id := w.start("nb-alice", "python-gpu")
	w.open("nb-alice", id, "1")
	w.open("nb-alice", id, "2")
	_, resp, err := w.dial("nb-alice", id, "3")
	require.Error(t, err)
	assert.Equal(t, http.StatusForbidden, resp.StatusCode)
	bob := w.start("nb-bob", "python-cpu")
	w.open("nb-bob", bob, "1")
	var m kernelModel
	w.call("nb-alice", "GET", "/api/kernels/"+id, "").json(t, &m)
	assert.Equal(t, 2, m.Connections)
}

func TestSessionIDs(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-gpu")
	agent := w.agent(id, 1)
	w.phase(id, v1alpha1.KernelReady, 1, agent.ip)
	w.open("nb-alice", id, "%ff%00%26a=b")
	assert.Equal(t, "session=%FF%00%26a%3Db", <-agent.connected)
	w.open("nb-alice", id, "")
	assert.Regexp(t, `^session=[0-9a-f-]{36}$`, <-agent.connected)
	_, resp, err := w.dial("nb-alice", id, strings.Repeat("s", 257))
	require.Error(t, err)
	assert.Equal(t, http.StatusBadRequest, resp.StatusCode)
}

func TestAForeignOriginIsRefused(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-gpu")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, resp, err := websocket.Dial(ctx, w.url+"/api/kernels/"+id+"/channels", &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"token " + w.tokens["nb-alice"]}, "Origin": {"https://evil.example"}}})
	require.Error(t, err)
	assert.Equal(t, http.StatusForbidden, resp.StatusCode)
}

// TestASlowClientStopsTheReading checks that what a client does not read stays
// with the agent.
func TestASlowClientStopsTheReading(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-gpu")
	agent := w.agent(id, 1)
	w.phase(id, v1alpha1.KernelReady, 1, agent.ip)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, w.url+"/api/kernels/"+id+"/channels?session_id=s",
		&websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"token " + w.tokens["nb-alice"]}}})
	require.NoError(t, err)
	defer conn.CloseNow()
	<-agent.connected
	b := wire.Builder{Session: "k", Now: time.Now}
	const all = 60
	var taken atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range all {
			agent.publish("s", b.Stream(nil, "stdout", strings.Repeat("x", 1<<20)))
			taken.Add(1)
		}
	}()
	time.Sleep(time.Second)
	assert.Less(t, taken.Load(), int32(40), "MiB taken for a client that reads nothing")
	conn.SetReadLimit(-1)
	for range all {
		_, _, err := conn.Read(ctx)
		require.NoError(t, err)
	}
	<-done
}

// TestLargeFramesWaitForRoom: what takes memory beyond the budget waits in the
// agent, or in the client, and arrives.
func TestLargeFramesWaitForRoom(t *testing.T) {
	w := newWorldWith(t, func(c *Config) { c.MessageBytes = 40 << 20 })
	_, agent, p := ready(t, w, "s", wire.SubprotocolV1)
	bob, carol := &share{budget: w.server.memory, owner: "user/bob"}, &share{budget: w.server.memory, owner: "user/carol"}
	require.NoError(t, bob.grow(20<<20))
	require.NoError(t, carol.grow(19<<20))
	b := wire.Builder{Session: "kernel-session", Now: time.Now}
	agent.publish("s", b.Stream(nil, "stdout", strings.Repeat("x", 3<<20)))
	require.Eventually(t, func() bool { return testutil.ToFloat64(w.server.metrics.noRoom) > 0 }, patience, 5*time.Millisecond)
	p.silent(300*time.Millisecond, wire.TypeStream)
	p.send(wire.Shell, wire.TypeCommMsg, map[string]any{"data": strings.Repeat("y", 3<<20)})
	select {
	case m := <-agent.got:
		require.Fail(t, "there was no room for it", m.Type())
	case <-time.After(200 * time.Millisecond):
	}
	bob.free()
	assert.Len(t, wire.Member(p.next(wire.TypeStream).Content, "text"), 3<<20)
	assert.Greater(t, len(agent.receive(wire.TypeCommMsg).Content), 3<<20)
	carol.free()
	require.Eventually(t, func() bool { return testutil.ToFloat64(w.server.metrics.memory) == 0 }, patience, 5*time.Millisecond)
}
