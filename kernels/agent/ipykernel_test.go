package agent_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
)

func TestExecute(t *testing.T) {
	t.Setenv("ELASTICHUB_AGENT_KEY_FILE", "/key")
	t.Setenv("JPY_PARENT_PID", "4242")
	r := start(t, ipykernel(t), func(c *agent.Config) { c.IdleTimeout = time.Hour })
	g := r.connect("s1")
	assert.Equal(t, protocol.Hello{Epoch: g.hello.Epoch, First: 1, Next: 1, ExecutionState: "starting"}, g.hello)
	o := g.result(g.execute("print(6*7)")) // waits until the kernel is up
	assert.Equal(t, "ok", o.status())
	assert.Equal(t, "42\n", o.stdout)

	s := r.state()
	require.NotNil(t, s.Came)
	assert.True(t, 0 < s.Came.ProcessSeconds && s.Came.ProcessSeconds < s.Came.AnswerSeconds && s.Came.AnswerSeconds <= s.Came.ReadySeconds && s.Came.ReadySeconds <= s.HeldSeconds, "%+v", s.Came)
	assert.Equal(t, wire.StateIdle, s.ExecutionState)
	assert.Equal(t, 1, s.Connections)
	assert.Equal(t, 0, s.Restarts)
	assert.InDelta(t, 3600, s.IdleTimeoutSeconds, 0.001)
	assert.Less(t, s.IdleSeconds, 20.0)
	assert.WithinDuration(t, time.Now(), s.LastActivity.Time, time.Minute)
	var info struct{ Implementation string }
	require.NoError(t, json.Unmarshal(s.KernelInfo, &info))
	assert.Equal(t, "ipython", info.Implementation)

	assert.Equal(t, "[]\n", g.run(`import os; print([k for k in os.environ if k.startswith("ELASTICHUB_AGENT_") or k == "JPY_PARENT_PID"])`))
	assert.Equal(t, "True\n", g.run(`print(os.getpid() == os.getpgid(0) == os.getsid(0))`))
	assert.Equal(t, "0o600 0o700\n", g.run(`import ipykernel; f = ipykernel.get_connection_file(); print(oct(os.stat(f).st_mode & 0o777), oct(os.stat(os.path.dirname(f)).st_mode & 0o777))`))
	g.run(`os.system("echo to the log")`)
	assert.Eventually(t, func() bool { return strings.Contains(r.output.String(), "to the log\n") }, patience, 10*time.Millisecond)

	r.cancel()
	e, _ := g.closed()
	assert.Equal(t, websocket.StatusCode(4000), e.Code)
	assert.Equal(t, "terminated", e.Reason)
	result := r.ended()
	assert.Equal(t, protocol.Result{Reason: protocol.ReasonTerminated, Message: "The agent was told to end."}, orderly(t, result))
	assert.Equal(t, 1, result.Code())
}

// TestAStartIsSilent: a client that is there before its kernel reads of no
// warning of a library's.
func TestAStartIsSilent(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	g := r.connect("s1")
	id := g.execute("import debugpy")
	for _, m := range g.until(func(m *wire.Message) bool { return m.Type() == wire.TypeExecuteReply && m.ParentID() == id }) {
		assert.NotEqual(t, wire.TypeStream, m.Type(), "%s", m.Content)
	}
	assert.NotContains(t, r.output.String(), "frozen modules")
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	g := r.connect("s1")
	g.run(`pid = __import__("os").getpid(); print(pid)`)
	status, _ := r.request("POST", "/v1/shutdown", "")
	assert.Equal(t, 202, status)
	e, _ := g.closed()
	assert.Equal(t, websocket.StatusCode(4000), e.Code)
	assert.Equal(t, "shutdown", e.Reason)
	result := r.ended()
	assert.Equal(t, protocol.Result{Reason: protocol.ReasonShutdown}, orderly(t, result))
	assert.Equal(t, 0, result.Code())
}

