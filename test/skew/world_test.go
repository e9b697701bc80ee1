package skew

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/skew"
	"github.com/elastichub/elastichub/test/jupytertest"
	"github.com/elastichub/elastichub/test/lockedbuffer"
	"github.com/elastichub/elastichub/test/loopback"
)

const (
	namespace = "lab"
	patience  = 5 * time.Minute
	often     = 50 * time.Millisecond
)

// world is a release in a cluster, whose parts are processes that change to another release one
// by one.
type world struct {
	t          *testing.T
	api        client.Client
	kubeconfig string
	python     string // with ipykernel and jupyter_server
	dir        string

	serviceAt, gatewayAt, gatewayHealth string
	service, gateway                    *process
	server                              *jupytertest.Server
	kubelet                             *kubelet
}

// process is one of elastichub's.
type process struct {
	t       *testing.T
	command *exec.Cmd
	log     *lockedbuffer.Buffer
	ended   chan struct{}
}

func run(t *testing.T, env []string, binary string, arguments ...string) *process {
	t.Helper()
	p := &process{t: t, command: exec.Command(binary, arguments...), log: &lockedbuffer.Buffer{}, ended: make(chan struct{})}
	p.command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	p.command.Stdout, p.command.Stderr = p.log, p.log
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, p.command.Start())
	go func() { _ = p.command.Wait(); close(p.ended) }()
	t.Cleanup(func() {
		p.kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%s %v:\n%s", binary, arguments, p.log)
		}
	})
	return p
}

// end is as a kubelet ends it.
func (p *process) end() {
	p.t.Helper()
	require.NoError(p.t, p.command.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.ended:
	case <-time.After(patience):
		require.FailNow(p.t, "it does not end")
	}
}

func (w *world) write(name, text string) string {
	w.t.Helper()
	file := filepath.Join(w.dir, name)
	require.NoError(w.t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(w.t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// runService has a release's service take the place of the one that runs.
func (w *world) runService(r release) {
	w.t.Helper()
	if w.service != nil {
		w.service.end()
	}
	seed := w.write("seed", base64.StdEncoding.EncodeToString(make([]byte, 32)))
	config := w.write("service.yaml", fmt.Sprintf(`namespace: %s
hubAPI: {listen: "%s", tokenFile: ""}
metrics: {listen: "0"}
signing: {seedFile: %s}
notebooks: {image: "notebook:1"}
kernels: {serviceImage: "elastichub:1", image: "kernel:1", clusterCapacity: false}
`, namespace, w.serviceAt, seed))
	w.service = run(w.t, []string{"KUBECONFIG=" + w.kubeconfig}, r.binary, "serve", "--config", config)
	w.answers("http://" + w.serviceAt + "/readyz")
}

// answers waits until somebody says 200 there.
func (w *world) answers(url string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		resp, err := http.Get(url)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, patience, often, url)
}

// runGateway is what the gateway's Deployment says, as a process at one address.
func (w *world) runGateway(r release) {
	w.t.Helper()
	var d appsv1.Deployment
	require.Eventually(w.t, func() bool {
		return w.api.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: "default"}, &d) == nil
	}, patience, often, "there is no Deployment of the gateway")
	if w.gateway != nil {
		w.gateway.end()
	}
	pod := d.Spec.Template.Spec
	files := w.mount(pod.Volumes, pod.Containers[0].VolumeMounts)
	env := append(w.variables(pod.Containers[0].Env, files), "KUBECONFIG="+w.kubeconfig,
		"ELASTICHUB_GATEWAY_LISTEN="+w.gatewayAt, "ELASTICHUB_GATEWAY_METRICS_LISTEN="+w.gatewayHealth)
	w.gateway = run(w.t, env, r.binary, pod.Containers[0].Args...)
	w.answers("http://" + w.gatewayHealth + "/readyz")
}

