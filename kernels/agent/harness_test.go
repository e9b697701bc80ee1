package agent_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/agent/runkernel"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/agentpod"
	"github.com/elastichub/elastichub/test/loopback"
	"github.com/elastichub/elastichub/test/pythontest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 2 * time.Minute

// running is an agent of a test, with a real ipykernel unless argv says otherwise.
type running struct {
	t      testing.TB
	cfg    agent.Config
	base   string // host:port
	output *buffer
	cgroup string // directory that plays a control group
	home   string // of the kernel's user; empty: none
	log    *buffer
	http   *http.Client
	cancel context.CancelFunc
	done   chan struct{}
	result protocol.Result
	err    error
	begun  time.Time

	gateways []*gateway
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func ipykernel(t testing.TB) []string {
	return []string{pythontest.Interpreter(t), "-m", "ipykernel_launcher", "-f", "{connection_file}"}
}

func secret(t testing.TB, run int64) keys.Secret {
	s, err := keys.Derive(bytes.Repeat([]byte{7}, keys.Size), "uid", run)
	require.NoError(t, err)
	return s
}

// start runs an agent; its end is awaited when the test ends.
func start(t testing.TB, argv []string, change func(*agent.Config)) *running {
	t.Helper()
	return startInHome(t, "", argv, change)
}

func startInHome(t testing.TB, home string, argv []string, change func(*agent.Config)) *running {
	t.Helper()
	return startContainer(t, runkernel.Config{State: home}, argv, change)
}

// startContainer is start with what the kernel's container is told.
func startContainer(t testing.TB, container runkernel.Config, argv []string, change func(*agent.Config)) *running {
	t.Helper()
	address := loopback.Address()
	r := &running{t: t, base: address, output: &buffer{}, log: &buffer{}, done: make(chan struct{}), cgroup: t.TempDir(), home: container.State}
	container.Output, container.Cgroup, container.GPUTools = r.output, r.cgroup, []string{filepath.Join(r.cgroup, "nvidia-smi")}
	r.cfg = agent.DefaultConfig()
	r.cfg.Secret = secret(t, 1)
	r.cfg.KernelID, r.cfg.KernelName = "k1", "python3"
	r.cfg.Listen = address
	r.cfg.TerminationLog = filepath.Join(t.TempDir(), "termination-log")
	r.cfg.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if change != nil {
		change(&r.cfg)
	}
	r.http = httpClient(r.cfg.Secret)
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	r.begun = time.Now()
	go func() {
		defer close(r.done)
		r.result, r.err = agentpod.RunContainer(ctx, r.cfg, argv, container)
	}()
	t.Cleanup(func() {
		r.cancel()
		for _, g := range r.gateways {
			g.ws.CloseNow()
		}
		<-r.done
		r.http.CloseIdleConnections()
		if t.Failed() || os.Getenv("AGENT_TEST_LOG") != "" {
			t.Logf("agent's log:\n%s\nkernel's output:\n%s", r.log, r.output)
		}
	})
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil || r.isDone()
	}, patience, time.Millisecond)
	if r.isDone() {
		require.NoError(t, r.err)
	}
	return r
}

func (r *running) isDone() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func httpClient(s keys.Secret) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: s.ClientTLS()}, Timeout: patience}
}

func (r *running) request(method, path string, body string) (status int, answer string) {
	r.t.Helper()
	req, err := http.NewRequest(method, "https://"+r.base+path, strings.NewReader(body))
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer "+r.cfg.Secret.Bearer())
	res, err := r.http.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	require.NoError(r.t, err)
	return res.StatusCode, string(raw)
}

func (r *running) state() protocol.State {
	r.t.Helper()
	status, body := r.request("GET", "/v1/state", "")
	require.Equal(r.t, 200, status, body)
	var s protocol.State
	require.NoError(r.t, json.Unmarshal([]byte(body), &s))
	return s
}

