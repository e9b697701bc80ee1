package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/test/apiserver"
	"github.com/elastichub/elastichub/test/loopback"
	"github.com/elastichub/elastichub/tokens"
)

// site is our side outside a cluster: a real API server, one gateway process,
// and agent processes as they would run in Pods, all on loopback, with TLS
// between gateway and agents. The bench plays the controllers.
type site struct {
	b       *bench
	env     *envtest.Environment
	api     client.Client
	key     []byte
	gateway *process
	health  string
	server  *server   // as the first client
	clients []*server // every client: kernels and sockets per user are bounded
}

const (
	siteNamespace = "bench"
	siteGateway   = "gateway"
	siteSpec      = "bench"
	// siteClients times the gateway's bound on kernels per user is what memory needs.
	siteClients = 12
)

// newSite starts the API server and the gateway.
func newSite(ctx context.Context, b *bench) (_ *site, err error) {
	s := &site{b: b, key: bytes.Repeat([]byte{9}, keys.Size)}
	s.env = apiserver.Environment(filepath.Join(b.source, "charts", "elastichub", "crds"))
	config, err := s.env.Start()
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), clientgoscheme.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 500, 1000
	if s.api, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	user, err := s.env.AddUser(envtest.User{Name: "gateway", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := user.KubeConfig()
	if err != nil {
		return nil, err
	}
	issuer, err := tokens.NewIssuer(bytes.Repeat([]byte{3}, 32))
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, "gateway")
	files := map[string][]byte{"kubeconfig": kubeconfig, "key": s.key, "public": []byte(issuer.PublicKey())}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	url := fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	gw := &v1alpha1.JupyterGateway{ObjectMeta: meta(siteGateway), Spec: v1alpha1.JupyterGatewaySpec{Kernels: []string{siteSpec}, Auth: &v1alpha1.GatewayAuth{}}}
	for i := range siteClients {
		name := fmt.Sprintf("client-%d", i)
		token := name + "-0123456789abcdef"
		files["clients/"+name] = []byte(token)
		gw.Spec.Auth.Clients = append(gw.Spec.Auth.Clients, v1alpha1.GatewayClient{Name: name})
		s.clients = append(s.clients, &server{name: "elastichub", url: url, token: token})
	}
	s.server = s.clients[0]
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
			return nil, err
		}
	}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: siteNamespace}}, gw,
		&v1alpha1.JupyterKernelSpec{ObjectMeta: meta(siteSpec), Spec: v1alpha1.JupyterKernelSpecSpec{Language: "python", DisplayName: "Bench", Image: "bench"}},
	} {
		if err := s.api.Create(ctx, o); err != nil {
			return nil, err
		}
	}
	s.health = fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	s.gateway, err = b.start("gateway", []string{
		"KUBECONFIG=" + filepath.Join(dir, "kubeconfig"),
		"ELASTICHUB_GATEWAY_NAMESPACE=" + siteNamespace, "ELASTICHUB_GATEWAY_NAME=" + siteGateway,
		"ELASTICHUB_GATEWAY_KEY_FILE=" + filepath.Join(dir, "key"),
		"ELASTICHUB_GATEWAY_TOKEN_PUBLIC_KEY_FILE=" + filepath.Join(dir, "public"),
		"ELASTICHUB_GATEWAY_CLIENTS_DIR=" + filepath.Join(dir, "clients"),
		fmt.Sprintf("ELASTICHUB_GATEWAY_LISTEN=127.0.0.1:%d", ports[0]),
		fmt.Sprintf("ELASTICHUB_GATEWAY_METRICS_LISTEN=127.0.0.1:%d", ports[1]),
	}, b.elastichub("gateway")...)
	if err != nil {
		return nil, err
	}
	return s, s.gateway.until(30*time.Second, func() error { return get(ctx, s.health+"/readyz", nil) })
}

func (s *site) close() {
	if s.gateway != nil {
		s.gateway.stop()
	}
	if err := s.env.Stop(); err != nil {
		s.b.say("API server: %v", err)
	}
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: siteNamespace}
}

// object writes a kernel that is Ready at ip, and returns its id and the
// secret of its run. owner is the number of a client.
func (s *site) object(ctx context.Context, owner int, ip string) (string, keys.Secret, error) {
	k := &v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Namespace: siteNamespace, Name: newID(), Labels: map[string]string{
		v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelGateway: siteGateway}}}
	k.Spec = v1alpha1.JupyterKernelCRDSpec{Gateway: siteGateway, KernelSpec: siteSpec, User: fmt.Sprintf("client-%d", owner), Run: 1,
		Env: []corev1.EnvVar{{Name: "KERNEL_USERNAME", Value: "somebody"}, {Name: "KERNEL_WORKING_DIR", Value: "/home/somebody/work"}}}
	if err := s.api.Create(ctx, k); err != nil {
		return "", keys.Secret{}, err
	}
	now := metav1.Now()
	k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady, Run: 1, PodName: "kernel-" + k.Name + "-1", PodIP: ip, Node: "node",
		StartTime: &now, ReadyTime: &now}
	if err := s.api.Status().Update(ctx, k); err != nil {
		return "", keys.Secret{}, err
	}
	secret, err := keys.Derive(s.key, string(k.UID), 1)
	return k.Name, secret, err
}

// kernel starts an agent process with the kernel that argv says, and returns
// the kernel's id once the gateway has got an answer from it.
func (s *site) kernel(ctx context.Context, argv []string) (string, *process, error) {
	ip := loopback.IP()
	id, secret, err := s.object(ctx, 0, ip)
	if err != nil {
		return "", nil, err
	}
	key := filepath.Join(s.b.dir, "agent-"+id)
	if err := os.WriteFile(key, []byte(secret.Hex()), 0o600); err != nil {
		return "", nil, err
	}
	socket := filepath.Join(s.b.dir, "control-"+id)
	p, err := s.b.start("agent", []string{
		protocol.EnvSocket + "=" + socket,
		protocol.EnvKeyFile + "=" + key, protocol.EnvKernelID + "=" + id, protocol.EnvKernelName + "=bench",
		protocol.EnvListen + "=" + ip + ":" + strconv.Itoa(protocol.Port),
		protocol.EnvTerminationLog + "=" + filepath.Join(s.b.dir, "termination-"+id),
	}, s.b.elastichub("agent")...)
	if err != nil {
		return "", nil, err
	}
	runKernel := append([]string{s.b.binary, "run-kernel"}, "--socket", socket, "--files", filepath.Join(s.b.dir, "files-"+id), "--")
	if _, err := s.b.start("run-kernel", nil, append(runKernel, argv...)...); err != nil {
		return "", nil, err
	}
	if err := p.until(10*time.Second, func() error {
		return s.server.call(ctx, http.MethodGet, "/api/kernels/"+id, nil, nil)
	}); err != nil {
		return "", nil, err
	}
	return id, p, nil
}

// gauges reads metrics that have no labels.
func gauges(ctx context.Context, page string, names ...string) (map[string]float64, error) {
	var text []byte
	if err := get(ctx, page, &text); err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for _, name := range names {
		_, rest, found := strings.Cut("\n"+string(text), "\n"+name+" ")
		if !found {
			return nil, fmt.Errorf("%s has no metric %s", page, name)
		}
		value, _, _ := strings.Cut(rest, "\n")
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, err
		}
		values[name] = number
	}
	return values, nil
}
