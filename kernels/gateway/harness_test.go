package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/tokens"
)

// patience is how long a test waits for what is to come, on a machine that
// does other things, too.
const patience = time.Minute

const (
	testNS      = "lab"
	testGateway = "gw"
	ciToken     = "ci-token-0123456789abcdef"
)

// world is a gateway with a cluster in memory; the test plays the controllers.
type world struct {
	t       *testing.T
	api     client.WithWatch
	server  *Server
	url     string
	key     []byte
	issuer  *tokens.Issuer
	clients string // directory of client tokens
	synced  atomic.Bool
	failing atomic.Bool // the API server refuses writes
	// idleLeader: nobody ends the kernels whose end is asked for.
	idleLeader atomic.Bool
	writing    func() // called before an object is created
	tokens     map[string]string

	latest   atomic.Pointer[http.Request] // that has come to the server
	hijacked sync.Map                     // net.Conn of WebSockets
}

// cutClients breaks the connections under all WebSockets.
func (w *world) cutClients() {
	w.hijacked.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
}

func testScheme(t testing.TB) *runtime.Scheme {
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	return scheme
}

// objects are two kernelspecs, a policy for each of two groups, three
// notebooks (alice, bob, and one without user) and a client.
func objects() []client.Object {
	gw := &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: testGateway, Namespace: testNS, UID: "gw-uid"}}
	gw.Spec.Kernels = []string{"python-cpu", "python-gpu", "missing"}
	gw.Spec.Auth = &v1alpha1.GatewayAuth{Clients: []v1alpha1.GatewayClient{{Name: "ci", Policies: []string{"all"}}}}
	cpu := &v1alpha1.JupyterKernelSpec{ObjectMeta: metav1.ObjectMeta{Name: "python-cpu", Namespace: testNS}}
	cpu.Spec = v1alpha1.JupyterKernelSpecSpec{Language: "python", DisplayName: "Python (CPU)", Image: "img:1",
		Env: []corev1.EnvVar{{Name: "SECRET", Value: "hidden"}}}
	gpu := &v1alpha1.JupyterKernelSpec{ObjectMeta: metav1.ObjectMeta{Name: "python-gpu", Namespace: testNS}}
	gpu.Spec = v1alpha1.JupyterKernelSpecSpec{Language: "python", DisplayName: "Python (GPU)", Image: "img:1",
		Resources: &corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": resourceOne}}}
	all := &v1alpha1.GroupPolicy{ObjectMeta: metav1.ObjectMeta{Name: "all", Namespace: testNS}}
	all.Spec.Kernels.Allowed = []string{"python-cpu", "python-gpu"}
	few := &v1alpha1.GroupPolicy{ObjectMeta: metav1.ObjectMeta{Name: "few", Namespace: testNS}}
	few.Spec.Kernels.Allowed = []string{"python-cpu"}
	notebook := func(name, user, policy string) *v1alpha1.JupyterNotebook {
		nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: testNS, UID: types.UID(name + "-uid")}}
		nb.Spec = v1alpha1.JupyterNotebookSpec{Gateway: &corev1.ObjectReference{Name: testGateway}, User: user, Start: "s1"}
		if policy != "" {
			nb.Spec.KernelOptions = &v1alpha1.KernelOptions{Policies: []string{policy}, IdleTimeoutSeconds: new(int64(60))}
		}
		return nb
	}
	return []client.Object{gw, cpu, gpu, all, few,
		notebook("nb-alice", "alice", "all"), notebook("nb-bob", "bob", "few"), notebook("plain", "", "")}
}

func newWorld(t *testing.T) *world { return newWorldWith(t, func(*Config) {}) }

