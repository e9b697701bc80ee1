package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/apiserver"
	"github.com/elastichub/elastichub/test/loopback"
	"github.com/elastichub/elastichub/tokens"
)

// apiServer is one real kube-apiserver for all tests of the package.
var apiServer struct {
	once sync.Once
	env  *envtest.Environment
	rest *rest.Config
	err  error
}

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	code := m.Run()
	if apiServer.env != nil {
		if err := apiServer.env.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the API server:", err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if code == 0 {
		if err := goleak.Find(
			// HTTP/2 connections of clients to the API server that was stopped.
			goleak.IgnoreTopFunction("golang.org/x/net/http2.(*clientConnReadLoop).run"),
			goleak.IgnoreAnyFunction("net/http/internal/http2.(*ClientConn).readLoop"),
		); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// site is a namespace of a real API server with replicas of one gateway; the
// test plays the controllers.
type site struct {
	t         *testing.T
	api       client.Client
	namespace string
	cfg       Config
	key       []byte
	token     string
}

// gatewayRules is all that a gateway needs; see kernels/gateway_objects.go for
// what the controllers give it.
var gatewayRules = []rbacv1.PolicyRule{
	{APIGroups: []string{v1alpha1.GroupVersion.Group}, Verbs: []string{"get", "list", "watch"},
		Resources: []string{"jupytergateways", "jupyterkernelspecs", "jupyternotebooks", "grouppolicies"}},
	{APIGroups: []string{v1alpha1.GroupVersion.Group}, Verbs: []string{"get", "list", "watch", "create", "patch", "delete"},
		Resources: []string{"jupyterkernels"}},
}

func newSite(t *testing.T) *site {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS is not set: a kube-apiserver is needed")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no kube-apiserver")
	}
	apiServer.once.Do(func() {
		apiServer.env = apiserver.Environment(filepath.Join("..", "..", "charts", "elastichub", "crds"))
		apiServer.rest, apiServer.err = apiServer.env.Start()
	})
	require.NoError(t, apiServer.err)
	scheme := testScheme(t)
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	api, err := client.New(apiServer.rest, client.Options{Scheme: scheme})
	require.NoError(t, err)
	s := &site{t: t, api: api, key: bytes.Repeat([]byte{9}, keys.Size)}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "gateway-"}}
	require.NoError(t, api.Create(t.Context(), ns))
	s.namespace = ns.Name
	s.create(&rbacv1.Role{ObjectMeta: s.meta("gw"), Rules: gatewayRules})
	s.create(&rbacv1.RoleBinding{ObjectMeta: s.meta("gw"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "gw"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: s.user(), APIGroup: rbacv1.GroupName}}})
	s.limitGateways()
	s.create(&v1alpha1.JupyterGateway{ObjectMeta: s.meta("gw"), Spec: v1alpha1.JupyterGatewaySpec{Kernels: []string{"python-gpu"}}})
	s.create(&v1alpha1.JupyterKernelSpec{ObjectMeta: s.meta("python-gpu"), Spec: v1alpha1.JupyterKernelSpecSpec{Language: "python", DisplayName: "GPU", Image: "img",
		Resources: &corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": resourceOne}}}})
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: s.meta("nb"), Spec: v1alpha1.JupyterNotebookSpec{
		Gateway: &corev1.ObjectReference{Name: "gw"}, User: "alice", Start: "s1"}}
	s.create(nb)

	issuer, err := tokens.NewIssuer(bytes.Repeat([]byte{3}, 32))
	require.NoError(t, err)
	s.token, err = issuer.Issue(tokens.Notebook{Namespace: s.namespace, Name: "nb", UID: string(nb.UID), Start: "s1", User: "alice"})
	require.NoError(t, err)
	dir := t.TempDir()
	s.cfg = Default()
	s.cfg.Namespace, s.cfg.Name = s.namespace, "gw"
	s.cfg.KeyFile, s.cfg.TokenKeyFile = filepath.Join(dir, "key"), filepath.Join(dir, "pub")
	require.NoError(t, os.WriteFile(s.cfg.KeyFile, s.key, 0o600))
	require.NoError(t, os.WriteFile(s.cfg.TokenKeyFile, []byte(issuer.PublicKey()), 0o600))
	return s
}

func (s *site) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: s.namespace}
}

// user is the account that the controllers give the gateway.
func (s *site) user() string { return "system:serviceaccount:" + s.namespace + ":gw-gateway" }

func (s *site) create(obj client.Object) {
	s.t.Helper()
	require.NoError(s.t, s.api.Create(s.t.Context(), obj))
}

// replica is one gateway process; stop ends it and returns what Run returned.
type replica struct {
	url, health string
	stop        func() error
}