func TestInput(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	g := r.connect("s1")
	id := g.execute(`print("got", input("name? "))`)
	all := g.until(isType(wire.TypeInputRequest))
	ask := all[len(all)-1]
	assert.Equal(t, wire.Stdin, ask.Channel)
	assert.Equal(t, "name? ", wire.Member(ask.Content, "prompt"))
	assert.Equal(t, wire.StateBusy, r.state().ExecutionState)
	g.send(g.build.New(wire.Stdin, wire.TypeInputReply, ask.Header, map[string]string{"value": "Ada"}))
	assert.Equal(t, "got Ada\n", g.result(id).stdout)
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	for _, mode := range []protocol.InterruptMode{protocol.InterruptAuto, protocol.InterruptMessage, protocol.InterruptSignal} {
		t.Run(string(mode), func(t *testing.T) {
			r := start(t, ipykernel(t), func(c *agent.Config) { c.InterruptMode = mode })
			status, body := r.request("POST", "/v1/interrupt", "")
			assert.Equal(t, 409, status, "while it starts: %s", body)
			g := r.connect("s1")
			id := g.execute("print('on', flush=True)\nwhile True: pass")
			g.untilOutput(id)
			status, _ = r.request("POST", "/v1/interrupt", "")
			assert.Equal(t, 204, status)
			o := g.result(id)
			assert.Equal(t, "error", o.status())
			assert.Equal(t, "KeyboardInterrupt", wire.Member(o.reply.Content, "ename"))
		})
	}
}

func TestRestartInPlace(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	g := r.connect("s1")
	look := `import os, ipykernel; print(os.getpid(), os.getppid(), open(ipykernel.get_connection_file()).read())`
	before := g.run(look)
	g.run("x = 1")

	id := g.execute("print('on', flush=True)\nwhile True: pass")
	queued := g.execute("print(2)")
	g.untilOutput(id)
	begun := time.Now()
	status, body := r.request("POST", "/v1/restart", "")
	require.Equal(t, 204, status, body)
	t.Logf("restart in place of a busy kernel: %v", time.Since(begun))

	both := g.results(id, queued)
	assert.Equal(t, "error", both[0].status())
	assert.Contains(t, []string{"KeyboardInterrupt", "KernelRestarted"}, wire.Member(both[0].reply.Content, "ename"))
	assert.Contains(t, []string{"aborted", "error"}, both[1].status(), "by the kernel or for it")
	after := g.run(look)
	b, a := strings.SplitN(before, " ", 3), strings.SplitN(after, " ", 3)
	assert.NotEqual(t, b[0], a[0], "another process")
	assert.Equal(t, strconv.Itoa(os.Getpid()), a[1], "of the same agent")
	assert.Equal(t, b[2], a[2], "with the same ports and key")
	assert.Equal(t, "False\n", g.run("print('x' in dir())"))
	s := r.state()
	assert.Equal(t, 1, s.Restarts)
	assert.Equal(t, wire.StateIdle, s.ExecutionState)
}

// TestRestartOfAStubbornKernel: neither interrupt nor SIGTERM end it; whoever waits is answered all the same.
func TestRestartOfAStubbornKernel(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), func(c *agent.Config) { c.ShutdownGrace = time.Second })
	g := r.connect("s1")
	id := g.execute(`
import signal, threading
for s in (signal.SIGINT, signal.SIGTERM): signal.signal(s, signal.SIG_IGN)
print("on", flush=True)
while True: pass`)
	queued := g.execute("print(2)")
	g.untilOutput(id)
	status, body := r.request("POST", "/v1/restart", "")
	require.Equal(t, 204, status, body)
	for _, o := range g.results(id, queued) {
		assert.Equal(t, "error", o.status())
		assert.Equal(t, "KernelRestarted", wire.Member(o.reply.Content, "ename"))
	}
	assert.Equal(t, "3\n", g.run("print(3)"))
}