// mount writes what Secrets and ConfigMaps hold, and returns the directories by mount path.
func (w *world) mount(volumes []corev1.Volume, mounts []corev1.VolumeMount) map[string]string {
	w.t.Helper()
	files := map[string]string{}
	for _, m := range mounts {
		at := filepath.Join(w.t.TempDir(), "volume")
		require.NoError(w.t, os.MkdirAll(at, 0o755))
		files[m.MountPath] = at
		for _, v := range volumes {
			if v.Name != m.Name {
				continue
			}
			content := map[string][]byte{}
			switch {
			case v.Secret != nil:
				var s corev1.Secret
				require.NoError(w.t, w.api.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: v.Secret.SecretName}, &s))
				content = s.Data
			case v.ConfigMap != nil:
				var c corev1.ConfigMap
				require.NoError(w.t, w.api.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: v.ConfigMap.Name}, &c))
				for name, text := range c.Data {
					content[name] = []byte(text)
				}
			}
			for name, text := range content {
				require.NoError(w.t, os.WriteFile(filepath.Join(at, name), text, 0o600))
			}
		}
	}
	return files
}

// variables are those of a container, with the paths of this machine.
func (w *world) variables(vars []corev1.EnvVar, files map[string]string) (env []string) {
	for _, v := range vars {
		value := v.Value
		for inPod, here := range files {
			if rest, within := strings.CutPrefix(value, inPod+"/"); within || value == inPod {
				value = filepath.Join(here, rest)
			}
		}
		env = append(env, v.Name+"="+value)
	}
	return env
}

// runServer has a jupyter_server with a release's wheel take the place of the one that runs.
func (w *world) runServer(r release) {
	w.t.Helper()
	if w.server != nil {
		w.server.End()
	}
	var token corev1.Secret
	require.Eventually(w.t, func() bool {
		return w.api.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: "nb-gateway"}, &token) == nil
	}, patience, often, "the notebook has no token for its gateway")
	home := filepath.Join(w.dir, "home")
	require.NoError(w.t, os.MkdirAll(home, 0o755))
	w.server = jupytertest.Start(w.t, jupytertest.Options{
		Python: w.python, Home: home, Base: "/", Config: []string{"import elastichub.notebook", "elastichub.notebook.configure(c)"},
		Env: []string{
			"PYTHONPATH=" + r.python, "JUPYTER_GATEWAY_URL=http://" + w.gatewayAt,
			"JUPYTER_GATEWAY_AUTH_TOKEN=" + string(token.Data["token"]), "NO_PROXY=*", "no_proxy=*",
		},
	})
}

// call asks the jupyter_server.
func (w *world) call(method, path, body string, into any) {
	w.t.Helper()
	req, err := http.NewRequest(method, w.server.URL+path, strings.NewReader(body))
	require.NoError(w.t, err)
	req.Header.Set("Authorization", "token "+jupytertest.Token)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(w.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	require.Less(w.t, resp.StatusCode, 300, "%s %s: %s", method, path, text)
	require.NoError(w.t, json.Unmarshal(text, into))
}

func (w *world) kernel(id string) *v1alpha1.JupyterKernel {
	w.t.Helper()
	k := &v1alpha1.JupyterKernel{}
	require.NoError(w.t, w.api.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: id}, k))
	return k
}

// hasSeen waits until a process of this release has spoken with a part of that one.
func (w *world) hasSeen(address string, part skew.Part, version string) {
	w.t.Helper()
	var seen skew.Versions
	assert.Eventually(w.t, func() bool {
		resp, err := http.Get("http://" + address + skew.Path)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		seen = skew.Versions{}
		return json.NewDecoder(resp.Body).Decode(&seen) == nil && seen.Neighbours[part][version] > 0
	}, patience, often, "%s of %s: %v", part, version, &seen)
}

func newWorld(t *testing.T, api client.Client, kubeconfig, python string) *world {
	dir := t.TempDir()
	t.Cleanup(func() { leavesNothing(t, filepath.Dir(dir)) }) // the last thing: it is registered first
	w := &world{t: t, api: api, python: python, dir: dir, serviceAt: loopback.IP() + ":8080"}
	gateway := loopback.IP()
	w.gatewayAt, w.gatewayHealth = gateway+":8888", gateway+":9090"
	w.kubeconfig = w.write("kubeconfig", kubeconfig)
	return w
}

func (p *process) terminate() { _ = p.command.Process.Signal(syscall.SIGTERM) }

// kill is the end of a container: of the process, and of all that it has begun, kernels too,
// which have a session of their own.
func (p *process) kill() {
	for _, pid := range append([]int{-p.command.Process.Pid}, descendants(p.command.Process.Pid)...) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
