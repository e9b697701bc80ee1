package gateway

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/skew"
	"github.com/elastichub/elastichub/test/loopback"
)

var resourceOne = resource.MustParse("1")

// fakeAgent speaks the agent's side of docs/agent-protocol.md with a kernel
// that the test plays: it answers what script returns.
type fakeAgent struct {
	t          *testing.T
	ip         string
	server     *httptest.Server
	restarts   atomic.Int32
	interrupts atomic.Int32
	state      atomic.Value // protocol.State
	starting   atomic.Bool  // the kernel does not run yet
	keeps      atomic.Bool  // it tells of the variables
	got        chan wire.Message
	connected  chan string // queries of connections

	mu    sync.Mutex
	next  uint64
	kept  map[string][]keptFrame // by session
	conns map[string][]*websocket.Conn
	acked map[string]uint64
	told  string // of itself
}

type keptFrame struct {
	seq  uint64
	data []byte
}

// agent starts the agent of a kernel's run.
func (w *world) agent(id string, run int64) *fakeAgent {
	w.t.Helper()
	return newFakeAgent(w.t, w.key, string(w.kernel(id).UID), run)
}

func newFakeAgent(t *testing.T, key []byte, uid string, run int64) *fakeAgent {
	t.Helper()
	secret, err := keys.Derive(key, uid, run)
	require.NoError(t, err)
	ip := loopback.IP()
	a := &fakeAgent{t: t, ip: ip, got: make(chan wire.Message, 1000), connected: make(chan string, 100),
		kept: map[string][]keptFrame{}, conns: map[string][]*websocket.Conn{}, acked: map[string]uint64{}, told: skew.Here(protocol.Version).String()}
	a.state.Store(protocol.State{ExecutionState: wire.StateBusy})
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+protocol.PathState, func(rw http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(rw).Encode(a.state.Load()) })
	mux.HandleFunc("POST "+protocol.PathRestart, func(rw http.ResponseWriter, _ *http.Request) { a.restarts.Add(1); rw.WriteHeader(204) })
	mux.HandleFunc("POST "+protocol.PathInterrupt, func(rw http.ResponseWriter, _ *http.Request) { a.interrupts.Add(1); rw.WriteHeader(204) })
	mux.HandleFunc("GET "+protocol.PathChannels, a.channels)
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", ip, protocol.Port))
	require.NoError(t, err)
	a.server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !secret.Accepts(r.Header.Get("Authorization")) {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		a.mu.Lock()
		rw.Header().Set(skew.Header, a.told)
		a.mu.Unlock()
		mux.ServeHTTP(rw, r)
	}))
	_ = a.server.Listener.Close()
	a.server.Listener = l
	a.server.TLS, err = secret.ServerTLS()
	require.NoError(t, err)
	a.server.StartTLS()
	t.Cleanup(a.close)
	return a
}

func (a *fakeAgent) close() {
	a.mu.Lock()
	for _, c := range slices.Concat(slices.Collect(maps.Values(a.conns))...) {
		_ = c.CloseNow()
	}
	a.mu.Unlock()
	a.server.Close()
}

// end says goodbye as an agent that exits.
func (a *fakeAgent) end(reason string) {
	a.mu.Lock()
	conns := a.conns
	a.conns = map[string][]*websocket.Conn{}
	a.mu.Unlock()
	for _, c := range slices.Concat(slices.Collect(maps.Values(conns))...) {
		_ = c.Close(protocol.CloseEnded, reason)
	}
	a.server.Close()
}

// cutOff breaks the connections without a word.
func (a *fakeAgent) cutOff() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range slices.Concat(slices.Collect(maps.Values(a.conns))...) {
		_ = c.CloseNow()
	}
}

func (a *fakeAgent) channels(rw http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(rw, r, &websocket.AcceptOptions{Subprotocols: []string{protocol.Subprotocol}})
	if err != nil {
		return
	}
	conn.SetReadLimit(-1)
	session := r.URL.Query().Get("session")
	a.mu.Lock()
	a.conns[session] = append(a.conns[session], conn)
	after := a.acked[session]
	if r.URL.Query().Get("epoch") == "e1" {
		_, _ = fmt.Sscan(r.URL.Query().Get("resume"), &after)
	}
	kept := a.kept[session]
	state := wire.StateIdle
	if a.starting.Load() {
		state = wire.StateStarting
	}
	_ = conn.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, `{"hello":{"epoch":"e1","first":1,"next":%d,"executionState":%q,"dropped":0,"keeps":%t}}`, a.next+1, state, a.keeps.Load()))
	for _, f := range kept {
		if f.seq > after {
			_ = conn.Write(context.Background(), websocket.MessageBinary, f.data)
		}
	}
	a.mu.Unlock()
	a.connected <- r.URL.RawQuery
	for {
		kind, data, err := conn.Read(context.Background())
		if err != nil {
			return
		}
		if kind == websocket.MessageText {
			var ack struct{ Ack uint64 }
			if json.Unmarshal(data, &ack) == nil {
				a.mu.Lock()
				a.acked[session] = max(a.acked[session], ack.Ack)
				a.mu.Unlock()
			}
			continue
		}
		m, err := wire.ParseV1(data)
		if err == nil {
			a.got <- m
		}
	}
}

// sessions that have connected.
func (a *fakeAgent) sessions() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.conns))
}

func (a *fakeAgent) ackedBy(session string) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.acked[session]
}

// publish sends a message to a session, and keeps it.
func (a *fakeAgent) publish(session string, m wire.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	data := m.AppendV1(binary.LittleEndian.AppendUint64(nil, a.next))
	a.kept[session] = append(a.kept[session], keptFrame{a.next, data})
	for _, c := range a.conns[session] {
		_ = c.Write(context.Background(), websocket.MessageBinary, data)
	}
}

// receive waits for a request of a type.
func (a *fakeAgent) receive(msgType string) *wire.Message {
	a.t.Helper()
	for {
		select {
		case m := <-a.got:
			if m.Type() == msgType {
				return &m
			}
		case <-time.After(patience):
			require.FailNow(a.t, "the kernel got no "+msgType)
		}
	}
}

// run plays a kernel that executes a request and prints text.
func (a *fakeAgent) run(session string, request *wire.Message, text string) {
	b := wire.Builder{Session: "kernel-session", Username: "kernel", Now: time.Now}
	a.publish(session, b.Status(request.Header, wire.StateBusy))
	a.publish(session, b.Stream(request.Header, "stdout", text))
	a.publish(session, b.New(wire.Shell, wire.TypeExecuteReply, request.Header, map[string]any{"status": "ok", "execution_count": 1}))
	a.publish(session, b.Status(request.Header, wire.StateIdle))
}
