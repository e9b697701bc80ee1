package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/nbformat"
	"github.com/elastichub/elastichub/test/jupytertest"
	"github.com/elastichub/elastichub/test/pythontest"
)

// buffer is a screen's, which several goroutines write to.
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

// desk is somebody who runs things on a server.
type desk struct {
	t        *testing.T
	server   *Server
	out, err *buffer
	options  Options
}

func deskAt(t *testing.T, address string) *desk {
	t.Helper()
	s, err := Find(t.Context(), address, jupytertest.Token)
	require.NoError(t, err)
	d := &desk{t: t, server: s, out: &buffer{}, err: &buffer{}}
	d.options = Options{Name: "test.ipynb", Screen: &Screen{Out: d.out, Err: d.err}}
	return d
}

func jupyter(t *testing.T, base string) *jupytertest.Server {
	t.Helper()
	return jupytertest.Start(t, jupytertest.Options{Python: pythontest.Interpreter(t), Home: t.TempDir(), Base: base})
}

// kernels is how many the server has.
func (d *desk) kernels() int {
	var all []json.RawMessage
	require.NoError(d.t, d.server.call(context.Background(), http.MethodGet, d.server.base+"api/kernels", nil, &all))
	return len(all)
}

func cells(sources ...string) *nbformat.Notebook {
	return nbformat.FromScript(strings.Join(sources, "\n# %%\n"), "python")
}

// tagged is a notebook of one cell with a tag before others.
func tagged(t *testing.T, tag string, sources ...string) *nbformat.Notebook {
	text := string(cells(sources...).Bytes())
	n, err := nbformat.Read([]byte(strings.Replace(text, `"metadata": {}`, fmt.Sprintf(`"metadata": {"tags": [%q]}`, tag), 1)))
	require.NoError(t, err)
	return n
}

const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