func (r *running) waitReady() {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		status, _ := r.request("GET", "/readyz", "")
		return status == 200
	}, patience, 2*time.Millisecond, "kernel is not ready")
}

// ended waits for the agent's end and returns its termination log.
func (r *running) ended() protocol.Result {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(patience):
		r.t.Fatal("the agent does not end")
	}
	raw, err := os.ReadFile(r.cfg.TerminationLog)
	require.NoError(r.t, err)
	var result protocol.Result
	require.NoError(r.t, json.Unmarshal(raw, &result))
	require.NoError(r.t, r.err)
	return metered(r.t, result)
}

// metered takes what every agent has counted out of a result.
func metered(t testing.TB, r protocol.Result) protocol.Result {
	t.Helper()
	assert.True(t, r.Meter.Counts(), "%+v", r.Meter)
	r.Meter = nil
	return r
}

// orderly leaves out of a result whether the kernel had to be hurried with
// SIGTERM: an ipykernel on a busy machine may take seconds to exit.
func orderly(t *testing.T, r protocol.Result) protocol.Result {
	t.Helper()
	assert.Contains(t, []int{0, 128 + int(syscall.SIGTERM)}, r.ExitCode)
	r.ExitCode = 0
	return r
}

// gateway is a connection as a gateway makes it.
type gateway struct {
	t       testing.TB
	session string
	ws      *websocket.Conn
	hello   protocol.Hello
	build   *wire.Builder
	seq     uint64 // of the message received last
}

func (r *running) dial(session string, resume string) (*gateway, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, res, err := websocket.Dial(ctx, "wss://"+r.base+"/v1/channels?session="+url.QueryEscape(session)+resume, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: r.http.Transport},
		HTTPHeader:   http.Header{"Authorization": {"Bearer " + r.cfg.Secret.Bearer()}},
		Subprotocols: []string{protocol.Subprotocol},
	})
	if err != nil {
		if res != nil {
			return nil, fmt.Errorf("status %d: %w", res.StatusCode, err)
		}
		return nil, err
	}
	ws.SetReadLimit(-1)
	g := &gateway{t: r.t, session: session, ws: ws, build: wire.NewBuilder("tester")}
	g.build.Session = session
	kind, raw, err := ws.Read(ctx)
	if err != nil {
		return nil, err
	}
	var first struct{ Hello protocol.Hello }
	if err := json.Unmarshal(raw, &first); kind != websocket.MessageText || err != nil {
		return nil, fmt.Errorf("no hello: %q, %w", raw, err)
	}
	g.hello = first.Hello
	r.gateways = append(r.gateways, g)
	return g, nil
}

func (r *running) connect(session string) *gateway {
	r.t.Helper()
	var g *gateway
	require.Eventually(r.t, func() bool {
		var err error
		g, err = r.dial(session, "")
		return err == nil
	}, patience, 5*time.Millisecond)
	return g
}

func (g *gateway) send(m wire.Message) (id string) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(g.t, g.ws.Write(ctx, websocket.MessageBinary, m.AppendV1(nil)))
	return m.ID()
}

func (g *gateway) ack(n uint64) {
	g.t.Helper()
	require.NoError(g.t, g.ws.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, `{"ack":%d}`, n)))
}

func (g *gateway) execute(code string) (id string) {
	g.t.Helper()
	return g.send(g.request(code))
}

func (g *gateway) request(code string) wire.Message {
	return g.build.New(wire.Shell, wire.TypeExecuteRequest, nil, map[string]any{
		"code": code, "silent": false, "store_history": true, "user_expressions": struct{}{}, "allow_stdin": true, "stop_on_error": true,
	})
}

func (g *gateway) receive() (wire.Message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kind, raw, err := g.ws.Read(ctx)
	if err != nil {
		return wire.Message{}, err
	}
	require.Equal(g.t, websocket.MessageBinary, kind)
	seq := binary.LittleEndian.Uint64(raw)
	require.Greater(g.t, seq, g.seq, "numbers ascend")
	g.seq = seq
	m, err := wire.ParseV1(raw[8:])
	require.NoError(g.t, err)
	return m, nil
}