func newWorldWith(t *testing.T, adjust func(*Config)) *world {
	t.Helper()
	w := &world{t: t, key: bytes.Repeat([]byte{7}, keys.Size), clients: t.TempDir(), tokens: map[string]string{"ci": ciToken}}
	var err error
	w.issuer, err = tokens.NewIssuer(bytes.Repeat([]byte{3}, 32))
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "key"), w.key, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pub"), []byte(w.issuer.PublicKey()+"\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(w.clients, "ci"), []byte(ciToken+"\n"), 0o600))
	for name, user := range map[string]string{"nb-alice": "alice", "nb-bob": "bob", "plain": ""} {
		w.tokens[name] = w.issue(tokens.Notebook{Namespace: testNS, Name: name, UID: name + "-uid", Start: "s1", User: user})
	}
	w.api = fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(objects()...).
		WithStatusSubresource(&v1alpha1.JupyterKernel{}).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			if w.failing.Load() {
				return fmt.Errorf("dial tcp 10.0.0.1:443: connection refused")
			}
			if w.writing != nil {
				w.writing()
			}
			if obj.GetUID() == "" {
				obj.SetUID(types.UID(uuid.NewString()))
			}
			err := c.Create(ctx, obj, opts...)
			if ctx.Err() != nil { // the answer is lost, what was written is not
				return ctx.Err()
			}
			return err
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			if w.failing.Load() {
				return fmt.Errorf("dial tcp 10.0.0.1:443: connection refused")
			}
			return c.Patch(ctx, obj, patch, opts...)
		},
	}).Build()
	w.synced.Store(true)
	cfg := Default()
	cfg.Namespace, cfg.Name = testNS, testGateway
	cfg.KeyFile, cfg.TokenKeyFile, cfg.ClientsDir = filepath.Join(dir, "key"), filepath.Join(dir, "pub"), w.clients
	adjust(&cfg)
	w.server, err = New(cfg, Deps{Cache: w.api, API: w.api, Synced: w.synced.Load, Registry: prometheus.NewRegistry(), Log: testLog()})
	require.NoError(t, err)
	w.server.timing = timing{verify: 50 * time.Millisecond, infoPatience: 100 * time.Millisecond, quickInfo: 50 * time.Millisecond, grace: 100 * time.Millisecond, launch: 20 * time.Millisecond, drain: time.Second, ack: ackAfter}

	ctx, cancel := context.WithCancel(context.Background())
	events, err := w.api.Watch(ctx, &v1alpha1.JupyterKernelList{}, client.InNamespace(testNS))
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-events.ResultChan():
				if e.Type == "DELETED" {
					w.server.watch.OnDelete(e.Object)
				} else if e.Object != nil {
					w.server.watch.OnUpdate(nil, e.Object)
					if k, ok := e.Object.(*v1alpha1.JupyterKernel); ok && k.Spec.Shutdown != nil && !w.idleLeader.Load() {
						_ = w.api.Delete(ctx, k)
					}
				}
			}
		}
	}()
	handler := w.server.Handler()
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.latest.Store(r)
		handler.ServeHTTP(rw, r)
	}))
	web.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateHijacked {
			w.hijacked.Store(c, true)
		}
	}
	web.Start()
	w.url = web.URL
	t.Cleanup(func() {
		w.server.Close()
		web.Close()
		http.DefaultClient.CloseIdleConnections()
		cancel()
		events.Stop()
		<-done
	})
	return w
}

func testLog() *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

func (w *world) issue(n tokens.Notebook) string {
	token, err := w.issuer.Issue(n)
	require.NoError(w.t, err)
	return token
}

// answer is an HTTP answer, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) json(t *testing.T, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(a.body, into), string(a.body))
}

func (a answer) problem(t *testing.T) problem {
	var p problem
	a.json(t, &p)
	return p
}

// call makes a request as one of w.tokens, or with a literal Authorization
// header if who contains a space.
func (w *world) call(who, method, path, body string) answer {
	w.t.Helper()
	req, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	require.NoError(w.t, err)
	switch {
	case strings.Contains(who, " "):
		req.Header.Set("Authorization", who)
	case who != "":
		req.Header.Set("Authorization", "token "+w.tokens[who])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(w.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	return answer{resp.StatusCode, resp.Header, raw}
}

// start starts a kernel and returns its id.
func (w *world) start(who, name string) string {
	w.t.Helper()
	a := w.call(who, "POST", "/api/kernels", fmt.Sprintf(`{"name":%q,"env":{}}`, name))
	require.Equal(w.t, http.StatusCreated, a.status, string(a.body))
	var m kernelModel
	a.json(w.t, &m)
	return m.ID
}

func (w *world) kernel(id string) *v1alpha1.JupyterKernel {
	w.t.Helper()
	k := &v1alpha1.JupyterKernel{}
	require.NoError(w.t, w.api.Get(context.Background(), types.NamespacedName{Namespace: testNS, Name: id}, k))
	return k
}

// status plays the controllers, which try again where a gateway was faster.
func (w *world) status(id string, change func(*v1alpha1.JupyterKernelStatus)) {
	w.t.Helper()
	require.NoError(w.t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		k := w.kernel(id)
		change(&k.Status)
		return w.api.Status().Update(context.Background(), k)
	}))
}

func (w *world) phase(id string, phase v1alpha1.KernelPhase, run int64, ip string) {
	w.t.Helper()
	w.status(id, func(s *v1alpha1.JupyterKernelStatus) {
		*s = v1alpha1.JupyterKernelStatus{Phase: phase, Run: run, PodIP: ip}
		if phase == v1alpha1.KernelReady || phase == v1alpha1.KernelParked {
			s.ReadyTime = new(metav1.Now())
		}
	})
}

// peer is a client's end of a channels WebSocket.
type peer struct {
	t        *testing.T
	conn     *websocket.Conn
	msgs     chan peerMessage
	err      chan error
	patience time.Duration
}

