package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// board is a server as people start one in a cell: pages, an upload, lines that come one
// by one, a WebSocket. It notes what it was asked.
type board struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
	next chan string // lines of /lines
}

func newBoard(t *testing.T) *board {
	b := &board{next: make(chan string)}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.seen = append(b.seen, r.Clone(context.Background()))
		b.mu.Unlock()
		switch r.URL.Path {
		case "/moved":
			w.Header().Set("Location", "http://169.254.169.254/latest/meta-data/")
			w.WriteHeader(http.StatusFound)
		case "/upload":
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprintln(w, n, err)
		case "/lines":
			w.(http.Flusher).Flush()
			for {
				select {
				case line, more := <-b.next:
					if !more {
						return
					}
					_, _ = fmt.Fprintln(w, line)
					w.(http.Flusher).Flush()
				case <-r.Context().Done():
					return
				}
			}
		case "/ws":
			conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"board"}})
			if err != nil {
				return
			}
			for {
				kind, data, err := conn.Read(r.Context())
				if err != nil {
					return
				}
				_ = conn.Write(r.Context(), kind, append([]byte("echo "), data...))
			}
		default:
			w.Header().Set("Keep-Alive", "timeout=5")
			w.Header().Set("Proxy-Authenticate", "Basic")
			w.Header().Set("Elastichub-From", "somebody")
			w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprint(w, r.Method, " ", r.RequestURI)
		}
	}))
	t.Cleanup(func() {
		b.CloseClientConnections()
		b.Close()
	})
	return b
}

func (b *board) port() int { return b.Listener.Addr().(*net.TCPAddr).Port }

func (b *board) last() *http.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen[len(b.seen)-1]
}

func (b *board) asked() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.seen)
}

