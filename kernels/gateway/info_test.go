package gateway

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
)

// askAsPage asks as @jupyterlab/services does.
func (p *peer) askAsPage() string {
	p.t.Helper()
	m := wire.NewBuilder("").New(wire.Shell, wire.TypeKernelInfoRequest, nil, struct{}{})
	m.Header = bytes.Replace(m.Header, []byte(`"version":"`+wire.ProtocolVersion+`"`), []byte(`"version":"5.2"`), 1)
	p.write(&m)
	return m.ID()
}

// askHastily asks as GatewayKernelClient does: the channel goes without saying.
func (p *peer) askHastily() string {
	p.t.Helper()
	m := wire.NewBuilder("alice").New(wire.Shell, wire.TypeKernelInfoRequest, nil, struct{}{})
	frame, err := m.AppendLegacyText(nil)
	require.NoError(p.t, err)
	text := strings.Replace(string(frame), `,"channel":"shell"`, "", 1)
	require.NotEqual(p.t, string(frame), text)
	require.NoError(p.t, p.conn.Write(context.Background(), websocket.MessageText, []byte(text)))
	return m.ID()
}

func (p *peer) ask() string {
	p.t.Helper()
	return p.send(wire.Shell, wire.TypeKernelInfoRequest, map[string]any{})
}

// said is a kernel's own reply, by its banner.
func said(p *peer) (request, banner string) {
	m := p.next(wire.TypeKernelInfoReply)
	return parentOf(m), wire.Member(m.Content, "banner")
}

func (a *fakeAgent) says(session, banner string) {
	b := wire.NewBuilder("kernel")
	a.publish(session, b.New(wire.Shell, wire.TypeKernelInfoReply, a.receive(wire.TypeKernelInfoRequest).Header,
		map[string]any{"status": "ok", "banner": banner}))
}

// TestAnAnswerMeansThatTheKernelRuns: jupyter_client's wait_for_ready takes any
// kernel_info_reply for that. A page keeps the first one for its whole life.
func TestAnAnswerMeansThatTheKernelRuns(t *testing.T) {
	for name, ask := range map[string]func(*peer) string{"client": (*peer).ask, "page": (*peer).askAsPage} {
		for _, protocol := range [][]string{nil, {wire.SubprotocolV1}} {
			t.Run(name+strings.Join(protocol, ""), func(t *testing.T) {
				w := newWorld(t)
				id := w.start("nb-alice", "python-gpu")
				p := w.open("nb-alice", id, "s", protocol...)
				first := ask(p)
				p.silent(5*w.server.timing.infoPatience, wire.TypeKernelInfoReply)
				w.phase(id, v1alpha1.KernelStarting, 1, "")
				second := ask(p)
				agent := w.agent(id, 1)
				agent.starting.Store(true)
				w.phase(id, v1alpha1.KernelStarting, 1, agent.ip)
				agent.says("s", "own")
				agent.says("s", "own")
				for _, request := range []string{first, second} {
					got, banner := said(p)
					assert.Equal(t, request, got)
					assert.Equal(t, "own", banner)
				}
			})
		}
	}
}

// TestAParkedKernelSpeaksForItself: what it said is kept, for each of its
// clients. A page that it is not known for waits for the kernel.
func TestAParkedKernelSpeaksForItself(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-gpu")
	w.phase(id, v1alpha1.KernelParked, 1, "")
	p := w.open("nb-alice", id, "s")
	asked := p.askAsPage()
	p.silent(5*w.server.timing.infoPatience, wire.TypeKernelInfoReply)
	q := w.open("nb-alice", id, "s2")
	q.ask()
	_, banner := said(q)
	assert.Empty(t, banner, "of what its kernelspec says")
	assert.EqualValues(t, 1, w.kernel(id).Spec.Run, "questions wake nobody")

	p.execute("1")
	agent := w.agent(id, 2)
	w.phase(id, v1alpha1.KernelReady, 2, agent.ip)
	agent.says("s", "own")
	request, banner := said(p)
	assert.Equal(t, asked, request)
	assert.Equal(t, "own", banner)
	agent.run("s", agent.receive(wire.TypeExecuteRequest), "1")
	p.next(wire.TypeExecuteReply)

	agent.end("idle")
	w.phase(id, v1alpha1.KernelParked, 2, "")
	for _, ask := range []func(*peer) string{(*peer).ask, (*peer).askAsPage, (*peer).askHastily} {
		q := w.open("nb-alice", id, "s3")
		asked := ask(q)
		request, banner := said(q)
		assert.Equal(t, asked, request)
		assert.Equal(t, "own", banner)
	}

	// The same while it comes back, for a page: it is true, and lets the page send its cells.
	q = w.open("nb-alice", id, "s4")
	q.execute("1")
	w.phase(id, v1alpha1.KernelQueued, 3, "")
	asked = q.askAsPage()
	request, banner = said(q)
	assert.Equal(t, asked, request)
	assert.Equal(t, "own", banner)
}