type peerMessage struct {
	wire.Message
	kind websocket.MessageType
	size int
}

func (w *world) dial(who, id, session string, subprotocols ...string) (*peer, *http.Response, error) {
	return dialPeer(w.t, w.url+"/api/kernels/"+id+"/channels?session_id="+session, w.tokens[who], subprotocols...)
}

func dialPeer(t *testing.T, url, token string, subprotocols ...string) (*peer, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	header := http.Header{"Authorization": {"token " + token}}
	conn, resp, err := websocket.Dial(ctx, url,
		&websocket.DialOptions{HTTPHeader: header, Subprotocols: subprotocols})
	if err != nil {
		return nil, resp, err
	}
	conn.SetReadLimit(-1)
	p := &peer{t: t, patience: patience, conn: conn, msgs: make(chan peerMessage, 1000), err: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			kind, data, err := conn.Read(context.Background())
			if err != nil {
				p.err <- err
				close(p.msgs)
				return
			}
			var m wire.Message
			if conn.Subprotocol() == wire.SubprotocolV1 {
				m, err = wire.ParseV1(data)
			} else {
				m, err = wire.ParseLegacy(data)
			}
			if err != nil {
				p.err <- fmt.Errorf("frame %q: %w", data, err)
				close(p.msgs)
				return
			}
			p.msgs <- peerMessage{m, kind, len(data)}
		}
	}()
	t.Cleanup(func() { _ = conn.CloseNow(); <-done })
	return p, resp, nil
}

func (w *world) open(who, id, session string, subprotocols ...string) *peer {
	w.t.Helper()
	p, _, err := w.dial(who, id, session, subprotocols...)
	require.NoError(w.t, err)
	return p
}

// next returns the next message of the given types, passing over others.
func (p *peer) next(types ...string) *peerMessage {
	p.t.Helper()
	deadline := time.After(p.patience)
	var passed []string
	for {
		select {
		case m, ok := <-p.msgs:
			if !ok {
				require.FailNow(p.t, "socket closed", "waiting for %v: %v; passed %v", types, <-p.err, passed)
			}
			for _, t := range types {
				if m.Type() == t {
					return &m
				}
			}
			passed = append(passed, m.Type()+" "+clip(string(m.Content), 200))
		case <-deadline:
			require.FailNow(p.t, "nothing came", "waiting for %v; passed %v", types, passed)
		}
	}
}

// silent requires that no message of the given types comes for a while.
func (p *peer) silent(d time.Duration, types ...string) {
	p.t.Helper()
	deadline := time.After(d)
	for {
		select {
		case m := <-p.msgs:
			for _, t := range types {
				require.NotEqual(p.t, t, m.Type(), string(m.Content))
			}
		case <-deadline:
			return
		}
	}
}

// send sends a request in the framing of the connection and returns its id.
func (p *peer) send(channel wire.Channel, msgType string, content any) string {
	p.t.Helper()
	b := wire.NewBuilder("alice")
	m := b.New(channel, msgType, nil, content)
	p.write(&m)
	return m.ID()
}

func (p *peer) write(m *wire.Message) {
	p.t.Helper()
	kind, data := websocket.MessageText, []byte(nil)
	var err error
	if p.conn.Subprotocol() == wire.SubprotocolV1 {
		kind, data = websocket.MessageBinary, m.AppendV1(nil)
	} else {
		data, err = m.AppendLegacyText(nil)
	}
	require.NoError(p.t, err)
	require.NoError(p.t, p.conn.Write(context.Background(), kind, data))
}

func (p *peer) execute(code string) string {
	p.t.Helper()
	return p.send(wire.Shell, wire.TypeExecuteRequest, map[string]string{"code": code})
}

// closed waits for the end of the connection and returns its code.
func (p *peer) closed() websocket.StatusCode {
	p.t.Helper()
	select {
	case err := <-p.err:
		return websocket.CloseStatus(err)
	case <-time.After(patience):
		require.FailNow(p.t, "still open")
		return 0
	}
}

func plainText(m *peerMessage) string {
	var c struct {
		Data map[string]string `json:"data"`
	}
	_ = json.Unmarshal(m.Content, &c)
	return c.Data["text/plain"]
}

// told reads on from a notice to the one that says text: what was known before is
// told first, if it was known for long enough.
func (p *peer) told(m *peerMessage, text string) *peerMessage {
	p.t.Helper()
	for plainText(m) != text {
		m = p.next(wire.TypeUpdateDisplayData)
	}
	return m
}

func displayID(m *peerMessage) string {
	var c struct {
		Transient map[string]string `json:"transient"`
	}
	_ = json.Unmarshal(m.Content, &c)
	return c.Transient["display_id"]
}

func (w *world) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: testNS}
}

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }
