//go:build e2e

package docs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/client"
)

// patience bounds one step.
const patience = 3 * time.Minute

// walk is a new user's way, told step by step.
type walk struct {
	*Site
	t     *testing.T
	began time.Time
}

func (w *walk) step(what string, do func(context.Context) error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	began := time.Now()
	err := do(ctx)
	w.t.Logf("%6.1f s  (%5.1f s)  %s", time.Since(w.began).Seconds(), time.Since(began).Seconds(), what)
	require.NoError(w.t, err, what)
}

func (w *walk) kubectl(ctx context.Context, args string) (string, error) {
	out, err := w.Type(ctx, "kubectl -n "+w.Namespace+" "+args)
	return strings.TrimSpace(out), err
}

// until asks again and again.
func (w *walk) until(ctx context.Context, args, want string) error {
	var last string
	for ctx.Err() == nil {
		var err error
		if last, err = w.kubectl(ctx, args); err == nil && last == want {
			return nil
		}
		time.Sleep(500 * time.Millisecond)
	}
	return fmt.Errorf("kubectl %s says %q, not %q", args, last, want)
}

func newWalk(t *testing.T) *walk {
	t.Helper()
	if os.Getenv("KUBECONFIG") == "" || os.Getenv("ELASTICHUB_CACHE") == "" {
		t.Fatal("KUBECONFIG or ELASTICHUB_CACHE is not set: run make docs-test")
	}
	id := make([]byte, 3)
	_, _ = rand.Read(id)
	s := &Site{
		Namespace: "docs-" + hex.EncodeToString(id), Dir: t.TempDir(), tools: t.TempDir(),
		cache: os.Getenv("ELASTICHUB_CACHE"), address: ownAddress(t), hubPort: freePort(t),
	}
	// A context of its own: the pages' commands name their namespace, but nothing
	// may depend on that.
	raw, err := os.ReadFile(os.Getenv("KUBECONFIG"))
	require.NoError(t, err)
	kubeconfig := filepath.Join(s.tools, "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, raw, 0o600))
	t.Setenv("KUBECONFIG", kubeconfig)
	w := &walk{Site: s, t: t, began: time.Now()}
	t.Cleanup(w.remove)
	return w
}

func (w *walk) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if w.t.Failed() {
		out, _ := w.Type(ctx, "kubectl -n "+w.Namespace+" get all,jn,jg,jks,jupyterkernels,pvc -o wide; kubectl -n "+w.Namespace+" logs deploy/elastichub --tail=30")
		w.t.Log(out)
	}
	// What has a namespace goes with it.
	_, _ = w.Type(ctx, "helm uninstall elastichub -n "+w.Namespace+"; kubectl delete namespace "+w.Namespace+" --wait=false")
}

// ownAddress is one at which Pods reach this machine.
func ownAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range addresses {
		if ip, is := a.(*net.IPNet); is && !ip.IP.IsLoopback() && ip.IP.To4() != nil {
			return ip.IP.String()
		}
	}
	t.Fatal("this machine has no address but loopback")
	return ""
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", ":0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func blockOf(t *testing.T, u use) Block {
	t.Helper()
	blocks, _, err := ReadPage(u.page)
	require.NoError(t, err)
	for _, b := range blocks {
		if b.First() == u.first {
			return b
		}
	}
	t.Fatalf("%s has no block that begins with %q", u.page, u.first)
	return Block{}
}

// prepared is what the test puts before a block is typed: what the page says is
// the reader's.
func (w *walk) prepared(ctx context.Context, b Block) error {
	switch {
	case strings.Contains(b.Text, "adopt=alice"):
		_, err := w.Type(ctx, "kubectl -n "+w.Namespace+` apply -f - <<<'{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "claim-researcher"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}'`)
		return err
	case strings.Contains(b.Text, "z2jh-values.yaml"):
		_, err := w.Type(ctx, "cp groups/policyimport/testdata/values.yaml z2jh-values.yaml")
		return err
	case strings.Contains(b.Text, "formConf.yaml"):
		_, err := w.Type(ctx, "cp groups/policyimport/testdata/formConf.yaml .")
		return err
	}
	return nil
}

// write puts a block into the file that its first line names.
func (w *walk) write(b Block) error {
	text := w.Here(b.Text)
	switch b.File() {
	case "":
		return nil
	case "values.yaml": // The demo's directory speaks without TLS, inside the cluster.
		text = strings.Replace(text, "  ldap:\n", "  ldap:\n    allowPlaintext: true\n", 1)
	case "jupyterhub_config.py":
		if b.Page != "README.md" {
			return nil
		}
		text += w.hubExtra()
	}
	return os.WriteFile(filepath.Join(w.Dir, b.File()), []byte(text), 0o600)
}

// hubExtra is what the page leaves to the reader: an authenticator; and ports
// that are free on this machine.
func (w *walk) hubExtra() string {
	proxy, api := freePort(w.t), freePort(w.t)
	w.HubURL = fmt.Sprintf("http://127.0.0.1:%d", proxy)
	return fmt.Sprintf(`
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.bind_url = %q
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:%d"
`, w.HubURL, api)
}

// TestPagesWordForWord types the pages' commands in an empty namespace, with a
// JupyterHub from pip, and goes a new user's way.
func TestPagesWordForWord(t *testing.T) {
	w := newWalk(t)
	w.step("a copy of the checkout, an empty namespace's name, an empty venv", w.Prepare)
	password := demoPassword(t, w)

	for _, u := range uses {
		b := blockOf(t, u)
		switch u.use {
		case ServerConfig, Elsewhere, Shown:
		case Values, Objects, HubConfig:
			if b.Page == "README.md" {
				require.NoError(t, w.write(b))
			}
		case Typed:
			w.step("typed "+b.String()+": "+b.First(), func(ctx context.Context) error {
				if err := w.prepared(ctx, b); err != nil {
					return err
				}
				out, err := w.Type(ctx, w.Here(b.Text), "LDAP_PASSWORD="+password)
				if exit := new(exec.ExitError); strings.Contains(b.Text, "policy import") && errors.As(err, &exit) && exit.ExitCode() == 3 {
					err = nil // the page says: something cannot be carried over
				}
				if err == nil && strings.Contains(b.Text, "docker build") {
					err = w.ReadTags()
				}
				if err == nil && strings.Contains(b.Text, "policy explain alice") && !strings.Contains(out, "ml-research") {
					err = fmt.Errorf("policy explain does not find the policy: %s", out)
				}
				return err
			})
		case Served:
			hub := w.hub("typed "+b.String()+": "+b.First(), w.Here(b.Text), filepath.Join(w.tools, "hub.log"))
			w.user()
			w.withoutGateway()
			hub.Stop()
			w.noStorageClass()
			w.zeroToJupyterHub()
		}
	}
}

func demoPassword(t *testing.T, w *walk) string {
	t.Helper()
	out, err := w.Type(t.Context(), "kubectl -n elastichub get secret directory-bind -o go-template='{{.data.password | base64decode}}'")
	require.NoError(t, err)
	return out
}

// hub starts one and waits until it answers.
func (w *walk) hub(what, command, logFile string, env ...string) *Server {
	w.t.Helper()
	hub, err := w.Serve(command, logFile, env...)
	require.NoError(w.t, err)
	w.t.Cleanup(func() {
		hub.Stop()
		if w.t.Failed() {
			raw, _ := os.ReadFile(logFile)
			w.t.Logf("the Hub's log:\n%s", raw[max(0, len(raw)-6000):])
		}
	})
	w.step(what, func(ctx context.Context) error { return w.hubAnswers(ctx, hub) })
	return hub
}