func (s *site) replica() *replica {
	s.t.Helper()
	cfg := s.cfg
	cfg.Listen, cfg.Health = loopback.Address(), loopback.Address()
	restricted := rest.CopyConfig(apiServer.rest)
	restricted.Impersonate = rest.ImpersonationConfig{UserName: s.user()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg, restricted, prometheus.NewRegistry(), nil, testLog()) }()
	var once sync.Once
	var err error
	r := &replica{url: "http://" + cfg.Listen, health: "http://" + cfg.Health}
	r.stop = func() error {
		once.Do(func() {
			cancel()
			select {
			case err = <-done:
			case <-time.After(patience):
				err = fmt.Errorf("the gateway does not stop")
			}
		})
		return err
	}
	s.t.Cleanup(func() { assert.NoError(s.t, r.stop()) })
	require.Eventually(s.t, func() bool {
		resp, err := http.Get(r.health + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, patience, 50*time.Millisecond)
	return r
}

func (s *site) call(r *replica, method, path, body string) (int, []byte) {
	s.t.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	require.NoError(s.t, err)
	req.Header.Set("Authorization", "token "+s.token)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp.StatusCode, raw
}

func (s *site) start(r *replica) string {
	s.t.Helper()
	status, body := s.call(r, "POST", "/api/kernels", `{"name":"python-gpu","env":{"KERNEL_A":"1"}}`)
	require.Equal(s.t, http.StatusCreated, status, string(body))
	var m kernelModel
	require.NoError(s.t, json.Unmarshal(body, &m))
	return m.ID
}

func (s *site) open(r *replica, id, session string) *peer {
	s.t.Helper()
	p, _, err := dialPeer(s.t, r.url+"/api/kernels/"+id+"/channels?session_id="+session, s.token)
	require.NoError(s.t, err)
	return p
}

func (s *site) kernel(id string) *v1alpha1.JupyterKernel {
	s.t.Helper()
	k := &v1alpha1.JupyterKernel{}
	require.NoError(s.t, s.api.Get(context.Background(), client.ObjectKey{Namespace: s.namespace, Name: id}, k))
	return k
}

func (s *site) status(id string, status v1alpha1.JupyterKernelStatus) {
	s.t.Helper()
	require.NoError(s.t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		k := s.kernel(id)
		k.Status = status
		return s.api.Status().Update(context.Background(), k)
	}))
}

func TestTwoReplicasServeAKernelForItsWholeLife(t *testing.T) {
	s := newSite(t)
	a, b := s.replica(), s.replica()
	id := s.start(a)
	status, _ := s.call(b, "GET", "/api/kernels/"+id, "")
	require.Equal(t, http.StatusOK, status, "the other replica knows it at once")

	pa, pb := s.open(a, id, "a"), s.open(b, id, "b")
	exec := pa.execute("1")
	s.status(id, v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelQueued, Run: 1, Queue: &v1alpha1.QueueStatus{Position: 1, Length: 1, Reason: "all GPUs are in use"}})
	pa.told(pa.next(wire.TypeDisplayData), "Waiting for a GPU: position 1 of 1. All GPUs are in use.")

	agent := newFakeAgent(t, s.key, string(s.kernel(id).UID), 1)
	s.status(id, v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady, Run: 1, PodIP: agent.ip, ReadyTime: new(metav1.Now())})
	request := agent.receive(wire.TypeExecuteRequest)
	assert.Equal(t, exec, request.ID())
	agent.run("a", request, "one\n")
	agent.run("b", request, "one\n") // iopub is for everybody
	for _, p := range []*peer{pa, pb} {
		assert.Equal(t, "one\n", wire.Member(p.next(wire.TypeStream).Content, "text"))
	}

	agent.end("idle")
	s.status(id, v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelParked, Run: 1, Cause: v1alpha1.CauseIdle, ReadyTime: new(metav1.Now())})
	time.Sleep(300 * time.Millisecond) // both replicas have seen it
	pa.execute("2")
	pb.execute("3")
	require.Eventually(t, func() bool { return s.kernel(id).Spec.Run == 2 }, patience, 10*time.Millisecond)
	second := newFakeAgent(t, s.key, string(s.kernel(id).UID), 2)
	s.status(id, v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelStarting, Run: 2, PodIP: second.ip})
	for range 2 {
		second.receive(wire.TypeExecuteRequest)
	}
	time.Sleep(300 * time.Millisecond)
	assert.EqualValues(t, 2, s.kernel(id).Spec.Run, "two replicas make one run")

	status, _ = s.call(b, "DELETE", "/api/kernels/"+id, "")
	assert.Equal(t, http.StatusNoContent, status)
	for _, p := range []*peer{pa, pb} {
		for p.next(wire.TypeStatus).ExecutionState() != "dead" {
		}
	}
	status, _ = s.call(a, "GET", "/api/kernels/"+id, "")
	assert.Equal(t, http.StatusNotFound, status)
}

