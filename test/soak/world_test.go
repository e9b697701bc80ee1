package soak

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/test/apiserver"
	"github.com/elastichub/elastichub/test/loopback"
	"github.com/elastichub/elastichub/test/movedclock"
)

const (
	namespace = "lab"
	gatewayOf = "default"
	patience  = 5 * time.Minute
	often     = 20 * time.Millisecond
	replicas  = 2
)

// world is a release on an API server. Its services and gateways come again when they end, as their Deployments' would.
type world struct {
	t          *testing.T
	api        client.Client
	etcd       string
	binary     string
	kernel     string // the program that kernels are
	dir        string
	kubeconfig string
	clock      *movedclock.Clock // nil: it cannot be moved
	line       *line
	kubelet    *kubelet
	services   [replicas]*part
	gateways   [replicas]*part
}

func newWorld(t *testing.T, moved bool) *world {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS is not set: a kube-apiserver is needed")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no kube-apiserver")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	w := &world{t: t, dir: t.TempDir()}
	w.binary, w.kernel = filepath.Join(w.dir, "elastichub"), filepath.Join(w.dir, "kernel")
	w.build(root, w.kernel, "./test/bench/kernel")
	if moved {
		w.clock, w.binary = movedclock.New(t), movedclock.Build(t, root)
	} else {
		w.build(root, w.binary, "./cmd/elastichub")
	}

	ctrl.SetLogger(logr.Discard())
	environment := apiserver.Environment(filepath.Join(root, "charts", "elastichub", "crds"))
	config, err := environment.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, environment.Stop()) })
	w.etcd = environment.ControlPlane.Etcd.URL.String()
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	config.QPS, config.Burst = 500, 1000
	w.api, err = client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	at, err := url.Parse(config.Host)
	require.NoError(t, err)
	w.line = newLine(t, at.Host)
	given, err := clientcmd.Load(environment.KubeConfig)
	require.NoError(t, err)
	for _, c := range given.Clusters {
		// Its certificate is good for a week, and clocks here are moved by years.
		c.Server, c.InsecureSkipTLSVerify, c.CertificateAuthorityData = "https://"+w.line.at, true, nil
	}
	w.kubeconfig = filepath.Join(w.dir, "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*given, w.kubeconfig))

	require.NoError(t, w.api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	require.NoError(t, w.api.Create(t.Context(), &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: gatewayOf}}))
	w.runKubelet()
	w.runCollector()
	for i := range w.services {
		w.services[i] = w.service(i)
	}
	for i := range w.gateways {
		w.gateways[i] = w.gateway()
	}
	return w
}

func (w *world) build(root, to, pkg string) {
	w.t.Helper()
	command := exec.Command("go", "build", "-o", to, pkg)
	command.Dir, command.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath")
	output, err := command.CombinedOutput()
	require.NoError(w.t, err, string(output))
}

// service is a replica of the service.
func (w *world) service(i int) *part {
	w.t.Helper()
	at := loopback.IP()
	seed := filepath.Join(w.dir, "seed")
	require.NoError(w.t, os.WriteFile(seed, []byte(base64.StdEncoding.EncodeToString(make([]byte, 32))), 0o600))
	config := filepath.Join(w.dir, fmt.Sprintf("service-%d.yaml", i))
	require.NoError(w.t, os.WriteFile(config, fmt.Appendf(nil, `namespace: %s
hubAPI: {listen: "%s:8080", tokenFile: ""}
metrics: {listen: "%s:9090"}
signing: {seedFile: %s}
notebooks: {image: "notebook:1"}
kernels: {serviceImage: "elastichub:1", image: "kernel:1", clusterCapacity: false}
`, namespace, at, at, seed), 0o600))
	return w.runPart("service", "http://"+at+":8080/readyz", "http://"+at+":9090/metrics", "", nil, "serve", "--config", config)
}

// gateway is a replica of the gateway, as the Deployment says that the service made of it.
func (w *world) gateway() *part {
	w.t.Helper()
	var d appsv1.Deployment
	w.until("there is no Deployment of the gateway", func() bool {
		return w.api.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: gatewayOf}, &d) == nil
	})
	at := loopback.IP()
	pod := d.Spec.Template.Spec
	files := w.mount(w.t.Context(), w.t.TempDir(), pod.Volumes, pod.Containers[0].VolumeMounts)
	env := append(variables(pod.Containers[0].Env, files), "ELASTICHUB_GATEWAY_LISTEN="+at+":8888", "ELASTICHUB_GATEWAY_METRICS_LISTEN="+at+":9090")
	return w.runPart("gateway", "http://"+at+":9090/readyz", "http://"+at+":9090/metrics", "http://"+at+":8888", env, pod.Containers[0].Args...)
}