func TestParkWhenIdle(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), func(c *agent.Config) { c.GPUs = 1 })
	g, other := r.connect("s1"), r.connect("s2")
	id := g.execute("print(1)")
	g.result(id)
	status, _ := r.request("PUT", "/v1/idle", `{"timeoutSeconds": 3}`)
	require.Equal(t, 204, status)
	// A notebook that merely reconnects does not hold the kernel.
	g.send(g.build.New(wire.Shell, wire.TypeKernelInfoRequest, nil, struct{}{}))

	want := "Kernel parked after 3 s without work: its GPU is free again. Run a cell to bring it back; variables are gone, files are kept."
	e, all := g.closed()
	assert.Equal(t, websocket.StatusCode(4000), e.Code)
	assert.Equal(t, "idle", e.Reason)
	notice := all[len(all)-1]
	assert.Equal(t, wire.TypeDisplayData, notice.Type())
	assert.Equal(t, id, notice.ParentID())
	var content struct {
		Data map[string]string
	}
	require.NoError(t, json.Unmarshal(notice.Content, &content))
	assert.Equal(t, want, content.Data["text/plain"])
	assert.Contains(t, content.Data["text/html"], want)

	e, all = other.closed()
	assert.Equal(t, "idle", e.Reason)
	assert.Equal(t, wire.TypeDisplayData, all[len(all)-1].Type())

	result := r.ended()
	assert.Equal(t, protocol.Result{Reason: protocol.ReasonIdle, Message: want}, orderly(t, result))
	assert.Equal(t, 0, result.Code())
}

// display is an output that was shown or updated.
type display struct {
	Data      map[string]string
	Transient struct {
		DisplayID string `json:"display_id"`
	}
}

func (g *gateway) display(msgType string) (d display, parent string) {
	g.t.Helper()
	all := g.until(isType(msgType))
	m := all[len(all)-1]
	require.NoError(g.t, json.Unmarshal(m.Content, &d))
	return d, m.ParentID()
}

func TestParkingIsAnnounced(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), func(c *agent.Config) { c.IdleTimeout, c.ParkNotice = 6*time.Second, 5*time.Second })
	g, fresh := r.connect("s1"), r.connect("s2")
	id := g.execute("1")
	warning, parent := g.display(wire.TypeDisplayData)
	assert.Regexp(t, `^Kernel will be parked in [345] s unless a cell is run\.$`, warning.Data["text/plain"])
	assert.Equal(t, id, parent)

	second := g.execute("2")
	taken, parent := g.display(wire.TypeUpdateDisplayData)
	assert.Equal(t, display{Data: map[string]string{"text/plain": ""}, Transient: warning.Transient}, taken, "it has been used")
	assert.Equal(t, id, parent)

	warning, parent = g.display(wire.TypeDisplayData)
	assert.Equal(t, second, parent)
	buried, parent := g.display(wire.TypeUpdateDisplayData)
	assert.Equal(t, second, parent)
	assert.Equal(t, warning.Transient, buried.Transient)
	assert.Contains(t, buried.Data["text/plain"], "Kernel parked after 6 s")
	_, all := fresh.closed()
	for _, m := range all[:len(all)-1] {
		assert.NotEqual(t, wire.TypeDisplayData, m.Type(), "a session without a cell is told only when it is over")
	}
	assert.Equal(t, protocol.ReasonIdle, r.ended().Reason)
}

func TestAnIdleKernelThatNobodyAsksAfterEnds(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), func(c *agent.Config) { c.OrphanAfter = 2 * time.Second })
	g := r.connect("s1")
	g.run("1")
	time.Sleep(2500 * time.Millisecond)
	_, end := g.busyCell()
	require.NoError(t, g.ws.CloseNow())
	time.Sleep(2500 * time.Millisecond)
	assert.False(t, r.isDone(), "not while it is busy")
	end()
	assert.Equal(t, protocol.ReasonOrphaned, r.ended().Reason)
	assert.Equal(t, 1, protocol.Result{Reason: protocol.ReasonOrphaned}.Code())
}