// TestRun: what cells print is shown as a terminal can, and is in the notebook; the
// kernel ends with the run.
func TestRun(t *testing.T) {
	t.Parallel()
	d := deskAt(t, jupyter(t, "/").URL)
	require.NoError(t, d.server.Running(t.Context()))
	n := cells("import sys\nprint('one')\nprint('two', file=sys.stderr)", "6 * 7",
		"from IPython.display import display\nimport base64\ndisplay({'image/png': '"+pixel+"'}, raw=True)\ndisplay({'text/html': '<b>x</b>'}, raw=True)")
	outcome, err := d.server.Run(t.Context(), n, d.options)
	require.NoError(t, err)
	assert.Equal(t, Succeeded, outcome)
	assert.Equal(t, "one\n42\n[image/png 1x1, 70 B]\n[text/html, 8 B]\n", d.out.String())
	assert.Contains(t, d.err.String(), "two\n")
	var counts []int
	for _, c := range n.Cells() {
		counts = append(counts, c.ExecutionCount())
	}
	assert.Equal(t, []int{1, 2, 3}, counts)
	assert.Equal(t, "42", n.Cells()[1].Outputs()[0].Data()["text/plain"])
	assert.Equal(t, pixel, n.Cells()[2].Outputs()[0].Data()["image/png"])
	assert.Zero(t, d.kernels())

	t.Run("a cell that fails", func(t *testing.T) {
		d := &desk{t: t, server: d.server, out: &buffer{}, err: &buffer{}}
		d.options = Options{Name: "a.py", Screen: &Screen{Out: d.out, Err: d.err}}
		n := cells("print('before')", "1 / 0", "print('after')")
		outcome, err := d.server.Run(t.Context(), n, d.options)
		require.NoError(t, err)
		assert.Equal(t, CellFailed, outcome)
		assert.Equal(t, "before\n", d.out.String())
		assert.Contains(t, d.err.String(), "ZeroDivisionError: division by zero\ncell 2 of 3 failed\n")
		assert.NotContains(t, d.err.String(), "\x1b[")
		assert.Equal(t, "ZeroDivisionError: division by zero", n.Cells()[1].Outputs()[0].Failure())
		assert.Zero(t, n.Cells()[2].ExecutionCount())
	})
	t.Run("tags", func(t *testing.T) {
		d := &desk{t: t, server: d.server, out: &buffer{}, err: &buffer{}}
		d.options = Options{Name: "a.py", Screen: &Screen{Out: d.out, Err: d.err}}
		outcome, err := d.server.Run(t.Context(), tagged(t, "raises-exception", "1 / 0", "print('after')"), d.options)
		require.NoError(t, err)
		assert.Equal(t, Succeeded, outcome)
		outcome, err = d.server.Run(t.Context(), tagged(t, "skip-execution", "1 / 0", "print('again')"), d.options)
		require.NoError(t, err)
		assert.Equal(t, Succeeded, outcome)
		assert.Equal(t, "after\nagain\n", d.out.String())
	})
	t.Run("a kernel that dies", func(t *testing.T) {
		n := cells("print('last words', flush=True)\nimport os, time\ntime.sleep(.5)\nos._exit(1)", "print('after')")
		_, err := d.server.Run(t.Context(), n, d.options)
		require.ErrorIs(t, err, ErrKernel)
		assert.Equal(t, "last words\n", n.Cells()[0].Outputs()[0].Text())
		assert.Zero(t, d.kernels())
	})
	t.Run("a kernel that does not exist", func(t *testing.T) {
		o := d.options
		o.Kernel = "no-such-kernel"
		_, err := d.server.Run(t.Context(), cells("1"), o)
		require.ErrorIs(t, err, ErrKernel)
		assert.ErrorContains(t, err, "no-such-kernel")
	})
	t.Run("interrupts", func(t *testing.T) {
		d := &desk{t: t, server: d.server, out: &buffer{}, err: &buffer{}}
		interrupts := make(chan struct{}, 1)
		d.options = Options{Name: "a.py", Screen: &Screen{Out: d.out, Err: d.err}, Interrupts: interrupts}
		n := cells("print('up', flush=True)\nimport time\ntime.sleep(99)", "print('after')")
		ended := make(chan Outcome)
		go func() {
			outcome, err := d.server.Run(t.Context(), n, d.options)
			assert.NoError(t, err)
			ended <- outcome
		}()
		require.Eventually(t, func() bool { return d.out.String() == "up\n" }, time.Minute, 10*time.Millisecond)
		interrupts <- struct{}{}
		assert.Equal(t, Interrupted, <-ended)
		assert.Equal(t, "KeyboardInterrupt: ", n.Cells()[0].Outputs()[1].Failure())
		assert.Zero(t, n.Cells()[1].ExecutionCount())
		assert.Zero(t, d.kernels())
	})
	t.Run("an end", func(t *testing.T) {
		d := &desk{t: t, server: d.server, out: &buffer{}, err: &buffer{}}
		d.options = Options{Name: "a.py", Screen: &Screen{Out: d.out, Err: d.err}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := cells("print('up', flush=True)\nimport time\nwhile True:\n    try: time.sleep(99)\n    except KeyboardInterrupt: pass")
		ended := make(chan Outcome)
		go func() {
			outcome, err := d.server.Run(ctx, n, d.options)
			assert.NoError(t, err)
			ended <- outcome
		}()
		require.Eventually(t, func() bool { return d.out.String() == "up\n" }, time.Minute, 10*time.Millisecond)
		cancel()
		assert.Equal(t, Interrupted, <-ended)
		assert.Equal(t, "up\n", n.Cells()[0].Outputs()[0].Text())
		assert.Zero(t, d.kernels())
	})
	t.Run("alone", func(t *testing.T) { // a plain server keeps nothing
		_, err := d.server.Detach(t.Context(), cells("1"), d.options)
		require.ErrorIs(t, err, ErrServer)
		assert.ErrorContains(t, err, "cannot be left alone")
		assert.Zero(t, d.kernels())
		_, err = d.server.Logs(t.Context(), "nothing", false, d.options.Screen)
		require.ErrorIs(t, err, ErrNoRun)
		_, err = d.server.Logs(t.Context(), "../a", false, d.options.Screen)
		require.ErrorIs(t, err, ErrNoRun)
	})
}

// TestNotices of the gateway are of the run, and no output, in messages and in documents.
func TestNotices(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	screen := &Screen{Out: &out, Err: &errs}
	content, err := json.Marshal(map[string]any{"data": wire.Notice("Place 2 in the queue"), "metadata": struct{}{}})
	require.NoError(t, err)
	screen.message(nbformat.DisplayData, content)
	n := cells("1")
	r := nbformat.NewRecorder()
	r.Begin(n.Cells()[0])
	r.Add(n.Cells()[0], nbformat.DisplayData, content)
	r.End(n.Cells()[0], 0)
	l := &log{screen: screen, shown: map[string][]string{}}
	assert.True(t, l.show(n))
	assert.False(t, l.show(n))
	assert.Empty(t, out.String())
	assert.Equal(t, "Place 2 in the queue\nPlace 2 in the queue\n", errs.String())
	r.Add(n.Cells()[0], "clear_output", []byte(`{"wait": false}`))
	r.Add(n.Cells()[0], nbformat.Stream, []byte(`{"name": "stdout", "text": "a\nb"}`))
	r.End(n.Cells()[0], 1)
	assert.True(t, l.show(n))
	r.Add(n.Cells()[0], nbformat.Stream, []byte(`{"name": "stdout", "text": "c\n"}`))
	r.End(n.Cells()[0], 1)
	assert.True(t, l.show(n))
	assert.Equal(t, "a\nbc\n", out.String())
}

// TestANetworkThatBreaks: every line arrives, once.
func TestANetworkThatBreaks(t *testing.T) {
	t.Parallel()
	j := jupyter(t, "/")
	network := newNetwork(t, strings.TrimPrefix(j.URL, "http://"))
	d := deskAt(t, "http://"+network.address)
	n := cells("import time\nfor i in range(40): print(i, flush=True); time.sleep(.1)", "print('after')")
	ended := make(chan Outcome)
	go func() {
		outcome, err := d.server.Run(t.Context(), n, d.options)
		assert.NoError(t, err)
		ended <- outcome
	}()
	require.Eventually(t, func() bool { return strings.Contains(d.out.String(), "9\n") }, time.Minute, 10*time.Millisecond)
	network.cut()
	require.Eventually(t, func() bool { return strings.Contains(d.out.String(), "25\n") }, time.Minute, 10*time.Millisecond)
	network.cut()
	assert.Equal(t, Succeeded, <-ended)
	var want strings.Builder
	for i := range 40 {
		fmt.Fprintln(&want, i)
	}
	assert.Equal(t, want.String()+"after\n", d.out.String())
	assert.Equal(t, want.String(), n.Cells()[0].Outputs()[0].Text())
}

// network passes connections on, until it cuts them.
type network struct {
	address string
	mu      sync.Mutex
	open    []net.Conn
}

func newNetwork(t *testing.T, to string) *network {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n := &network{address: listener.Addr().String()}
	t.Cleanup(func() { listener.Close(); n.cut() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", to)
			if err != nil {
				from.Close()
				continue
			}
			n.mu.Lock()
			n.open = append(n.open, from, there)
			n.mu.Unlock()
			go func() { _, _ = io.Copy(there, from); there.Close() }()
			go func() { _, _ = io.Copy(from, there); from.Close() }()
		}
	}()
	return n
}

func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, conn := range n.open {
		conn.Close()
	}
	n.open = nil
}