func (w *walk) hubAnswers(ctx context.Context, hub *Server) error {
	for ctx.Err() == nil {
		select {
		case <-hub.Ended:
			return errors.New("the Hub has ended")
		default:
		}
		resp, err := http.Get(w.HubURL + "/hub/login")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
	return ctx.Err()
}

// chosen is what researcher fills in.
var chosen = url.Values{"cpu": {"1"}, "memory": {"1"}, "image": {"stable"}, "preset": {""}, "lang": {"en"}}

// enter signs in, looks at the form, sends it and waits for the server.
func (w *walk) enter(password string) (*Person, []string) {
	w.t.Helper()
	p, err := NewPerson(w.HubURL, "researcher", password)
	require.NoError(w.t, err)
	w.step("sign in", p.SignIn)
	w.step("the form", func(ctx context.Context) error {
		page, err := p.Form(ctx)
		if err == nil && (!strings.Contains(page, `name="memory"`) || !strings.Contains(page, "Machine learning research")) {
			err = fmt.Errorf("the form is not the policy's: %s", page)
		}
		return err
	})
	return p, w.start(p)
}

func (w *walk) start(p *Person) []string {
	w.t.Helper()
	w.step("the form is sent", func(ctx context.Context) error { return p.Submit(ctx, chosen) })
	var told []string
	w.step("the server is ready", func(ctx context.Context) (err error) {
		told, err = p.Progress(ctx)
		return err
	})
	for _, message := range told {
		w.t.Log("                      | " + message)
	}
	return told
}

func (w *walk) server(p *Person) client.Gateway {
	w.t.Helper()
	token, err := p.Token(w.t.Context())
	require.NoError(w.t, err)
	return client.Gateway{URL: w.HubURL + "/user/" + p.Name, Token: token}
}

// kernel starts one and connects to it.
func (w *walk) kernel(at client.Gateway, name string) *client.Kernel {
	w.t.Helper()
	k := &client.Kernel{Gateway: at, Session: uuid.NewString(), Subprotocol: wire.SubprotocolV1, Patience: patience}
	w.step("a kernel "+name, func(ctx context.Context) error {
		var made struct{ ID string }
		status, err := at.Call(ctx, http.MethodPost, "/api/kernels", map[string]string{"name": name}, &made)
		if err == nil && status != http.StatusCreated {
			err = fmt.Errorf("status %d", status)
		}
		if err != nil {
			return err
		}
		k.ID = made.ID
		return k.Open(ctx)
	})
	w.t.Cleanup(k.Close)
	return k
}

func (w *walk) cell(what string, k *client.Kernel) {
	w.t.Helper()
	w.step(what, func(context.Context) error {
		cell, err := k.Run("print(6*7)")
		if err == nil && (cell.Status != "ok" || !strings.Contains(cell.Stdout, "42")) {
			err = fmt.Errorf("the cell put out %+v", cell)
		}
		return err
	})
}

const kernelPods = "get pods -l app.kubernetes.io/component=kernel -o name"

func (w *walk) user() {
	w.t.Helper()
	p, told := w.enter("any")
	for _, message := range told {
		require.NotContains(w.t, message, "remote kernels", "nothing is missing")
	}
	at := w.server(p)
	k := w.kernel(at, "python-gpu")
	w.cell("a cell on a GPU", k)
	gpus, err := w.kubectl(w.t.Context(), `get pods -l app.kubernetes.io/component=kernel -o 'jsonpath={.items[*].spec.containers[*].resources.limits.nvidia\.com/gpu}'`)
	require.NoError(w.t, err)
	require.Equal(w.t, "1", gpus)
	w.step("idle: after 10 s from now on, and the GPU is free", func(ctx context.Context) error {
		if _, err := w.kubectl(ctx, "patch jupyterkernel "+k.ID+` --type merge -p '{"spec": {"idleTimeoutSeconds": 10}}'`); err != nil {
			return err
		}
		if err := w.until(ctx, "get jupyterkernels -o 'jsonpath={.items[*].status.phase}'", "Parked"); err != nil {
			return err
		}
		return w.until(ctx, kernelPods, "")
	})
	w.cell("the next cell brings it back", k)
	w.step("stop", p.Stop)
	w.step("somebody without a policy is told", func(ctx context.Context) error {
		guest, err := NewPerson(w.HubURL, "guest", "any")
		if err != nil {
			return err
		}
		if err := guest.SignIn(ctx); err != nil {
			return err
		}
		page, err := guest.Form(ctx)
		if err == nil && !strings.Contains(page, "No policy allows your groups a server. Ask an administrator for access.") {
			err = fmt.Errorf("the page does not say so: %s", page)
		}
		return err
	})
}

// withoutGateway is what docs/kernels.md says of a server without remote
// kernels, and of notebooks.gateway.
func (w *walk) withoutGateway() {
	w.t.Helper()
	w.step("the gateway is deleted", func(ctx context.Context) error {
		_, err := w.kubectl(ctx, "delete jupytergateway default --wait")
		return err
	})
	p, told := w.enter("any")
	require.Contains(w.t, told, "This server has no remote kernels until an administrator creates the JupyterGateway default in the namespace "+w.Namespace+".")
	at := w.server(p)
	w.cell("a cell on the server's own kernel", w.kernel(at, "local-python"))
	w.step("the gateway is made again, and the running server has its kernels", func(ctx context.Context) error {
		if _, err := w.kubectl(ctx, "apply -f lending.yaml"); err != nil {
			return err
		}
		for ctx.Err() == nil {
			var specs struct{ Kernelspecs map[string]any }
			if _, err := at.Call(ctx, http.MethodGet, "/api/kernelspecs", nil, &specs); err == nil && specs.Kernelspecs["python-gpu"] != nil {
				return nil
			}
			time.Sleep(500 * time.Millisecond)
		}
		return ctx.Err()
	})
	w.cell("a cell on a remote kernel", w.kernel(at, "python-cpu"))
	w.step("stop", p.Stop)
}

// noStorageClass asks for a home that nobody makes, by kubectl and without a Hub.
func (w *walk) noStorageClass() {
	w.t.Helper()
	w.step("a home without a storage class is told", func(ctx context.Context) error {
		if _, err := w.kubectl(ctx, `apply -f - <<<'{"apiVersion": "kubeflow.tkestack.io/v1alpha1", "kind": "JupyterNotebook", "metadata": {"name": "by-hand"}, "spec": {"gateway": {"name": "default"}, "storage": {"home": {"size": "1Mi", "storageClassName": ""}}}}'`); err != nil {
			return err
		}
		if err := w.until(ctx, "get jupyternotebook by-hand -o 'jsonpath={.status.reason}'", "NoStorageClass"); err != nil {
			return err
		}
		_, err := w.kubectl(ctx, "delete jupyternotebook/by-hand persistentvolumeclaim/home-by-hand --wait=false")
		return err
	})
}

var extraConfig = regexp.MustCompile(`(?s)extraConfig:\n    elastichub: \|\n(.*)`)

// zeroToJupyterHub starts a Hub with what README.md puts into
// zero-to-jupyterhub's values, beside what that chart sets itself.
func (w *walk) zeroToJupyterHub() {
	w.t.Helper()
	b := blockOf(w.t, use{page: "README.md", first: "hub:"})
	match := extraConfig.FindStringSubmatch(b.Text)
	require.NotNil(w.t, match, b)
	text := ""
	for line := range strings.SplitSeq(match[1], "\n") {
		text += strings.TrimPrefix(line, "      ") + "\n"
	}
	text += fmt.Sprintf("c.JupyterHub.hub_bind_url = \"http://:%d\"\nc.JupyterHub.hub_connect_url = \"http://%s:%d\"\n", w.hubPort, w.address, w.hubPort)
	text += w.hubExtra()
	require.NoError(w.t, os.WriteFile(filepath.Join(w.Dir, "z2jh_config.py"), []byte(text), 0o600))
	token, err := w.kubectl(w.t.Context(), "get secret elastichub-hub-token -o go-template='{{.data.token | base64decode}}'")
	require.NoError(w.t, err)
	defer w.hub("a Hub with the values of "+b.String(), "jupyterhub --config z2jh_config.py", filepath.Join(w.tools, "z2jh.log"), "ELASTICHUB_TOKEN="+token).Stop()
	p, _ := w.enter("any")
	w.step("stop", p.Stop)
}