func TestOutputBeyondTheRateIsLeftOut(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), func(c *agent.Config) { c.IOPubMessages = 20 })
	g := r.connect("s1")
	const printed = 2000
	g.run("1")
	begun := time.Now()
	// print writes twice, which may become two messages.
	o := g.result(g.execute(fmt.Sprintf("import sys\nfor i in range(%d): sys.stdout.write(f'{i}\\n'); sys.stdout.flush()", printed)))
	assert.Equal(t, "ok", o.status())
	shown := strings.Count(o.stdout, "\n")
	assert.Greater(t, shown, 40, "about three seconds' worth; other output counts, too")
	assert.LessOrEqual(t, float64(shown), 20*(3+time.Since(begun).Seconds()))
	assert.Contains(t, o.stderr, "[too much output: more than 20 messages a second; what follows is left out until it slows down]")
	var left int
	for _, found := range regexp.MustCompile(`\[(\d+) messages of output were left out\]`).FindAllStringSubmatch(o.stderr, -1) {
		n, _ := strconv.Atoi(found[1])
		left += n
	}
	assert.Equal(t, printed, shown+left)
}

func TestSilentBusyCellIsNotParked(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), func(c *agent.Config) { c.IdleTimeout = time.Second })
	g := r.connect("s1")
	assert.Equal(t, "done\n", g.run("import time; time.sleep(3); print('done')"))
	e, _ := g.closed()
	assert.Equal(t, "idle", e.Reason)
}

func TestConnectedSessionHoldsAKernelIfSoConfigured(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), func(c *agent.Config) { c.IdleTimeout, c.CullConnected = time.Second, false })
	g := r.connect("s1")
	g.run("1")
	time.Sleep(2500 * time.Millisecond)
	assert.Equal(t, wire.StateIdle, r.state().ExecutionState)
	require.NoError(t, g.ws.Close(websocket.StatusNormalClosure, ""))
	assert.Equal(t, protocol.ReasonIdle, r.ended().Reason)
}

func TestReconnectReplaysWhatWasNotAcknowledged(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	broken := func(g *gateway) { // and the agent has noticed
		require.NoError(t, g.ws.CloseNow())
		require.Eventually(t, func() bool { return r.state().Connections == 0 }, patience, time.Millisecond)
	}
	g := r.connect("s1")
	g.run("1")
	g.ack(g.seq)
	acked := g.seq
	o := g.result(g.execute("for i in range(3): print(i, flush=True)"))
	seen := g.seq
	broken(g)

	again := r.connect("s1")
	assert.Equal(t, g.hello.Epoch, again.hello.Epoch)
	assert.Equal(t, acked+1, again.hello.First)
	assert.Equal(t, seen+1, again.hello.Next)
	var replayed []wire.Message
	for again.seq < seen {
		m, err := again.receive()
		require.NoError(t, err)
		replayed = append(replayed, m)
	}
	assert.Len(t, replayed, int(seen-acked))
	var ids []string
	for _, m := range replayed {
		ids = append(ids, m.ID())
	}
	for _, m := range o.all {
		assert.Contains(t, ids, m.ID())
	}
	broken(again)

	resumed, err := r.dial("s1", fmt.Sprintf("&epoch=%s&resume=%d", g.hello.Epoch, seen-1))
	require.NoError(t, err)
	_, err = resumed.receive()
	require.NoError(t, err)
	assert.Equal(t, seen, resumed.seq, "only what follows resume")
	broken(resumed)

	foreign, err := r.dial("s1", "&epoch=another&resume=999999")
	require.NoError(t, err)
	assert.Equal(t, seen, foreign.hello.First, "another agent's numbers mean nothing")
}

