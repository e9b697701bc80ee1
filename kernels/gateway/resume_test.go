package gateway

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/internal/pythontest"
	"github.com/elastichub/elastichub/kernels/wire"
)

// resumer is a client of docs/resume-protocol.md.
type resumer struct {
	t       *testing.T
	url     func() string // of a gateway that is there
	token   string
	build   *wire.Builder
	conn    *websocket.Conn
	epoch   string
	last    uint64
	ackOdds int // one message in so many is acknowledged; 0: none
	pending []wire.Message
	returns int
	unnamed int // messages of the gateway itself
}

func (c *resumer) connect() {
	for {
		query := url.Values{"session_id": {c.build.Session}}
		if c.epoch != "" {
			query.Set("epoch", c.epoch)
			query.Set("resume", fmt.Sprint(c.last))
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		conn, _, err := websocket.Dial(ctx, c.url()+"?"+query.Encode(), &websocket.DialOptions{
			HTTPHeader: http.Header{"Authorization": {"token " + c.token}}, Subprotocols: []string{subprotocolResume, wire.SubprotocolV1},
		})
		cancel()
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		require.Equal(c.t, subprotocolResume, conn.Subprotocol())
		conn.SetReadLimit(-1)
		c.conn = conn
		for i := range c.pending {
			_ = conn.Write(context.Background(), websocket.MessageBinary, c.pending[i].AppendV1(nil))
		}
		return
	}
}

func (c *resumer) execute(code string) string {
	m := c.build.New(wire.Shell, wire.TypeExecuteRequest, nil, map[string]any{"code": code, "silent": false, "stop_on_error": true})
	c.pending = append(c.pending, m)
	_ = c.conn.Write(context.Background(), websocket.MessageBinary, m.AppendV1(nil))
	return m.ID()
}

// next returns the next message of the kernel, over as many connections as it takes.
func (c *resumer) next() wire.Message {
	deadline := time.Now().Add(30 * time.Second)
	for {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		kind, data, err := c.conn.Read(ctx)
		cancel()
		switch {
		case time.Now().After(deadline):
			require.FailNow(c.t, "nothing comes any more", "%v", err)
		case err != nil:
			c.returns++
			c.connect()
			continue
		case kind == websocket.MessageText:
			var h hello
			require.NoError(c.t, json.Unmarshal(data, &h))
			require.NotNil(c.t, h.Hello, "%s", data)
			if h.Hello.Epoch != c.epoch {
				c.epoch, c.last = h.Hello.Epoch, 0
			}
			continue
		}
		m, err := wire.ParseV1(data[seqSize:])
		require.NoError(c.t, err)
		seq := binary.LittleEndian.Uint64(data)
		if seq == 0 {
			c.unnamed++
			continue
		}
		require.Greater(c.t, seq, c.last, "nothing comes twice")
		c.last = seq
		if c.ackOdds > 0 && rand.IntN(c.ackOdds) == 0 {
			c.ack()
		}
		parent := m.ParentID()
		for i := range c.pending {
			if c.pending[i].ID() == parent {
				c.pending = append(c.pending[:i:i], c.pending[i+1:]...)
				break
			}
		}
		return m
	}
}

func (c *resumer) ack() {
	_ = c.conn.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, `{"ack":%d,"epoch":%q}`, c.last, c.epoch))
}

// result is what a cell prints until it has its reply and is idle.
func (c *resumer) result(id string) (stdout, status string) {
	var text strings.Builder
	for idle := false; !idle || status == ""; {
		m := c.next()
		if m.ParentID() != id {
			continue
		}
		switch m.Type() {
		case wire.TypeStream:
			text.WriteString(wire.Member(m.Content, "text"))
		case wire.TypeExecuteReply:
			require.Empty(c.t, status, "one reply")
			status = wire.Member(m.Content, "status")
		case wire.TypeStatus:
			idle = idle || m.ExecutionState() == "idle"
		}
	}
	return text.String(), status
}

// wirecutter passes TCP connections on until they are cut.
type wirecutter struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (w *wirecutter) serve(l net.Listener, to string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", to)
		if err != nil {
			_ = in.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, in, out)
		w.mu.Unlock()
		go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
		go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
	}
}