// TestBehindAHub: whose server it is, its start with what the Hub tells of it, and a run
// through the proxy. The Hub is a double of what JupyterHub 5 answers; test/faults has a real one.
func TestBehindAHub(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ at, user, server string }{
		{"", "al@ice", "server"}, {"/hub/api", "al@ice", "server"}, {"/user/al@ice/", "al@ice", "server"},
		{"/user/al@ice/gpu/", "al@ice", "servers/gpu"}, {"/user/al@ice/lab/tree/x.ipynb", "al@ice", "server"},
	} {
		t.Run("at "+row.at, func(t *testing.T) {
			t.Parallel()
			h := newHub(t)
			s, err := Find(t.Context(), h.url+"/jhub"+row.at, jupytertest.Token)
			require.NoError(t, err)
			assert.Equal(t, h.url+"/jhub/hub/api/", s.hub)
			assert.Equal(t, "users/"+row.user+"/"+row.server, s.own)
			assert.True(t, strings.HasPrefix(s.base, h.url+"/jhub/user/"+row.user+"/"), s.base)
		})
	}
	h := newHub(t)
	d := deskAt(t, h.url+"/jhub")
	require.ErrorIs(t, d.server.Running(t.Context()), ErrNotRunning)
	var told []string
	require.NoError(t, d.server.Start(t.Context(), func(message string) { told = append(told, message) }))
	assert.Equal(t, []string{"Place 2 in the queue", "Server ready"}, told)
	outcome, err := d.server.Run(t.Context(), cells("print('through')"), d.options)
	require.NoError(t, err)
	assert.Equal(t, Succeeded, outcome)
	assert.Equal(t, "through\n", d.out.String())

	h = newHub(t)
	h.fails.Store(true)
	d = deskAt(t, h.url+"/jhub")
	err = d.server.Start(t.Context(), func(string) {})
	require.ErrorIs(t, err, ErrServer)
	assert.ErrorContains(t, err, "no such image")

	_, err = Find(t.Context(), h.url+"/jhub", "wrong")
	require.ErrorIs(t, err, ErrServer)
	for _, address := range []string{"", "hub.example.org", "ftp://hub", "http://127.0.0.1:1"} {
		_, err = Find(t.Context(), address, "t")
		require.ErrorIs(t, err, ErrServer, address)
	}
}