// TestOutputWhileAway: what a cell prints while nobody is connected is kept.
func TestOutputWhileAway(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	g := r.connect("s1")
	g.run("import time")
	id := g.execute("print('a\\n', end='', flush=True); time.sleep(1); print('b')") // in one message
	g.untilOutput(id)
	g.ack(g.seq)
	require.NoError(t, g.ws.CloseNow())
	time.Sleep(1500 * time.Millisecond)
	o := r.connect("s1").result(id)
	assert.Equal(t, "b\n", o.stdout)
	assert.Equal(t, "ok", o.status())
}

func TestDropMarker(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), func(c *agent.Config) { c.ReplayBytes = 1 << 20 })
	g := r.connect("s1")
	g.run("import time")
	g.ack(g.seq)
	require.NoError(t, g.ws.CloseNow())
	again := r.connect("s1")
	id := again.execute("print('on', flush=True)\ntime.sleep(.3)\nfor i in range(40): print('x' * 100_000, flush=True)")
	again.untilOutput(id) // or it might be idle still
	require.NoError(t, again.ws.CloseNow())
	require.Eventually(t, func() bool { return r.state().ExecutionState == wire.StateIdle }, patience, 50*time.Millisecond)

	last := r.connect("s1")
	assert.NotZero(t, last.hello.Dropped)
	o := last.result(id)
	assert.Equal(t, "ok", o.status(), "the reply is there")
	var dropped uint64
	for _, found := range regexp.MustCompile(`\[(\d+) messages of output were dropped here`).FindAllStringSubmatch(o.stderr, -1) {
		n, _ := strconv.ParseUint(found[1], 10, 64)
		dropped += n
	}
	assert.Equal(t, last.hello.Dropped, dropped, o.stderr)
	assert.NotEmpty(t, o.stdout, "the newest output is there")
	assert.Less(t, len(o.stdout), 1<<20)
}

// TestTwoConnectionsOfOneSession: jupyter_server opens two under one id and
// goes on with either.
func TestTwoConnectionsOfOneSession(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	a := r.connect("s1")
	a.run("1")
	b := r.connect("s1")
	id := b.execute("print(2)")
	for _, g := range []*gateway{a, b} {
		o := g.result(id)
		assert.Equal(t, "2\n", o.stdout)
		assert.Equal(t, "ok", o.status())
	}
	assert.Equal(t, 1, r.state().Connections, "one session")
	require.NoError(t, a.ws.CloseNow())
	assert.Equal(t, "3\n", b.run("print(3)"))
}

func TestConnectionsOfASessionAreBounded(t *testing.T) {
	t.Parallel()
	r := start(t, stub(t), nil)
	oldest := r.connect("s1")
	var newest *gateway
	for range 4 {
		newest = r.connect("s1")
	}
	e, _ := oldest.closed()
	assert.Equal(t, websocket.StatusCode(4001), e.Code)
	newest.run("1")
}

// TestRepeatedRequestRunsOnce: who lost a connection sends again what shows no sign.
func TestRepeatedRequestRunsOnce(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	g := r.connect("s1")
	g.run("n = 0")
	m := g.request("n += 1")
	g.send(m)
	g.send(m)
	require.NoError(t, g.ws.CloseNow())
	again := r.connect("s1")
	again.send(m)
	again.result(m.ID())
	assert.Equal(t, "1\n", again.run("print(n)"))
}

func TestTwoSessions(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	a, b := r.connect("s1"), r.connect("\x00\xff odd session ⊗ id")
	id := a.execute("print('hello')")
	o := b.until(func(m *wire.Message) bool {
		return m.ParentID() == id && m.Type() == wire.TypeStatus && m.ExecutionState() == "idle"
	})
	for _, m := range o {
		assert.NotEqual(t, wire.TypeExecuteReply, m.Type(), "replies are the asker's alone")
	}
	assert.Equal(t, "ok", func() string { o := a.result(id); return o.status() }())
	assert.Equal(t, "3\n", b.run("print(3)"))
}

