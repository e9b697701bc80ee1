package gateway

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/agentpod"
	"github.com/elastichub/elastichub/test/client"
	"github.com/elastichub/elastichub/test/loopback"
	"github.com/elastichub/elastichub/test/pythontest"
)

// resuming is alice's client of a kernel, which speaks the resume protocol.
func (w *world) resuming(id, session string) *client.Kernel {
	return &client.Kernel{
		Gateway: client.Gateway{URL: w.url, Token: w.tokens["nb-alice"]}, ID: id, Session: session,
		Subprotocol: client.SubprotocolResume, Patience: 30 * time.Second,
	}
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
	address := loopback.Address()
	cfg := agent.DefaultConfig()
	var err error
	cfg.Secret, err = keys.Derive(w.key, string(w.kernel(id).UID), 1)
	require.NoError(t, err)
	cfg.KernelID, cfg.KernelName, cfg.Listen = id, "python3", address
	cfg.TerminationLog = filepath.Join(t.TempDir(), "termination-log")
	cfg.Log = testLog()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := agentpod.Run(ctx, cfg, []string{pythontest.Interpreter(t), "-m", "ipykernel_launcher", "-f", "{connection_file}"}, io.Discard, t.TempDir())
		assert.NoError(t, err)
	}()
	ip = loopback.IP()
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", ip, protocol.Port))
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
	c := w.resuming(id, "a session")
	c.AckOdds = 20
	require.NoError(t, c.Open(t.Context()))
	run := func(code string) string {
		cell, err := c.Run(code)
		require.NoError(t, err)
		require.Equal(t, "ok", cell.Status)
		return cell.Stdout
	}
	run("import time; n = 0")

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
	text := run(fmt.Sprintf("for i in range(%d):\n    print(i, flush=True)\n    time.sleep(.0005)", lines))
	var want strings.Builder
	for i := range lines {
		fmt.Fprintln(&want, i)
	}
	assert.Equal(t, want.String(), text)

	const cells = 60
	for i := range cells {
		require.Equal(t, fmt.Sprintf("%d\n", i+1), run("n += 1; print(n)"), "every cell runs once")
	}
	close(stop)
	<-stopped
	assert.Greater(t, c.Returns, 10, "connections did break")
	c.Close()
}

func TestOnlyWhatTheClientAcknowledgesIsForgotten(t *testing.T) {
	w := newWorld(t)
	id, agent, first := ready(t, w, "other")
	_ = first.conn.CloseNow()
	c := w.resuming(id, "s")
	require.NoError(t, c.Open(t.Context()))
	next := func() {
		_, err := c.Next()
		require.NoError(t, err)
	}
	_, err := c.Execute("1")
	require.NoError(t, err)
	request := agent.receive(wire.TypeExecuteRequest)
	agent.run("s", request, "one\n")
	next()
	next()
	acknowledged := c.Last
	c.Ack()
	next()
	next()
	assert.Equal(t, "e1", c.Epoch)
	require.Eventually(t, func() bool { return agent.ackedBy("s") == acknowledged }, patience, 5*time.Millisecond)
	time.Sleep(3 * ackAfter)
	assert.Equal(t, acknowledged, agent.ackedBy("s"), "what was only written to it is kept")
	c.Close()
	for len(agent.connected) > 0 {
		<-agent.connected
	}
	require.NoError(t, c.Open(t.Context()))
	assert.Contains(t, <-agent.connected, fmt.Sprintf("epoch=e1&resume=%d", c.Last))
	c.Close()
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