// until receives up to and including the first message that matches.
func (g *gateway) until(match func(m *wire.Message) bool) []wire.Message {
	g.t.Helper()
	var all []wire.Message
	for {
		m, err := g.receive()
		if err != nil {
			g.t.Fatalf("%v; so far received: %s", err, describe(all))
		}
		all = append(all, m)
		if match(&m) {
			return all
		}
	}
}

func describe(all []wire.Message) string {
	var b strings.Builder
	for _, m := range all {
		fmt.Fprintf(&b, "\n  %s %s %.200s", m.Channel, m.Type(), m.Content)
	}
	return b.String()
}

// untilOutput waits for the first output of a cell.
func (g *gateway) untilOutput(id string) {
	g.t.Helper()
	g.until(func(m *wire.Message) bool { return m.Type() == wire.TypeStream && m.ParentID() == id })
}

// busyCell begins a cell that runs until end is called.
func (g *gateway) busyCell() (id string, end func()) {
	g.t.Helper()
	over := filepath.Join(g.t.TempDir(), "over")
	id = g.execute(fmt.Sprintf("import os, time\nprint('on', flush=True)\nwhile not os.path.exists(%q): time.sleep(.01)", over))
	g.untilOutput(id)
	return id, func() { require.NoError(g.t, os.WriteFile(over, nil, 0o600)) }
}

func isType(msgType string) func(*wire.Message) bool {
	return func(m *wire.Message) bool { return m.Type() == msgType }
}

// outcome is what a client sees of one cell.
type outcome struct {
	reply  wire.Message
	stdout string
	stderr string
	all    []wire.Message
}

func (o *outcome) status() string { return wire.Member(o.reply.Content, "status") }

// results waits for both ends of cells: the reply and the idle status.
func (g *gateway) results(ids ...string) []outcome {
	g.t.Helper()
	outcomes := make([]outcome, len(ids))
	stdout, stderr := make([]strings.Builder, len(ids)), make([]strings.Builder, len(ids))
	idle, replied := map[int]bool{}, map[int]bool{}
	g.until(func(m *wire.Message) bool {
		i := slices.Index(ids, m.ParentID())
		if i < 0 {
			return false
		}
		outcomes[i].all = append(outcomes[i].all, *m)
		switch m.Type() {
		case wire.TypeExecuteReply:
			outcomes[i].reply, replied[i] = *m, true
		case wire.TypeStream:
			if wire.Member(m.Content, "name") == "stdout" {
				stdout[i].WriteString(wire.Member(m.Content, "text"))
			} else {
				stderr[i].WriteString(wire.Member(m.Content, "text"))
			}
		case wire.TypeStatus:
			idle[i] = idle[i] || m.ExecutionState() == "idle"
		}
		return len(replied) == len(ids) && !slices.ContainsFunc(slices.Sorted(maps.Keys(replied)), func(i int) bool { return !idle[i] })
	})
	for i := range outcomes {
		outcomes[i].stdout, outcomes[i].stderr = stdout[i].String(), stderr[i].String()
	}
	return outcomes
}

func (g *gateway) result(id string) outcome {
	g.t.Helper()
	return g.results(id)[0]
}

// run executes code and requires that it went well.
func (g *gateway) run(code string) string {
	g.t.Helper()
	o := g.result(g.execute(code))
	require.Equal(g.t, "ok", o.status(), "%s", describe(o.all))
	return o.stdout
}

// closed receives until the connection is closed and returns why, and what came before.
func (g *gateway) closed() (websocket.CloseError, []wire.Message) {
	g.t.Helper()
	var all []wire.Message
	for {
		m, err := g.receive()
		if err == nil {
			all = append(all, m)
			continue
		}
		var e websocket.CloseError
		require.ErrorAs(g.t, err, &e)
		return e, all
	}
}