func TestCrashRestarts(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	g := r.connect("s1")
	for how, code := range map[string]string{
		"exit code 3": "import os; print('last words', flush=True); os._exit(3)",
		"signal 9":    "import os; print('last words', flush=True); os.kill(os.getpid(), 9)",
	} {
		o := g.result(g.execute(code))
		assert.Equal(t, "error", o.status())
		assert.Equal(t, "KernelDied", wire.Member(o.reply.Content, "ename"))
		assert.Contains(t, o.stderr, "[the kernel died: "+how)
		g.until(func(m *wire.Message) bool { return m.ExecutionState() == "restarting" })
		assert.Equal(t, "7\n", g.run("print(7)"), "it is back by itself")
	}
	assert.Equal(t, 2, r.state().Restarts)
}

func TestCrashInARowGivesUp(t *testing.T) {
	t.Parallel()
	flag := filepath.Join(t.TempDir(), "flag")
	// The second and later processes exit at once.
	script := fmt.Sprintf(`test -e %s && exit 9; touch %s; exec "$@"`, flag, flag)
	r := start(t, append([]string{"sh", "-c", script, "sh"}, ipykernel(t)...), nil)
	g := r.connect("s1")
	g.result(g.execute("import os; os._exit(1)"))
	e, all := g.closed()
	assert.Equal(t, websocket.StatusCode(4000), e.Code)
	assert.Equal(t, "kernel-exited", e.Reason)
	assert.Equal(t, "dead", all[len(all)-1].ExecutionState())
	result := r.ended()
	assert.Equal(t, protocol.ReasonKernelExited, result.Reason)
	assert.Equal(t, 9, result.ExitCode)
	assert.Equal(t, 1, result.Code())
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		argv    []string
		timeout time.Duration
		code    int
		message string
	}{
		"exits at once":   {[]string{"sh", "-c", "echo no such module >&2; exit 5"}, patience, 5, "The kernel ended before it answered: exit code 5.\nno such module"},
		"never answers":   {[]string{"sh", "-c", "echo waiting; exec sleep 60"}, 3 * time.Second, 143, "The kernel did not answer within 3s.\nwaiting"},
		"is not there":    {[]string{"/nonexistent/kernel"}, patience, 0, "fork/exec /nonexistent/kernel: no such file or directory"},
		"dies at once":    {[]string{"sh", "-c", "kill -ILL $$"}, patience, 132, "The kernel ended before it answered: signal 4 (illegal instruction).\n"},
		"ignores SIGTERM": {[]string{"sh", "-c", "trap '' TERM; while :; do sleep 1; done"}, 3 * time.Second, 137, "The kernel did not answer within 3s.\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, row.argv, func(c *agent.Config) { c.StartTimeout, c.ShutdownGrace = row.timeout, time.Second })
			result := r.ended()
			assert.Equal(t, protocol.Result{Reason: protocol.ReasonStartFailed, Message: row.message, ExitCode: row.code}, result)
			assert.Equal(t, 1, result.Code())
		})
	}
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	r.waitReady()
	call := func(change func(*running)) (int, string) {
		stranger := *r
		change(&stranger)
		return stranger.request("GET", "/v1/state", "")
	}
	status, body := call(func(s *running) { s.cfg.Secret = secret(t, 2) })
	assert.Equal(t, 401, status)
	assert.JSONEq(t, `{"reason":"Unauthorized","message":"the bearer token of this kernel's agent is required"}`, body)
	stranger := *r
	stranger.cfg.Secret = secret(t, 2)
	for method, path := range map[string]string{"GET": "/v1/channels?session=x", "POST": "/v1/shutdown", "PUT": "/v1/idle", "DELETE": "/x"} {
		status, _ := stranger.request(method, path, "{}")
		assert.Equal(t, 401, status, path)
	}
	_, err := stranger.dial("s1", "")
	assert.ErrorContains(t, err, "status 401")

	// The other side of the pin: a client that expects another run's key.
	stranger.http = other(t).http
	_, answer := stranger.request("GET", "/readyz", "")
	assert.Contains(t, answer, "does not hold this run's key")
	status, _ = r.request("GET", "/v1/state", "")
	assert.Equal(t, 200, status)
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	for body, want := range map[string]int{
		``: 400, `[]`: 400, `{}`: 400, `{"timeoutSeconds":"1"}`: 400, `{"timeoutSeconds":1e300}`: 400, `{"timeoutSeconds":1,"x":2}`: 400,
		`{"timeoutSeconds":1} {}`: 400, `{"timeoutSeconds":` + strings.Repeat(" ", 8<<10) + `1}`: 400,
		`{"timeoutSeconds":-3}`: 204, `{"timeoutSeconds":0}`: 204, `{"timeoutSeconds":7200.5}`: 204,
	} {
		status, answer := r.request("PUT", "/v1/idle", body)
		assert.Equal(t, want, status, "%.60s: %s", body, answer)
	}
	assert.Contains(t, []float64{0, 7200.5}, r.state().IdleTimeoutSeconds)
	for _, session := range []string{"", strings.Repeat("s", 257)} {
		_, err := r.dial(session, "")
		assert.ErrorContains(t, err, "status 400")
	}
	for _, frame := range [][]byte{nil, []byte("nonsense"), bytes.Repeat([]byte{255}, 100)} {
		g := r.connect("s1")
		require.NoError(t, g.ws.Write(t.Context(), websocket.MessageBinary, frame))
		e, _ := g.closed()
		assert.Equal(t, websocket.StatusInvalidFramePayloadData, e.Code)
	}
	g := r.connect("s1")
	g.send(wire.Message{Channel: wire.IOPub, Header: []byte(`{"msg_type":"stream"}`)})
	g.send(wire.Message{Channel: wire.Shell, Header: []byte(`not JSON`)})
	g.send(wire.Message{Channel: wire.Shell})
	assert.Equal(t, "1\n", g.run("print(1)"), "it goes on")
}