func (w *world) toPort(method, who, id string, port any, rest string, body io.Reader, header http.Header) *http.Response {
	w.t.Helper()
	req, err := http.NewRequest(method, fmt.Sprintf("%s/api/kernels/%s/ports/%v%s", w.url, id, port, rest), body)
	require.NoError(w.t, err)
	req.Header.Set("User-Agent", "") // none
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("Authorization", "token "+w.tokens[who])
	res, err := http.DefaultTransport.RoundTrip(req) // which follows nothing
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func read(t *testing.T, res *http.Response) string {
	t.Helper()
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(raw)
}

func sentence(t *testing.T, res *http.Response) string {
	t.Helper()
	var p problem
	require.NoError(t, json.Unmarshal([]byte(read(t, res)), &p))
	return p.Message
}

// TestPortsOfAKernel: a real server, through a real agent beside a real kernel.
func TestPortsOfAKernel(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-gpu")
	ip, _ := realKernel(t, w, id)
	w.phase(id, v1alpha1.KernelReady, 1, ip)
	c := w.resuming(id, "a session")
	require.NoError(t, c.Open(t.Context()))
	cell, err := c.Run("import ipykernel.connect, json\ni = json.loads(ipykernel.connect.get_connection_info())\nprint(*[v for k, v in i.items() if k.endswith('_port')])")
	require.NoError(t, err)
	own := strings.Fields(cell.Stdout)
	require.Len(t, own, 5)
	b := newBoard(t)

	res := w.toPort("PUT", "nb-alice", id, b.port(), "/a%2Fb//c/../d;x?q=%3D&token=x&bad=%zz;", strings.NewReader("x"), http.Header{
		"Cookie": {"s=1"}, "Connection": {"X-Own, close"}, "X-Own": {"1"}, "Proxy-Authorization": {"Basic x"}, "Te": {"trailers"}, "X-Forwarded-For": {"10.0.0.1"},
		"X-Forwarded-Host": {"hub.example.org"}, "Elastichub-From": {"kernel"}, "User-Agent": {"me"}, "Accept-Encoding": {"br"},
	})
	assert.Equal(t, http.StatusTeapot, res.StatusCode)
	assert.Equal(t, "kernel", res.Header.Get("Elastichub-From"))
	assert.Empty(t, res.Header.Get("Keep-Alive"))
	assert.Empty(t, res.Header.Get("Proxy-Authenticate"))
	assert.Equal(t, []string{"a=1", "b=2"}, res.Header.Values("Set-Cookie"))
	asked := read(t, res)
	assert.True(t, strings.HasPrefix(asked, "PUT /a%2Fb//c/../d;x?"), asked)
	assert.NotContains(t, asked, "token", "which opens the gateway")
	got := b.last()
	assert.Equal(t, "hub.example.org", got.Host)
	for _, name := range []string{"Authorization", "Proxy-Authorization", "X-Own", "X-Forwarded-For", "Elastichub-From"} {
		assert.Empty(t, got.Header.Values(name), name)
	}
	assert.Equal(t, "me", got.UserAgent())
	assert.Equal(t, "br", got.Header.Get("Accept-Encoding"))

	res = w.toPort("GET", "nb-alice", id, b.port(), "", nil, nil)
	assert.Equal(t, "GET /", read(t, res))
	assert.Equal(t, "localhost:"+strconv.Itoa(b.port()), b.last().Host)
	assert.Empty(t, b.last().UserAgent())

	res = w.toPort("GET", "nb-alice", id, b.port(), "/moved", nil, nil)
	assert.Equal(t, http.StatusFound, res.StatusCode, "it is the browser's to follow")
	assert.Equal(t, "http://169.254.169.254/latest/meta-data/", res.Header.Get("Location"))

	res = w.toPort("POST", "nb-alice", id, b.port(), "/upload", io.LimitReader(endless{}, 40<<20), nil)
	assert.Equal(t, strconv.Itoa(40<<20)+" <nil>\n", read(t, res), "more than the gateway's memory for bodies")
	assert.Less(t, testutil.ToFloat64(w.server.metrics.memory), float64(1<<20), "and nothing of it stays")

	res = w.toPort("GET", "nb-alice", id, b.port(), "/lines", nil, nil)
	lines := bufio.NewReader(res.Body)
	for _, line := range []string{"one\n", "two\n"} { // each is there before the next
		b.next <- strings.TrimSpace(line)
		text, err := lines.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, line, text)
	}
	close(b.next)

	ws, _, err := websocket.Dial(t.Context(), fmt.Sprintf("%s/api/kernels/%s/ports/%d/ws", strings.Replace(w.url, "http", "ws", 1), id, b.port()), &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"token " + w.tokens["nb-alice"]}, "Origin": {"https://hub.example.org"}, "X-Forwarded-Host": {"hub.example.org"}}, Subprotocols: []string{"board"},
	})
	require.NoError(t, err)
	assert.Equal(t, "board", ws.Subprotocol())
	require.NoError(t, ws.Write(t.Context(), websocket.MessageBinary, []byte("hello")))
	kind, data, err := ws.Read(t.Context())
	require.NoError(t, err)
	assert.Equal(t, websocket.MessageBinary, kind)
	assert.Equal(t, "echo hello", string(data))

	var listed protocol.Ports
	w.call("nb-alice", "GET", "/api/kernels/"+id+"/ports", "").json(t, &listed)
	assert.Contains(t, listed.Ports, b.port())
	before := b.asked()
	for _, port := range own {
		n, err := strconv.Atoi(port)
		require.NoError(t, err)
		assert.NotContains(t, listed.Ports, n)
		res := w.toPort("GET", "nb-alice", id, n, "/", nil, nil)
		assert.Equal(t, http.StatusForbidden, res.StatusCode, "a ZMQ port")
		assert.Contains(t, sentence(t, res), "is not for servers of your own")
	}
	for port, status := range map[any]int{protocol.Port: 403, 22: 403, 80: 403, 0: 404, 65536: 404, "06006": 404, "-1": 404, "6006:1": 404, "6006@10.0.0.1": 404, "127.0.0.1": 404, "%36006": 404} {
		assert.Equal(t, status, w.toPort("GET", "nb-alice", id, port, "/", nil, nil).StatusCode, port)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := free.Addr().(*net.TCPAddr).Port
	require.NoError(t, free.Close())
	res = w.toPort("GET", "nb-alice", id, closed, "/", nil, nil)
	assert.Equal(t, http.StatusBadGateway, res.StatusCode)
	assert.Equal(t, fmt.Sprintf("Nothing listens on port %d of the kernel. Start the server in a cell, or wait until it is up.", closed), sentence(t, res))

	for _, who := range []string{"nb-bob", "ci", "plain"} {
		assert.Equal(t, http.StatusNotFound, w.toPort("GET", who, id, b.port(), "/", nil, nil).StatusCode, who)
		assert.Equal(t, http.StatusNotFound, w.call(who, "GET", "/api/kernels/"+id+"/ports", "").status, who)
	}
	bare, err := http.Get(fmt.Sprintf("%s/api/kernels/%s/ports/%d/", w.url, id, b.port()))
	require.NoError(t, err)
	defer bare.Body.Close()
	assert.Equal(t, http.StatusUnauthorized, bare.StatusCode)

	// A server that is stopped takes its pages with it.
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: w.meta("nb-alice")}
	w.server.timing.verify = 10 * time.Millisecond
	long, _, err := websocket.Dial(t.Context(), fmt.Sprintf("%s/api/kernels/%s/ports/%d/ws", strings.Replace(w.url, "http", "ws", 1), id, b.port()), &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"token " + w.tokens["nb-alice"]}},
	})
	require.NoError(t, err)
	require.NoError(t, w.api.Delete(t.Context(), nb))
	within, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, _, err = long.Read(within)
	require.Error(t, err)
	assert.NoError(t, within.Err(), "it was ended")

	// What the kernel's parking takes with it is said.
	_ = ws.CloseNow()
	assert.Equal(t, before, b.asked()-1, "the server was asked nothing of all that, but for the last socket")
}

