package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/agentpod"
	"github.com/elastichub/elastichub/test/jupytertest"
	"github.com/elastichub/elastichub/test/loopback"
	"github.com/elastichub/elastichub/test/pythontest"
)

// controllers play the kernel controllers with real agents and ipykernels in
// place of Pods, until ctx ends.
type controllers struct {
	w      *world
	python string
	change func(*agent.Config)
	ctx    context.Context
	wg     sync.WaitGroup
}

func (w *world) controllers(python string, change func(*agent.Config)) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &controllers{w: w, python: python, change: change, ctx: ctx}
	c.wg.Go(c.loop)
	w.t.Cleanup(func() { cancel(); c.wg.Wait() })
}

func (c *controllers) loop() {
	running := map[string]int64{}
	ends := map[string]context.CancelFunc{}
	defer func() {
		for _, end := range ends {
			end()
		}
	}()
	for c.ctx.Err() == nil {
		var list v1alpha1.JupyterKernelList
		_ = c.w.api.List(c.ctx, &list, client.InNamespace(testNS))
		there := map[string]bool{}
		for i := range list.Items {
			k := &list.Items[i]
			there[k.Name] = true
			if running[k.Name] < k.Spec.Run {
				running[k.Name] = k.Spec.Run
				var ctx context.Context
				ctx, ends[k.Name] = context.WithCancel(c.ctx)
				c.wg.Go(func() { c.pod(ctx, k) })
			}
		}
		for id, end := range ends {
			if !there[id] {
				end()
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// pod is one run of a kernel.
func (c *controllers) pod(ctx context.Context, k *v1alpha1.JupyterKernel) {
	run := k.Spec.Run
	update := func(change func(*v1alpha1.JupyterKernelStatus)) {
		_ = retry.RetryOnConflict(retry.DefaultBackoff, func() error { // else it is gone
			now := &v1alpha1.JupyterKernel{}
			if err := c.w.api.Get(ctx, client.ObjectKeyFromObject(k), now); err != nil {
				return err
			}
			now.Status.Run = run
			change(&now.Status)
			return c.w.api.Status().Update(ctx, now)
		})
	}
	ip := loopback.IP()
	secret, err := keys.Derive(c.w.key, string(k.UID), run)
	if err != nil {
		panic(err)
	}
	cfg := agent.DefaultConfig()
	cfg.Secret, cfg.KernelID, cfg.KernelName = secret, k.Name, k.Spec.KernelSpec
	cfg.Listen, cfg.TerminationLog = fmt.Sprintf("%s:%d", ip, protocol.Port), ""
	cfg.Log = slog.New(slog.DiscardHandler)
	if c.change != nil {
		c.change(&cfg)
	}
	update(func(s *v1alpha1.JupyterKernelStatus) {
		*s = v1alpha1.JupyterKernelStatus{Run: run, Phase: v1alpha1.KernelStarting, PodIP: ip}
	})
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		h := &http.Client{Transport: &http.Transport{TLSClientConfig: secret.ClientTLS(), DisableKeepAlives: true}, Timeout: time.Second}
		for ctx.Err() == nil {
			if resp, err := h.Get("https://" + cfg.Listen + "/readyz"); err == nil {
				resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					update(func(s *v1alpha1.JupyterKernelStatus) { s.Phase, s.ReadyTime = v1alpha1.KernelReady, new(metav1.Now()) })
					return
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	result, _ := agentpod.Run(ctx, cfg, []string{c.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"}, io.Discard, os.DevNull)
	<-ready
	update(func(s *v1alpha1.JupyterKernelStatus) {
		s.Phase, s.Cause, s.Message, s.PodIP = v1alpha1.KernelDead, v1alpha1.CauseKernelExited, "", ""
		if result.Reason == protocol.ReasonIdle {
			s.Phase, s.Cause = v1alpha1.KernelParked, v1alpha1.CauseIdle
		}
	})
}

// jupyter is a real jupyter_server in gateway mode.
type jupyter struct {
	t   *testing.T
	url string
	end func() // as a drain ends it
}

const jupyterToken = jupytertest.Token

// jupyter starts one with the lines of configuration, and waits until it answers.
func (w *world) jupyter(python string, config ...string) *jupyter {
	w.t.Helper()
	return w.jupyterAt(w.t.TempDir(), python, config...)
}

// jupyterAt starts one whose home that directory is.
func (w *world) jupyterAt(home, python string, config ...string) *jupyter {
	w.t.Helper()
	server := jupytertest.Start(w.t, jupytertest.Options{Python: python, Home: home, Base: "/", Config: config, Env: []string{
		"JUPYTER_GATEWAY_URL=" + w.url, "JUPYTER_GATEWAY_AUTH_TOKEN=" + w.tokens["nb-alice"], "KERNEL_USERNAME=mallory",
	}})
	return &jupyter{t: w.t, url: server.URL, end: server.End}
}

func (j *jupyter) call(method, path, body string, want int, into any) {
	j.t.Helper()
	req, err := http.NewRequest(method, j.url+path, strings.NewReader(body))
	require.NoError(j.t, err)
	req.Header.Set("Authorization", "token "+jupyterToken)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(j.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(j.t, err)
	require.Equal(j.t, want, resp.StatusCode, "%s %s: %s", method, path, raw)
	if into != nil {
		require.NoError(j.t, json.Unmarshal(raw, into))
	}
}

// run executes a cell and returns its stdout.
func (p *peer) run(code string) string {
	p.t.Helper()
	exec := p.execute(code)
	out := ""
	for {
		m := p.next(wire.TypeStream, wire.TypeError, wire.TypeExecuteReply, wire.TypeStatus)
		if parentOf(m) != exec {
			continue
		}
		switch m.Type() {
		case wire.TypeStream:
			out += wire.Member(m.Content, "text")
		case wire.TypeError:
			name, _ := errorText(m)
			out += name
		case wire.TypeStatus:
			if m.ExecutionState() == "idle" {
				return out
			}
		}
	}
}

// idle waits until a request is done: ipykernel aborts what comes before.
func (p *peer) idle(request string) {
	p.t.Helper()
	for m := p.next(wire.TypeStatus); m.ExecutionState() != "idle" || parentOf(m) != request; m = p.next(wire.TypeStatus) {
	}
}

func TestJupyterServer(t *testing.T) {
	python := pythontest.Interpreter(t)
	w := newWorld(t)
	w.server.timing = defaultTiming
	w.controllers(python, func(c *agent.Config) { c.IdleTimeout = 12 * time.Second })
	j := w.jupyter(python)

	var specs struct {
		Default     string
		Kernelspecs map[string]struct{ Resources map[string]string }
	}
	// jupyter_server learns of the gateway's default while it answers.
	j.call("GET", "/api/kernelspecs", "", http.StatusOK, nil)
	j.call("GET", "/api/kernelspecs", "", http.StatusOK, &specs)
	assert.Equal(t, "python-cpu", specs.Default)
	assert.Len(t, specs.Kernelspecs, 2)
	j.call("GET", specs.Kernelspecs["python-gpu"].Resources["logo-svg"], "", http.StatusOK, nil)
	j.call("GET", "/api/kernelspecs/python-gpu", "", http.StatusOK, nil) // ?user=mallory/python-gpu for the gateway

	// As JupyterLab starts a notebook's kernel.
	var session struct {
		ID     string
		Kernel kernelModel
	}
	j.call("POST", "/api/sessions", `{"path":"a.ipynb","name":"a.ipynb","type":"notebook","kernel":{"name":"python-gpu"}}`, http.StatusCreated, &session)
	id := session.Kernel.ID
	k := w.kernel(id)
	assert.Equal(t, "alice", k.Spec.User, "KERNEL_USERNAME is no identity")
	assert.True(t, filepath.IsAbs(k.Spec.WorkingDir))
	p, _, err := dialPeer(t, j.url+"/api/kernels/"+id+"/channels?session_id=lab", jupyterToken)
	require.NoError(t, err)
	p.patience = time.Minute
	p.send(wire.Shell, wire.TypeKernelInfoRequest, map[string]any{})
	p.next(wire.TypeKernelInfoReply)
	assert.Equal(t, "42\n", p.run("print(6*7)"))
	assert.Equal(t, "b'\\x00\\xff'\n", p.run(`print(bytes([0, 255]))`))

	var list []kernelModel
	j.call("GET", "/api/kernels", "", http.StatusOK, &list)
	require.Len(t, list, 1)
	assert.Equal(t, "idle", list[0].ExecutionState)

	// Interrupt.
	exec := p.execute("import time\nprint('sleeping\\n', end='', flush=True)\ntime.sleep(60)")
	for wire.Member(p.next(wire.TypeStream).Content, "text") != "sleeping\n" {
	}
	j.call("GET", "/api/kernels", "", http.StatusOK, &list)
	assert.Equal(t, "busy", list[0].ExecutionState)
	j.call("POST", "/api/kernels/"+id+"/interrupt", "{}", http.StatusNoContent, nil)
	interrupted := p.next(wire.TypeError)
	assert.Equal(t, exec, parentOf(interrupted))
	name, _ := errorText(interrupted)
	assert.Equal(t, "KeyboardInterrupt", name)
	p.idle(exec)

	// Binary from the kernel: the unpatched server lives on.
	assert.Contains(t, p.run("from ipykernel.comm import Comm\nc = Comm(target_name='t', buffers=[b'\\x00\\xff'])\nprint('sent')"), "sent\n")
	assert.Contains(t, p.run("print('x' * (11 << 20))"), "was not delivered")

	// Restart in place; the browser then opens a new socket.
	assert.Equal(t, "", p.run("x = 1"))
	j.call("POST", "/api/kernels/"+id+"/restart", "{}", http.StatusOK, nil)
	_ = p.conn.CloseNow()
	p, _, err = dialPeer(t, j.url+"/api/kernels/"+id+"/channels?session_id=lab", jupyterToken)
	require.NoError(t, err)
	p.patience = time.Minute
	assert.Equal(t, "NameError", p.run("x"))
	assert.EqualValues(t, 1, w.kernel(id).Spec.Run)
	assert.Equal(t, "", p.run("y = 1"))

	// Idle: parked, said in the last cell; the next cell brings it back.
	parked := p.next(wire.TypeDisplayData)
	assert.Contains(t, plainText(parked), "parked")
	require.Eventually(t, func() bool { return w.kernel(id).Status.Phase == v1alpha1.KernelParked }, patience, 20*time.Millisecond)
	j.call("GET", "/api/kernels/"+id, "", http.StatusOK, nil)
	exec = p.execute("y")
	var last string
	for !strings.HasPrefix(last, "Kernel back after") {
		m := p.next(wire.TypeDisplayData, wire.TypeUpdateDisplayData)
		assert.Equal(t, exec, parentOf(m))
		last = plainText(m)
	}
	gone, _ := errorText(p.next(wire.TypeError))
	assert.Equal(t, "NameError", gone)
	p.idle(exec)
	assert.Equal(t, "back\n", p.run("print('back')"))

	// The socket to the gateway breaks; jupyter_server comes back by itself.
	exec = p.execute("import time\nfor i in range(6):\n    print(f'{i}\\n', end='', flush=True)\n    time.sleep(0.5)")
	for i := range 6 {
		m := p.next(wire.TypeStream)
		assert.Equal(t, fmt.Sprintf("%d\n", i), wire.Member(m.Content, "text"))
		assert.Equal(t, exec, parentOf(m))
		if i == 1 {
			time.Sleep(2 * ackAfter)
			w.cutClients()
		}
	}

	j.call("DELETE", "/api/sessions/"+session.ID, "", http.StatusNoContent, nil)
	require.Eventually(t, func() bool {
		err := w.api.Get(context.Background(), client.ObjectKeyFromObject(k), &v1alpha1.JupyterKernel{})
		return client.IgnoreNotFound(err) == nil && err != nil
	}, patience, 20*time.Millisecond)
	j.call("GET", "/api/kernels", "", http.StatusOK, &list)
	assert.Empty(t, list)
}

// nbclientScript runs a notebook as nbclient does. Its WebSocket sends no
// Authorization of its own.
const nbclientScript = `
import functools, os, sys, websocket, nbformat
from nbclient import NotebookClient
from jupyter_server.gateway.managers import GatewayKernelManager
token = os.environ["JUPYTER_GATEWAY_AUTH_TOKEN"]
websocket.create_connection = functools.partial(websocket.create_connection, header={"Authorization": "token " + token})
nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("a = 6"), nbformat.v4.new_code_cell("print(a * 7)")])
NotebookClient(nb, kernel_manager_class=GatewayKernelManager, timeout=120).execute(kernel_name="python-cpu")
print(nb.cells[0].outputs, nb.cells[1].outputs[0].text.strip())
`

// TestAKernelOutlivesJupyterServer: the next jupyter_server of the same notebook goes on
// with the kernel, its variables and its session.
func TestAKernelOutlivesJupyterServer(t *testing.T) {
	python := pythontest.Interpreter(t)
	w := newWorld(t)
	w.server.timing = defaultTiming
	w.controllers(python, nil)
	extension := []string{"import elastichub.notebook", "elastichub.notebook.configure(c)"}
	j := w.jupyter(python, extension...)
	var made, renamed sessionModel
	j.call("POST", "/api/sessions", `{"path":"a.ipynb","name":"a","type":"notebook","kernel":{"name":"python-cpu"}}`, http.StatusCreated, &made)
	j.call("PATCH", "/api/sessions/"+made.ID, `{"path":"b.ipynb"}`, http.StatusOK, &renamed)
	run := func(code string) string {
		p, _, err := dialPeer(t, j.url+"/api/kernels/"+made.Kernel.ID+"/channels?session_id=page", jupyterToken)
		require.NoError(t, err)
		defer func() { _ = p.conn.Close(websocket.StatusNormalClosure, "") }()
		return p.run(code)
	}
	assert.Empty(t, run("x = 6"))
	want := &v1alpha1.KernelSession{ID: made.ID, Path: "b.ipynb", Name: "a", Type: "notebook"}
	require.Eventually(t, func() bool { return assert.ObjectsAreEqual(want, w.kernel(made.Kernel.ID).Spec.Session) }, patience, 10*time.Millisecond)
	j.end()

	j = w.jupyter(python, extension...)
	var kernels []kernelModel
	var sessions []sessionModel
	j.call("GET", "/api/kernels", "", http.StatusOK, &kernels)
	require.Len(t, kernels, 1)
	assert.Equal(t, made.Kernel.ID, kernels[0].ID)
	j.call("GET", "/api/sessions", "", http.StatusOK, &sessions)
	require.Len(t, sessions, 1)
	assert.Equal(t, []string{made.ID, "b.ipynb", "a", "notebook", made.Kernel.ID},
		[]string{sessions[0].ID, sessions[0].Path, sessions[0].Name, sessions[0].Type, sessions[0].Kernel.ID})
	assert.Equal(t, "42\n", run("print(x * 7)"))
	j.call("DELETE", "/api/sessions/"+made.ID, "", http.StatusNoContent, nil)
	assert.Equal(t, http.StatusNotFound, w.call("nb-alice", "GET", "/api/kernels/"+made.Kernel.ID, "").status)
}

// TestAPlainJupyterServerAsksForItsKernelsEnd when it is drained, as when a user does:
// the leader has to tell.
func TestAPlainJupyterServerAsksForItsKernelsEnd(t *testing.T) {
	w := newWorld(t)
	w.idleLeader.Store(true)
	j := w.jupyter(pythontest.Interpreter(t))
	var made kernelModel
	j.call("POST", "/api/kernels", `{"name":"python-cpu"}`, http.StatusCreated, &made)
	j.end()
	asked := w.kernel(made.ID).Spec.Shutdown
	require.NotNil(t, asked)
	assert.Equal(t, v1alpha1.ShutdownByNotebook, asked.By)
}

func TestNBClient(t *testing.T) {
	python := pythontest.Interpreter(t)
	w := newWorld(t)
	w.server.timing = defaultTiming
	w.controllers(python, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-c", nbclientScript)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+cmd.Dir, "JUPYTER_GATEWAY_URL="+w.url, "JUPYTER_GATEWAY_AUTH_TOKEN="+w.tokens["ci"], "no_proxy=127.0.0.1", "NO_PROXY=127.0.0.1")
	out, err := cmd.Output()
	require.NoError(t, err, "%s", stderrOf(err))
	assert.Equal(t, "[] 42\n", string(out))
	var list v1alpha1.JupyterKernelList
	require.NoError(t, w.api.List(context.Background(), &list))
	assert.Empty(t, list.Items, "nbclient deletes its kernel")
}

func stderrOf(err error) string {
	if e := new(exec.ExitError); errors.As(err, &e) {
		return string(e.Stderr)
	}
	return ""
}