func TestFrameTooLarge(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), func(c *agent.Config) { c.MaxMessage = 1 << 20 })
	g := r.connect("s1")
	require.NoError(t, g.ws.Write(t.Context(), websocket.MessageBinary, make([]byte, 1<<20+1)))
	e, _ := g.closed()
	assert.Equal(t, websocket.StatusMessageTooBig, e.Code)

	g = r.connect("s1")
	o := g.result(g.execute("print('x' * 2_000_000 + '\\n', end='', flush=True); print('y')"))
	assert.Equal(t, "ok", o.status())
	assert.Equal(t, "[a message was dropped: it is larger than 1.0 MB]\n", o.stderr)
	assert.Equal(t, "y\n", o.stdout)
}

func TestLargeOutput(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	g := r.connect("s1")
	g.run("1")
	begun := time.Now()
	out := g.run("print('x' * 10_000_000)")
	t.Logf("10 MB in %v", time.Since(begun))
	assert.Equal(t, 10_000_001, len(out))
}

func TestBinaryComm(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	g := r.connect("s1")
	g.run(`
from comm import get_comm_manager
def opened(comm, msg):
    comm.on_msg(lambda m: comm.send({"n": len(m["buffers"])}, buffers=[bytes(b)[::-1] for b in m["buffers"]]))
get_comm_manager().register_target("echo", opened)`)
	g.send(g.build.New(wire.Shell, wire.TypeCommOpen, nil, map[string]any{"comm_id": "c1", "target_name": "echo", "data": struct{}{}}))
	m := g.build.New(wire.Shell, wire.TypeCommMsg, nil, map[string]any{"comm_id": "c1", "data": struct{}{}})
	m.Buffers = [][]byte{{1, 2, 255}, {}, bytes.Repeat([]byte{1, 0}, 1<<20)}
	g.send(m)
	all := g.until(isType(wire.TypeCommMsg))
	assert.Equal(t, [][]byte{{255, 2, 1}, {}, bytes.Repeat([]byte{0, 1}, 1<<20)}, all[len(all)-1].Buffers)
}