// TestPortsOfAKernelThatDoesNotRun say why, and what to do.
func TestPortsOfAKernelThatDoesNotRun(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-gpu")
	for phase, c := range map[v1alpha1.KernelPhase]struct {
		status int
		says   string
	}{
		v1alpha1.KernelParked:   {409, "The kernel is parked, and what ran in it has ended. Run a cell to bring it back, and start the server again."},
		v1alpha1.KernelDead:     {409, "The kernel has ended. Run a cell to start it again, and then the server."},
		v1alpha1.KernelQueued:   {409, "The kernel does not run yet."},
		v1alpha1.KernelStarting: {409, "The kernel does not run yet."},
	} {
		w.phase(id, phase, 1, "")
		res := w.toPort("GET", "nb-alice", id, 6006, "/", nil, nil)
		assert.Equal(t, c.status, res.StatusCode, phase)
		assert.Equal(t, c.says, sentence(t, res), phase)
	}
}

// TestAFormerAgentHasNoPorts, and its answers are not taken for a server's.
func TestAFormerAgentHasNoPorts(t *testing.T) {
	for name, body := range map[string]string{"mux": "404 page not found\n", "json": `{"a":1}`} {
		res := &http.Response{StatusCode: http.StatusNotFound, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
		assert.Equal(t, errFormerAgent, refusedByAgent(res), name)
	}
}

// TestRequestsToPortsAreBounded for each user.
func TestRequestsToPortsAreBounded(t *testing.T) {
	p := &passes{count: map[string]int{}}
	for range passedPerUser {
		require.True(t, p.enter("a"))
	}
	assert.False(t, p.enter("a"))
	assert.True(t, p.enter("b"))
	p.leave("a")
	assert.True(t, p.enter("a"))
	p.leave("b")
	assert.NotContains(t, p.count, "b")
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