// TestAHastyClientIsAnswered: nbclient's ends with an assertion after a second.
func TestAHastyClientIsAnswered(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-gpu")
	p := w.open("nb-alice", id, "")
	request := p.askHastily()
	assert.Equal(t, request, parentOf(p.next(wire.TypeKernelInfoReply)))
	assert.Equal(t, "idle", p.next(wire.TypeStatus).ExecutionState(), "for that request")
	m := p.next(wire.TypeStatus)
	assert.Equal(t, "starting", m.ExecutionState())
	assert.Empty(t, parentOf(m))

	// One that had gone to the kernel already is answered once.
	agent := w.agent(id, 1)
	agent.starting.Store(true)
	w.phase(id, v1alpha1.KernelStarting, 1, agent.ip)
	request = p.askHastily()
	real := agent.receive(wire.TypeKernelInfoRequest)
	assert.Equal(t, request, parentOf(p.next(wire.TypeKernelInfoReply)))
	session := agent.sessions()[0]
	b := wire.NewBuilder("kernel")
	agent.publish(session, b.New(wire.Shell, wire.TypeKernelInfoReply, real.Header, map[string]any{"status": "ok", "banner": "late"}))
	agent.publish(session, b.Stream(nil, "stdout", "end"))
	assert.Equal(t, wire.TypeStream, p.next(wire.TypeKernelInfoReply, wire.TypeStream).Type(), "not twice")
}

// TestNoticesAreForKernelsThatDoNotRun: the object of a kernel says Starting
// for seconds after its first cells.
func TestNoticesAreForKernelsThatDoNotRun(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-gpu")
	agent := w.agent(id, 1)
	agent.starting.Store(true)
	w.phase(id, v1alpha1.KernelStarting, 1, agent.ip)
	p := w.open("nb-alice", id, "s")
	p.ask()
	agent.says("s", "own")
	said(p)
	for range 3 { // the first, and those after it, which were told at once
		exec := p.execute("1")
		request := agent.receive(wire.TypeExecuteRequest)
		p.silent(5*w.server.timing.grace, wire.TypeDisplayData, wire.TypeClearOutput)
		agent.run("s", request, "1")
		var seen []string
		for {
			m := <-p.msgs
			if seen = append(seen, m.Type()); m.Type() == wire.TypeStatus && m.ExecutionState() == "idle" {
				assert.Equal(t, exec, parentOf(&m))
				break
			}
		}
		assert.Equal(t, []string{wire.TypeStatus, wire.TypeStream, wire.TypeExecuteReply, wire.TypeStatus}, seen)
	}

	// One that is connected to while it runs, and one that does not run yet.
	q := w.open("nb-alice", id, "s2")
	require.Eventually(t, func() bool { return len(agent.sessions()) == 2 }, patience, time.Millisecond)
	agent.starting.Store(false)
	r := w.open("nb-alice", id, "s3")
	r.execute("2")
	r.silent(5*w.server.timing.grace, wire.TypeDisplayData)
	q.execute("3")
	assert.Contains(t, plainText(q.next(wire.TypeDisplayData)), "Starting the kernel's Pod")
}

func TestPagesAndHastyClients(t *testing.T) {
	for header, want := range map[string]bool{
		`{"username":"","session":"s","version":"5.2"}`:                    true,
		`{"username":"","session":"s","version":"5.2","subshell_id":null}`: true,
		`{"username":"root","session":"s","version":"5.4"}`:                false,
		`{"username":"","session":"","version":"5.2"}`:                     false,
		`{"username":"","session":"s","version":"5.4"}`:                    false, // jupyter-kernel-client
		`{"session":"s"}`: false,
		``:                false,
	} {
		assert.Equal(t, want, fromPage([]byte(header)), header)
	}
	for frame, want := range map[string]bool{
		`{"header":{}}`: true, `{"header":{},"channel":"shell"}`: false, `{"header":{},"channel":null}`: false, "\x00\x00\x00\x01": false, "": false,
	} {
		assert.Equal(t, want, hastyFrame([]byte(frame)), frame)
	}
}