// TestLargeOutputWaitsForItsReader: the kernel is faster than the client, and
// all of it is more than is kept.
func TestLargeOutputWaitsForItsReader(t *testing.T) {
	t.Parallel()
	const n, size = 60, 500_000
	r := start(t, ipykernel(t), func(c *agent.Config) { c.ReplayBytes = 4 << 20 })
	r.connect("deaf")
	g := r.connect("s1")
	id := g.execute(fmt.Sprintf("from IPython.display import display\nfor i in range(%d): display({'text/plain': f'{i} ' + 'x' * %d}, raw=True)", n, size))
	var got []string
	for len(got) < n {
		m, err := g.receive()
		require.NoError(t, err)
		require.NotContains(t, string(m.Content), "messages of output were dropped")
		if m.Type() == wire.TypeDisplayData {
			time.Sleep(10 * time.Millisecond)
			var content struct {
				Data map[string]string `json:"data"`
			}
			require.NoError(t, json.Unmarshal(m.Content, &content))
			number, _, _ := strings.Cut(content.Data["text/plain"], " ")
			got = append(got, number)
		}
		g.ack(g.seq)
	}
	for i, number := range got {
		assert.Equal(t, strconv.Itoa(i), number)
	}
	g.until(func(m *wire.Message) bool {
		return m.ExecutionState() == string(wire.StateIdle) && string(wire.ParseFields(m.ParentHeader).ID) == id
	})
}

// TestFlood: a cell that prints without end to a client that never reads costs bounded memory and can be interrupted.
// It runs by itself, since it measures the memory of this process, of which the agent is a part.
func TestFlood(t *testing.T) {
	const replay, printed = 4 << 20, 48 << 20
	r := start(t, ipykernel(t), func(c *agent.Config) { c.ReplayBytes = replay })
	r.connect("deaf")
	g := r.connect("s1")
	g.run("import sys")
	before := heap()
	id := g.execute("while True: print('x' * 100_000, flush=True)")
	for received := 0; received < printed; {
		m, err := g.receive()
		require.NoError(t, err)
		received += len(m.Content)
		g.ack(g.seq)
	}
	// The replay buffer, and what is between the kernel and the two clients.
	held := heap() - before
	assert.Less(t, held, int64(4*replay), "of %d MiB printed", printed>>20)
	status, _ := r.request("POST", "/v1/interrupt", "")
	assert.Equal(t, 204, status)
	for { // acknowledging, or the rest would not come
		m, err := g.receive()
		require.NoError(t, err)
		g.ack(g.seq)
		if m.Type() == wire.TypeExecuteReply && m.ParentID() == id {
			assert.Equal(t, "error", wire.Member(m.Content, "status"))
			return
		}
	}
}

// heap is how many bytes this process holds in memory that it can reach.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestOrphansDie: what a kernel leaves behind in its group does not outlive it.
func TestOrphansDie(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	g := r.connect("s1")
	pid, err := strconv.Atoi(strings.TrimSpace(g.run("import subprocess; print(subprocess.Popen(['sleep', '600']).pid)")))
	require.NoError(t, err)
	status, _ := r.request("POST", "/v1/restart", "")
	require.Equal(t, 204, status)
	assert.Eventually(t, func() bool {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(state), ") Z ")
	}, patience, 20*time.Millisecond)
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

func other(t *testing.T) *running {
	o := &running{t: t, cfg: agent.DefaultConfig()}
	o.cfg.Secret = secret(t, 2)
	o.http = httpClient(o.cfg.Secret)
	return o
}