// hub is a Hub below /jhub, and its proxy.
type hub struct {
	url     string
	running atomic.Bool
	fails   atomic.Bool
}

func newHub(t *testing.T) *hub {
	h := &hub{}
	var proxy *httputil.ReverseProxy
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, code int, text string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text)
	}
	mux.HandleFunc("GET /jhub/hub/api/{$}", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, `{"version": "5.3.0"}`) })
	mux.HandleFunc("GET /jhub/hub/api/user", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "token "+jupytertest.Token {
			answer(w, http.StatusForbidden, `{"status": 403, "message": "Forbidden"}`)
			return
		}
		answer(w, http.StatusOK, `{"kind": "user", "name": "al@ice", "servers": {}}`)
	})
	mux.HandleFunc("POST /jhub/hub/api/users/al@ice/server", func(w http.ResponseWriter, _ *http.Request) {
		proxy = httputil.NewSingleHostReverseProxy(must(url.Parse(strings.TrimSuffix(jupyter(t, "/jhub/user/al@ice/").URL, "/jhub/user/al@ice"))))
		h.running.Store(true)
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("GET /jhub/hub/api/users/al@ice/server/progress", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"progress\": 10, \"message\": \"Place 2 in the queue\"}\n\n:\n\n")
		if h.fails.Load() {
			_, _ = io.WriteString(w, "data: {\"progress\": 100, \"failed\": true, \"message\": \"no such image\"}\n\n")
			return
		}
		_, _ = io.WriteString(w, "data: {\"progress\": 100, \"ready\": true, \"message\": \"Server ready\"}\n\n")
	})
	mux.HandleFunc("/jhub/user/al@ice/", func(w http.ResponseWriter, r *http.Request) {
		if !h.running.Load() {
			answer(w, http.StatusFailedDependency, `{"message": "al@ice is not running"}`)
			return
		}
		proxy.ServeHTTP(w, r)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
