package kernels

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	runtimeconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/tokens"
)

func TestMain(m *testing.M) { os.Exit(kerneltest.Main(m, "..")) }

// testPods is what every Pod of the tests is made with.
var testPods = podspec.Config{Image: "elastichub:test", ImagePullPolicy: corev1.PullIfNotPresent, KernelImage: "kernel:test", IdleSeconds: 3600}

func testConfig(namespace string) Config {
	cfg := Config{Namespace: namespace, Pods: testPods, ClusterCapacity: true}
	issuer, err := tokens.NewIssuer(make([]byte, 32))
	if err != nil {
		panic(err) // 32 bytes are a seed
	}
	cfg.Tokens = issuer
	return cfg
}

// cluster is a namespace of a real API server in which the controllers run and
// the test plays kubelet, scheduler and gateway.
type cluster struct {
	*testing.T
	ctx       context.Context
	namespace string
	cfg       Config
	api       client.Client
	meters    *prometheus.Registry
	agents    *fakeAgents
	warmed    int                                       // addresses given to warm Pods
	as        string                                    // whom the controllers are, if they are not to have every right
	stop      func()                                    // ends the controllers
	wrap      func(http.RoundTripper) http.RoundTripper // what their requests go through; nil: nothing
}

func startCluster(t *testing.T, change ...func(*Config)) *cluster {
	apiServer := kerneltest.APIServer(t)
	api, err := client.New(apiServer, client.Options{Scheme: kerneltest.Scheme})
	require.NoError(t, err)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "kernels-"}}
	require.NoError(t, api.Create(t.Context(), ns))
	c := &cluster{T: t, ctx: t.Context(), namespace: ns.Name, cfg: testConfig(ns.Name), api: api, agents: newFakeAgents()}
	for _, f := range change {
		f(&c.cfg)
	}
	c.start()
	t.Cleanup(func() {
		c.stop()
		// Else they stay on their nodes, for the tests that come later.
		_ = api.DeleteAllOf(context.Background(), &corev1.Pod{}, client.InNamespace(ns.Name), client.GracePeriodSeconds(0))
	})
	return c
}

// start runs the controllers until stop is called.
func (c *cluster) start() {
	c.Helper()
	scope := c.cfg.Scope
	if scope == nil {
		scope = namespaces.Only(c.namespace)
	}
	config := rest.CopyConfig(kerneltest.APIServer(c.T))
	config.Impersonate.UserName = c.as
	if c.wrap != nil {
		config.Wrap(c.wrap)
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:     kerneltest.Scheme,
		Cache:      scope.Cache(),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: runtimeconfig.Controller{SkipNameValidation: ptr.To(true)},
	})
	require.NoError(c, err)
	c.meters = prometheus.NewRegistry()
	_, err = SetupWithManager(mgr, c.cfg, c.agents, c.meters)
	require.NoError(c, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	c.stop = func() {
		cancel()
		require.NoError(c, <-done)
		c.stop = func() {}
	}
	require.True(c, mgr.GetCache().WaitForCacheSync(ctx))
}

func (c *cluster) create(objects ...client.Object) {
	c.Helper()
	for _, o := range objects {
		if o.GetNamespace() == "" {
			o.SetNamespace(c.namespace)
		}
		require.NoError(c, c.api.Create(c.ctx, o), o.GetName())
	}
}

// node adds a node with GPUs to the cluster for the time of the test.
func (c *cluster) node(name string, gpus int64) {
	c.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	require.NoError(c, c.api.Create(c.ctx, n))
	c.Cleanup(func() { _ = c.api.Delete(context.Background(), n) })
	n.Spec.Taints = nil
	require.NoError(c, c.api.Update(c.ctx, n))
	n.Status.Allocatable = corev1.ResourceList{"nvidia.com/gpu": *resource.NewQuantity(gpus, resource.DecimalSI), "cpu": resource.MustParse("64")}
	n.Status.Capacity = n.Status.Allocatable
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	require.NoError(c, c.api.Status().Update(c.ctx, n))
}

