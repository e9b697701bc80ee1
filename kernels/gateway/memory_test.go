package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
)

// attacker is a client that sends without end and throws away what it gets.
type attacker struct {
	conn *websocket.Conn
	end  chan error
}

func (w *world) attack(who, id, session string, subprotocols ...string) *attacker {
	w.t.Helper()
	conn, _, err := websocket.Dial(context.Background(), w.url+"/api/kernels/"+id+"/channels?session_id="+session,
		&websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"token " + w.tokens[who]}}, Subprotocols: subprotocols})
	require.NoError(w.t, err)
	conn.SetReadLimit(-1)
	a := &attacker{conn: conn, end: make(chan error, 1)}
	go func() {
		for {
			if _, _, err := conn.Read(context.Background()); err != nil {
				a.end <- err
				return
			}
		}
	}()
	w.t.Cleanup(func() { _ = conn.CloseNow() })
	return a
}

// send sends frames of a type with a text of a size until the socket ends.
func (a *attacker) send(t *testing.T, n int, msgType string, size int) {
	t.Helper()
	b := wire.NewBuilder("alice")
	code := strings.Repeat("x", size)
	for range n {
		m := b.New(wire.Shell, msgType, nil, map[string]string{"code": code})
		kind, data := websocket.MessageBinary, []byte(nil)
		if a.conn.Subprotocol() == wire.SubprotocolV1 {
			data = m.AppendV1(nil)
		} else {
			var err error
			data, err = m.AppendLegacyText(nil)
			require.NoError(t, err)
			kind = websocket.MessageText
		}
		if a.conn.Write(context.Background(), kind, data) != nil {
			return
		}
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what a pool holds outlives the first
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMessagesStayWithinTheMemory: nine sockets with 32 cells of 900 KB each,
// all for a kernel that is queued, ended a gateway; so did other ways to have
// much in its memory. What is counted stays below the bounds, and the heap
// below what is counted and a little for each socket.
func TestMessagesStayWithinTheMemory(t *testing.T) {
	const (
		limit   = 32 << 20
		sockets = 9
		each    = 512 << 10 // of heap: buffers, goroutines, both ends
	)
	inAll := func(protocol []string, do func(t *testing.T, a *attacker)) func(t *testing.T, w *world, id string) {
		return func(t *testing.T, w *world, id string) {
			for i := range sockets {
				do(t, w.attack("nb-alice", id, fmt.Sprint(i), protocol...))
			}
		}
	}
	v1 := []string{wire.SubprotocolV1}
	for name, attack := range map[string]func(t *testing.T, w *world, id string){
		"cells of 900 KB": inAll(nil, func(t *testing.T, a *attacker) { a.send(t, 32, wire.TypeExecuteRequest, 900_000) }),
		"binary frames":   inAll(v1, func(t *testing.T, a *attacker) { a.send(t, 32, wire.TypeExecuteRequest, 600_000) }),
		"many small ones": inAll(v1, func(t *testing.T, a *attacker) { a.send(t, 10_000, wire.TypeExecuteRequest, 10) }),
		"what has no reply": inAll(v1, func(t *testing.T, a *attacker) {
			a.send(t, 32, wire.TypeCommMsg, 900_000)
			assert.Equal(t, websocket.StatusTryAgainLater, websocket.CloseStatus(<-a.end))
		}),
		"halves of frames": inAll(nil, func(t *testing.T, a *attacker) {
			part, err := a.conn.Writer(context.Background(), websocket.MessageText)
			require.NoError(t, err)
			_, err = part.Write([]byte(strings.Repeat("x", 3_000_000)))
			require.NoError(t, err)
		}),
		"one frame too large": inAll(nil, func(t *testing.T, a *attacker) {
			a.send(t, 1, wire.TypeExecuteRequest, limit/perFrame)
			err := <-a.end
			assert.Equal(t, websocket.StatusMessageTooBig, websocket.CloseStatus(err))
			assert.ErrorContains(t, err, "4194305", "the reason says how much may be sent")
		}),
		"clients that leave": func(t *testing.T, w *world, id string) {
			for i := range sockets {
				a := w.attack("nb-alice", id, fmt.Sprint(i))
				a.send(t, 32, wire.TypeExecuteRequest, 900_000)
				_ = a.conn.CloseNow()
			}
		},
		"headers of what is never answered": func(t *testing.T, w *world, id string) {
			agent := w.agent(id, 1)
			w.phase(id, v1alpha1.KernelReady, 1, agent.ip)
			go func() {
				for range agent.got {
				}
			}()
			t.Cleanup(func() { close(agent.got) })
			for i := range sockets {
				a := w.attack("nb-alice", id, fmt.Sprint(i))
				for n := range 3000 {
					data := fmt.Sprintf(`{"channel":"shell","header":{"msg_id":"m%d","msg_type":"complete_request","pad":%q},"content":{}}`,
						n, strings.Repeat("x", 10<<10))
					_ = a.conn.Write(context.Background(), websocket.MessageText, []byte(data))
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorldWith(t, func(c *Config) { c.MessageBytes = limit })
			id := w.start("nb-alice", "python-gpu")
			room := w.server.memory
			refused := w.server.metrics.dropped.WithLabelValues("held_full")
			began := heap()
			attack(t, w, id)
			var counted int64
			var before float64
			for calm := 0; calm < 10; { // until nothing comes any more
				time.Sleep(30 * time.Millisecond)
				room.mu.Lock()
				taken, held := room.taken, room.held
				room.mu.Unlock()
				require.LessOrEqual(t, taken, int64(limit/perOwner))
				require.LessOrEqual(t, held, int64(limit/heldOfEach))
				now := testutil.ToFloat64(refused)
				if calm++; taken != counted || now != before {
					calm = 0
				}
				counted, before = taken, now
			}
			grown := heap() - began
			t.Logf("counted %d KiB at the end, the heap has grown by %d KiB", counted>>10, grown>>10)
			assert.Less(t, grown, counted+sockets*each)

			// Others are served, and what is left is let go.
			bob := w.start("nb-bob", "python-cpu")
			p := w.open("nb-bob", bob, "s", wire.SubprotocolV1)
			p.send(wire.Shell, wire.TypeExecuteRequest, map[string]string{"code": strings.Repeat("y", 3<<20)})
			require.Eventually(t, func() bool {
				room.mu.Lock()
				defer room.mu.Unlock()
				return room.heldBy["user/bob"] > 3<<20
			}, patience, 5*time.Millisecond)
			w.server.Close()
			later := time.Now().Add(leftFor + time.Second)
			w.server.left.now = func() time.Time { return later }
			w.server.left.sweep()
			assert.Zero(t, room.taken)
			assert.Zero(t, testutil.ToFloat64(w.server.metrics.held))
			assert.Zero(t, testutil.ToFloat64(w.server.metrics.memory))
		})
	}
}

// TestManyOwnersShareTheMemory: what waits takes half of it at most, so that
// messages on their way always pass.
func TestManyOwnersShareTheMemory(t *testing.T) {
	const limit = 16 << 20
	room := roomFor(limit)
	b := wire.NewBuilder("a")
	for i := range 40 {
		l := newPendingRequests(32<<20, room, fmt.Sprint(i))
		for range 20 {
			m := b.New(wire.Shell, wire.TypeExecuteRequest, nil, map[string]string{"code": strings.Repeat("x", 300_000)})
			_, _ = l.add(&m, m.AppendV1(nil), time.Now())
		}
	}
	assert.LessOrEqual(t, room.held, int64(limit/heldOfAll))
	for owner, n := range room.heldBy {
		assert.LessOrEqual(t, n, int64(limit/heldOfEach), owner)
	}
	s := &share{budget: room, owner: "another"}
	_, err := s.read(nil, strings.NewReader(strings.Repeat("x", limit/perFrame)))
	assert.NoError(t, err)
}

// TestTooLargeAMessageOfTheKernel is replaced, and the socket goes on: the agent
// would send it again and again.
func TestTooLargeAMessageOfTheKernel(t *testing.T) {
	for _, protocol := range [][]string{nil, {wire.SubprotocolV1}} {
		w := newWorldWith(t, func(c *Config) { c.MessageBytes = 32 << 20 })
		_, agent, p := ready(t, w, "s", protocol...)
		p.execute("large")
		request := agent.receive(wire.TypeExecuteRequest)
		b := wire.Builder{Session: "kernel-session", Now: time.Now}
		agent.publish("s", b.Stream(request.Header, "stdout", strings.Repeat("x", 20<<20)))
		agent.publish("s", b.New(wire.Shell, wire.TypeExecuteReply, request.Header, map[string]any{"status": "ok", "payload": strings.Repeat("x", 5<<20)}))
		agent.publish("s", b.Stream(nil, "stdout", "next"))
		line := p.next(wire.TypeStream)
		assert.Equal(t, "stderr", wire.Member(line.Content, "name"))
		assert.Contains(t, wire.Member(line.Content, "text"), "A message of 20.0 MiB was not delivered: the kernel gateway takes no more than 4.0 MiB at once.")
		assert.Equal(t, request.ID(), parentOf(line))
		reply := p.next(wire.TypeExecuteReply)
		assert.Equal(t, "error", wire.Member(reply.Content, "status"))
		assert.Equal(t, request.ID(), parentOf(reply))
		assert.Equal(t, "next", wire.Member(p.next(wire.TypeStream).Content, "text"))
	}
}

// TestBodiesStayWithinTheMemory: half-sent bodies count, tenfold, in their owner's
// part; one too many is refused, others' are not, and all end with their requests.
func TestBodiesStayWithinTheMemory(t *testing.T) {
	const half = 512 << 10
	w := newWorldWith(t, func(c *Config) { c.MessageBytes = 32 << 20 }) // 1.6 MiB of bodies for each owner
	taken := func() int64 {
		w.server.memory.mu.Lock()
		defer w.server.memory.mu.Unlock()
		return w.server.memory.taken
	}
	send := func(who, path string) net.Conn {
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		_, err = io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: gateway\r\nAuthorization: token "+w.tokens[who]+
			"\r\nContent-Type: application/json\r\nContent-Length: "+strconv.Itoa(2*half)+"\r\n\r\n"+strings.Repeat(" ", half))
		require.NoError(t, err)
		return conn
	}
	var conns []net.Conn
	for i, attempt := range []struct{ who, path string }{
		{"nb-alice", "/api/kernels"}, {"nb-alice", "/api/sessions"}, {"nb-alice", "/api/kernels"}, {"nb-bob", "/api/kernels"},
	} {
		conns = append(conns, send(attempt.who, attempt.path))
		require.Eventually(t, func() bool { return taken() == int64(i+1)*bodyTakes*half }, 10*time.Second, time.Millisecond)
	}
	for _, path := range []string{"/api/kernels", "/api/sessions"} {
		response, err := http.ReadResponse(bufio.NewReader(send("nb-alice", path)), nil)
		require.NoError(t, err)
		var p problem
		require.NoError(t, json.NewDecoder(response.Body).Decode(&p))
		assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
		assert.Equal(t, problem{Reason: "Unavailable", Message: "The gateway has no memory for this request at the moment. Please try again."}, p)
		assert.Equal(t, "1", response.Header.Get("Retry-After"))
	}
	assert.Equal(t, http.StatusCreated, w.call("nb-bob", "POST", "/api/kernels", `{"name":"python-cpu"}`).status)
	for _, conn := range conns {
		require.NoError(t, conn.Close())
	}
	require.Eventually(t, func() bool { return taken() == 0 }, 10*time.Second, time.Millisecond)
}