// mount writes what Secrets and ConfigMaps hold, and returns the directories by mount path.
func (w *world) mount(ctx context.Context, dir string, volumes []corev1.Volume, mounts []corev1.VolumeMount) map[string]string {
	files := map[string]string{}
	for i, m := range mounts {
		at := filepath.Join(dir, fmt.Sprintf("volume-%d", i))
		_ = os.MkdirAll(at, 0o700)
		files[m.MountPath] = at
		for _, v := range volumes {
			if v.Name != m.Name {
				continue
			}
			content := map[string][]byte{}
			switch {
			case v.Secret != nil:
				var s corev1.Secret
				w.read(ctx, v.Secret.SecretName, &s)
				content = s.Data
			case v.ConfigMap != nil:
				var c corev1.ConfigMap
				w.read(ctx, v.ConfigMap.Name, &c)
				for name, text := range c.Data {
					content[name] = []byte(text)
				}
			}
			for name, text := range content {
				_ = os.WriteFile(filepath.Join(at, name), text, 0o600)
			}
		}
	}
	return files
}

// read reads an object that may be missing, and asks again while the API server does not answer.
func (w *world) read(ctx context.Context, name string, o client.Object) {
	for ; ctx.Err() == nil; time.Sleep(often) {
		if client.IgnoreNotFound(w.api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o)) == nil {
			return
		}
	}
}

// variables are those of a container, with the paths of this machine.
func variables(vars []corev1.EnvVar, files map[string]string) (env []string) {
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

func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	require.Eventually(w.t, is, patience, often, what)
}

// part is a process that is begun again when it ends.
type part struct {
	w                   *world
	name, ready, metric string
	url                 string // of a gateway
	log                 string

	mu      sync.Mutex
	command *exec.Cmd
	starts  int
	closed  bool
}

func (w *world) runPart(name, ready, metric, url string, env []string, args ...string) *part {
	w.t.Helper()
	p := &part{w: w, name: name, ready: ready, metric: metric, url: url}
	log, err := os.CreateTemp(w.dir, name+"-*.log")
	require.NoError(w.t, err)
	p.log = log.Name()
	over := make(chan struct{})
	begin := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.closed {
			return false
		}
		p.command = exec.Command(w.binary, args...)
		p.command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "KUBECONFIG=" + w.kubeconfig}, env...)
		if w.clock != nil {
			p.command.Env = append(p.command.Env, movedclock.Variable+"="+w.clock.File)
		}
		p.command.Stdout, p.command.Stderr = log, log
		p.starts++
		return p.command.Start() == nil
	}
	require.True(w.t, begin())
	go func() {
		defer close(over)
		for {
			_ = p.command.Wait()
			if !begin() {
				return
			}
		}
	}()
	w.t.Cleanup(func() {
		p.mu.Lock()
		p.closed = true
		_ = p.command.Process.Kill()
		p.mu.Unlock()
		<-over
		_ = log.Close()
		if raw, _ := os.ReadFile(p.log); w.t.Failed() {
			w.t.Logf("%s, begun %d times:\n%s", p.name, p.starts, raw[max(0, len(raw)-60000):])
		}
	})
	p.isReady()
	return p
}

func (p *part) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.command.Process.Signal(s)
}

// again ends the process, and waits until the next one is ready.
func (p *part) again(s syscall.Signal) {
	p.w.t.Helper()
	p.mu.Lock()
	before := p.starts
	p.mu.Unlock()
	p.signal(s)
	p.w.until(p.name+" does not end", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.starts > before
	})
	p.isReady()
}

func (p *part) isReady() {
	p.w.t.Helper()
	p.w.until(p.ready, func() bool {
		resp, err := http.Get(p.ready)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// line is the way to the API server, which can be cut.
type line struct {
	at string

	mu    sync.Mutex
	conns map[net.Conn]bool
	cuts  int
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", loopback.Port()))
	require.NoError(t, err)
	p := &line{at: l.Addr().String(), conns: map[net.Conn]bool{}}
	t.Cleanup(func() { _ = l.Close(); p.cut() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go p.carry(from, to)
		}
	}()
	return p
}

func (l *line) carry(from net.Conn, address string) {
	to, err := net.Dial("tcp", address)
	if err != nil {
		_ = from.Close()
		return
	}
	l.mu.Lock()
	l.conns[from], l.conns[to] = true, true
	l.mu.Unlock()
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		go func() { _, _ = io.Copy(pair[0], pair[1]); done <- struct{}{} }()
	}
	<-done
	_, _ = from.Close(), to.Close()
	<-done
	l.mu.Lock()
	delete(l.conns, from)
	delete(l.conns, to)
	l.mu.Unlock()
}

// cut breaks every watch.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts++
	for c := range l.conns {
		_ = c.Close()
	}
}