func (w *wirecutter) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// realKernel runs an ipykernel under a real agent, which is reached at ip.
func realKernel(t *testing.T, w *world, id string) (ip string, links *wirecutter) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := free.Addr().String()
	require.NoError(t, free.Close())
	cfg := agent.DefaultConfig()
	cfg.Secret, err = keys.Derive(w.key, string(w.kernel(id).UID), 1)
	require.NoError(t, err)
	cfg.KernelID, cfg.KernelName, cfg.Listen = id, "python3", address
	cfg.TerminationLog = filepath.Join(t.TempDir(), "termination-log")
	cfg.Log, cfg.Output = testLog(t), io.Discard
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := agent.Run(ctx, cfg, []string{pythontest.Interpreter(t), "-m", "ipykernel_launcher", "-f", "{connection_file}"})
		assert.NoError(t, err)
	}()
	ip = nextIP()
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", ip, v1alpha1.AgentPort))
	require.NoError(t, err)
	links = &wirecutter{}
	go links.serve(l, address)
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		<-done
		links.cut()
	})
	return ip, links
}

// TestExactlyOnceWhateverBreaks plays a gateway that is killed: the connection
// to the agent goes first, so that it acknowledges nothing more, then the one
// to the client. Beside it, either breaks alone.
func TestExactlyOnceWhateverBreaks(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-gpu")
	ip, links := realKernel(t, w, id)
	w.phase(id, v1alpha1.KernelReady, 1, ip)
	c := &resumer{t: t, token: w.tokens["nb-alice"], ackOdds: 20, build: wire.NewBuilder("alice"),
		url: func() string { return w.url + "/api/kernels/" + id + "/channels" }}
	c.build.Session = "a session"
	c.connect()
	_, status := c.result(c.execute("import time; n = 0"))
	require.Equal(t, "ok", status)

	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(10+rand.IntN(60)) * time.Millisecond):
			}
			switch rand.IntN(3) {
			case 0:
				links.cut()
			case 1:
				w.cutClients()
			case 2:
				links.cut()
				w.cutClients()
			}
		}
	}()
	const lines = 3000
	text, status := c.result(c.execute(fmt.Sprintf("for i in range(%d):\n    print(i, flush=True)\n    time.sleep(.0005)", lines)))
	var want strings.Builder
	for i := range lines {
		fmt.Fprintln(&want, i)
	}
	assert.Equal(t, "ok", status)
	assert.Equal(t, want.String(), text)

	const cells = 60
	for i := range cells {
		text, status := c.result(c.execute("n += 1; print(n)"))
		require.Equal(t, "ok", status)
		require.Equal(t, fmt.Sprintf("%d\n", i+1), text, "every cell runs once")
	}
	close(stop)
	<-stopped
	assert.Greater(t, c.returns, 10, "connections did break")
	t.Logf("the client came back %d times", c.returns)
	_ = c.conn.CloseNow()
}

func TestOnlyWhatTheClientAcknowledgesIsForgotten(t *testing.T) {
	w := newWorld(t)
	id, agent, first := ready(t, w, "other")
	_ = first.conn.CloseNow()
	c := &resumer{t: t, token: w.tokens["nb-alice"], build: wire.NewBuilder("alice"),
		url: func() string { return w.url + "/api/kernels/" + id + "/channels" }}
	c.build.Session = "s"
	c.connect()
	c.execute("1")
	request := agent.receive(wire.TypeExecuteRequest)
	agent.run("s", request, "one\n")
	for range 2 {
		c.next()
	}
	acknowledged := c.last
	c.ack()
	c.next()
	c.next()
	assert.Equal(t, "e1", c.epoch)
	require.Eventually(t, func() bool { return agent.ackedBy("s") == acknowledged }, 5*time.Second, 5*time.Millisecond)
	time.Sleep(3 * ackAfter)
	assert.Equal(t, acknowledged, agent.ackedBy("s"), "what was only written to it is kept")
	_ = c.conn.CloseNow()
	for len(agent.connected) > 0 {
		<-agent.connected
	}
	c.connect()
	assert.Contains(t, <-agent.connected, fmt.Sprintf("epoch=e1&resume=%d", c.last))
	_ = c.conn.CloseNow()
}

func TestBadResumeIsRefused(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-gpu")
	for query, text := range map[string]string{
		"resume=-1&epoch=e": "resume must be a number", "resume=1e3&epoch=e": "resume must be a number",
		"resume=1": "resume needs an epoch", "resume=1&epoch=" + strings.Repeat("x", 65): "resume needs an epoch",
	} {
		a := w.call("nb-alice", "GET", "/api/kernels/"+id+"/channels?session_id=s&"+query, "")
		assert.Equal(t, http.StatusBadRequest, a.status, query)
		assert.Contains(t, a.problem(t).Message, text)
	}
}