// TestASessionOutlivesEveryReplica: it is one for all of them, and after a restart.
func TestASessionOutlivesEveryReplica(t *testing.T) {
	s := newSite(t)
	a, b := s.replica(), s.replica()
	read := func(status int, body []byte) (m sessionModel) {
		t.Helper()
		require.Less(t, status, 300, string(body))
		require.NoError(t, json.Unmarshal(body, &m))
		return m
	}
	made := read(s.call(a, "POST", "/api/sessions", `{"path":"a.ipynb","name":"a","type":"notebook"}`))
	assert.Equal(t, made.ID, read(s.call(b, "GET", "/api/sessions/"+made.ID, "")).ID, "the other replica knows it at once")
	assert.Equal(t, made.ID, read(s.call(b, "POST", "/api/sessions", `{"path":"a.ipynb"}`)).ID, "a path has one session")
	s.status(made.Kernel.ID, v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelParked, Run: 1, Cause: v1alpha1.CauseIdle})
	renamed := read(s.call(b, "PATCH", "/api/sessions/"+made.ID, `{"path":"b.ipynb"}`))
	assert.Equal(t, []string{"b.ipynb", "a", made.Kernel.ID}, []string{renamed.Path, renamed.Name, renamed.Kernel.ID})
	require.NoError(t, a.stop())
	require.NoError(t, b.stop())
	c := s.replica()
	status, body := s.call(c, "GET", "/api/sessions", "")
	var all []sessionModel
	require.NoError(t, json.Unmarshal(body, &all), string(body))
	require.Len(t, all, 1, status)
	assert.Equal(t, []string{made.ID, "b.ipynb", "a", "notebook", made.Kernel.ID}, []string{all[0].ID, all[0].Path, all[0].Name, all[0].Type, all[0].Kernel.ID})
	status, _ = s.call(c, "DELETE", "/api/sessions/"+made.ID, "")
	assert.Equal(t, http.StatusNoContent, status)
	require.NotNil(t, s.kernel(made.Kernel.ID).Spec.Shutdown, "the leader does the rest")
	_, body = s.call(c, "GET", "/api/sessions", "")
	assert.Equal(t, "[]", string(body))
}

func TestChangesOfTheCatalogueNeedNoRestart(t *testing.T) {
	s := newSite(t)
	r := s.replica()
	s.create(&v1alpha1.JupyterKernelSpec{ObjectMeta: s.meta("r"), Spec: v1alpha1.JupyterKernelSpecSpec{Language: "R", DisplayName: "R"}})
	gw := &v1alpha1.JupyterGateway{}
	require.NoError(t, s.api.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "gw"}, gw))
	gw.Spec.Kernels = []string{"r", "python-gpu"}
	require.NoError(t, s.api.Update(t.Context(), gw))
	require.Eventually(t, func() bool {
		_, body := s.call(r, "GET", "/api/kernelspecs", "")
		var l specList
		return json.Unmarshal(body, &l) == nil && l.Default == "r" && len(l.Kernelspecs) == 2
	}, patience, 20*time.Millisecond)
}

func TestAReplicaThatStopsHandsItsClientsOver(t *testing.T) {
	s := newSite(t)
	a, b := s.replica(), s.replica()
	id := s.start(a)
	agent := newFakeAgent(t, s.key, string(s.kernel(id).UID), 1)
	s.status(id, v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady, Run: 1, PodIP: agent.ip, ReadyTime: new(metav1.Now())})
	p := s.open(a, id, "s")
	p.execute("1")
	request := agent.receive(wire.TypeExecuteRequest)
	builder := wire.Builder{Session: "k", Now: time.Now}
	agent.publish("s", builder.Stream(request.Header, "stdout", "before\n"))
	assert.Equal(t, "before\n", wire.Member(p.next(wire.TypeStream).Content, "text"))
	began := time.Now()
	require.NoError(t, a.stop())
	assert.Less(t, time.Since(began), 10*time.Second)
	p.closed()
	require.Eventually(t, func() bool { return agent.ackedBy("s") == 1 }, patience, time.Millisecond, "the last acknowledgement")
	agent.publish("s", builder.Stream(request.Header, "stdout", "after\n"))
	p = s.open(b, id, "s")
	assert.Equal(t, "after\n", wire.Member(p.next(wire.TypeStream).Content, "text"), "nothing twice, nothing lost")
}

func TestABurstOfStartsStaysWithinTheBound(t *testing.T) {
	s := newSite(t)
	s.cfg.bounds.kernelsPerUser = 10
	r := s.replica()
	codes := make(chan int, 40)
	var wg sync.WaitGroup
	for range cap(codes) {
		wg.Go(func() {
			status, _ := s.call(r, "POST", "/api/kernels", `{"name":"python-gpu"}`)
			codes <- status
		})
	}
	wg.Wait()
	close(codes)
	count := map[int]int{}
	for c := range codes {
		count[c]++
	}
	assert.Equal(t, map[int]int{http.StatusCreated: 10, http.StatusForbidden: 30}, count)
}