// gateway makes a JupyterGateway and waits for its key.
func (c *cluster) gateway(name string, change ...func(*v1alpha1.JupyterGateway)) *v1alpha1.JupyterGateway {
	c.Helper()
	gw := &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, f := range change {
		f(gw)
	}
	c.create(gw)
	c.eventually("gateway key", func() bool {
		return c.get(podspec.KeySecretName(gw), &corev1.Secret{})
	})
	return gw
}

func (c *cluster) get(name string, into client.Object) bool {
	return c.api.Get(c.ctx, types.NamespacedName{Namespace: c.namespace, Name: name}, into) == nil
}

func (c *cluster) kernel(name string) *v1alpha1.JupyterKernel {
	c.Helper()
	k := &v1alpha1.JupyterKernel{}
	require.True(c, c.get(name, k), name)
	return k
}

func (c *cluster) eventually(what string, is func() bool) {
	c.Helper()
	deadline := time.Now().Add(time.Minute)
	for !is() {
		if time.Now().After(deadline) {
			c.dump()
			c.Fatalf("not in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *cluster) dump() {
	var kernels v1alpha1.JupyterKernelList
	_ = c.api.List(c.ctx, &kernels, client.InNamespace(c.namespace))
	for _, k := range kernels.Items {
		c.Logf("kernel %s: %+v", k.Name, k.Status)
	}
	var pods corev1.PodList
	_ = c.api.List(c.ctx, &pods, client.InNamespace(c.namespace))
	for _, p := range pods.Items {
		c.Logf("pod %s: deleted %v, %+v", p.Name, p.DeletionTimestamp, p.Status)
	}
}

// phase waits until a kernel is in a phase of a run.
func (c *cluster) phase(name string, run int64, phase v1alpha1.KernelPhase) *v1alpha1.JupyterKernel {
	c.Helper()
	var k *v1alpha1.JupyterKernel
	c.eventually(fmt.Sprintf("%s %d %s", name, run, phase), func() bool {
		k = &v1alpha1.JupyterKernel{}
		return c.get(name, k) && k.Status.Run == run && k.Status.Phase == phase
	})
	return k
}

// pod waits for the Pod of a kernel's run.
func (c *cluster) pod(kernel string, run int64) *corev1.Pod {
	c.Helper()
	pod := &corev1.Pod{}
	c.eventually("Pod of "+kernel, func() bool { return c.get(podspec.PodName(kernel, run), pod) })
	return pod
}

func (c *cluster) bind(pod *corev1.Pod, node string) {
	c.Helper()
	require.NoError(c, c.api.SubResource("binding").Create(c.ctx, pod, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: node}}))
	require.True(c, c.get(pod.Name, pod))
}

func (c *cluster) report(pod *corev1.Pod, change func(*corev1.PodStatus)) {
	c.Helper()
	require.NoError(c, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		require.True(c, c.get(pod.Name, pod))
		change(&pod.Status)
		return c.api.Status().Update(c.ctx, pod)
	}))
}

// ready brings a kernel's run all the way up on a node.
func (c *cluster) ready(kernel string, run int64, node string) *corev1.Pod {
	c.Helper()
	pod := c.pod(kernel, run)
	if node != "" {
		c.bind(pod, node)
	}
	c.report(pod, kerneltest.Running("10.0.0.9", true))
	c.phase(kernel, run, v1alpha1.KernelReady)
	return pod
}

// kill removes a Pod that is under deletion, as a kubelet does in the end.
func (c *cluster) kill(pod *corev1.Pod) {
	c.Helper()
	require.NoError(c, client.IgnoreNotFound(c.api.Delete(c.ctx, pod, client.GracePeriodSeconds(0))))
}

func (c *cluster) gone(o client.Object) {
	c.Helper()
	c.eventually("end of "+o.GetName(), func() bool {
		return !c.get(o.GetName(), o.DeepCopyObject().(client.Object))
	})
}
