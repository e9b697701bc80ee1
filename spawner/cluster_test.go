package spawner

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	runtimeconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/tokens"
)

// patience is how long a test waits for what should come at once.
const patience = time.Minute

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
	os.Exit(code)
}

// cluster is a namespace in which the test plays Deployment controller,
// scheduler and kubelet.
type cluster struct {
	t         *testing.T
	client    client.Client
	rest      *rest.Config
	scheme    *runtime.Scheme
	namespace string
	cfg       Config
	issuer    *tokens.Issuer
	asker     *answers
	hub       Hub
}

// answers are what servers say when they are asked.
type answers struct {
	mu    sync.Mutex
	asked []string // address, token
	say   func(address string) (Activity, error)
	told  map[string]Forewarning // by address, the last
	// hold keeps an answer back; now and peak count those being asked.
	hold      func(context.Context)
	now, peak int
}

func (a *answers) Ask(ctx context.Context, server Access) (Activity, error) {
	a.mu.Lock()
	a.asked = append(a.asked, server.Address+" "+server.Token)
	a.now++
	a.peak = max(a.peak, a.now)
	a.mu.Unlock()
	if a.hold != nil {
		a.hold(ctx)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now--
	return a.say(server.Address)
}

func (a *answers) Forewarn(_ context.Context, server Access, warning Forewarning) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.told == nil {
		a.told = map[string]Forewarning{}
	}
	a.told[server.Address] = warning
	return nil
}

func (a *answers) lastTold(address string) Forewarning {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.told[address]
}

func (a *answers) most() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.peak
}

func (a *answers) set(say func(string) (Activity, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked, a.say = nil, say
}

func (a *answers) all() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asked)
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS is not set: a kube-apiserver is needed")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no kube-apiserver")
	}
	apiServer.once.Do(func() {
		apiServer.env = &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join("..", "charts", "elastichub", "crds")}, ErrorIfCRDPathMissing: true}
		apiServer.env.CRDInstallOptions.MaxTime = patience // others may need the machine
		if apiServer.rest, apiServer.err = apiServer.env.Start(); apiServer.err != nil {
			return
		}
		api, err := client.New(apiServer.rest, client.Options{})
		if err == nil { // that of testRequest
			err = api.Create(context.Background(), &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "interactive"}, Value: 7})
		}
		apiServer.err = err
	})
	require.NoError(t, apiServer.err)
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	direct, err := client.New(apiServer.rest, client.Options{Scheme: scheme})
	require.NoError(t, err)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "spawner-"}}
	require.NoError(t, direct.Create(t.Context(), namespace))
	issuer, err := tokens.NewIssuer(make([]byte, ed25519.SeedSize))
	require.NoError(t, err)
	cfg := testConfig()
	cfg.Namespace = namespace.Name
	return &cluster{t: t, client: direct, rest: apiServer.rest, scheme: scheme, namespace: namespace.Name, cfg: cfg, issuer: issuer, asker: &answers{}}
}

// replica runs a manager with a Service and, if it leads, the controller.
func (c *cluster) replica(leads bool) *Service {
	c.t.Helper()
	service, _ := c.run(leads)
	return service
}

// leader runs the controller until the returned function is called.
func (c *cluster) leader() (stop func()) {
	c.t.Helper()
	_, stop = c.run(true)
	return stop
}

func (c *cluster) run(leads bool) (service *Service, stop func()) {
	c.t.Helper()
	skip := true
	mgr, err := ctrl.NewManager(c.rest, ctrl.Options{
		Scheme:     c.scheme,
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Cache:      cache.Options{DefaultNamespaces: map[string]cache.Config{c.namespace: {}}},
		Controller: runtimeconfig.Controller{SkipNameValidation: &skip},
		Logger:     logr.Discard(),
	})
	require.NoError(c.t, err)
	service, err = NewService(c.t.Context(), c.cfg, mgr.GetClient(), mgr.GetAPIReader(), mgr.GetCache())
	require.NoError(c.t, err)
	if leads {
		require.NoError(c.t, service.SetupWithManager(mgr, c.issuer, c.asker, c.hub, prometheus.NewRegistry()))
	}
	_, err = service.States(c.t.Context())
	require.ErrorIs(c.t, err, ErrNotSynced)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(c.t, <-ended)
	})
	c.t.Cleanup(stop)
	require.Eventually(c.t, func() bool { _, err := service.States(c.t.Context()); return err == nil }, patience, 10*time.Millisecond)
	return service, stop
}

func (c *cluster) gateway(name string) {
	c.t.Helper()
	require.NoError(c.t, c.client.Create(c.t.Context(), &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: name}}))
}

func (c *cluster) get(name string, object client.Object) error {
	return c.client.Get(c.t.Context(), client.ObjectKey{Namespace: c.namespace, Name: name}, object)
}

// seen waits until the caches of a replica have an object, as is says it is.
func seen[T client.Object](c *cluster, s *Service, object T, is func(T) bool) {
	c.t.Helper()
	c.eventually("seen: "+object.GetName(), func() bool {
		return s.client.Get(c.t.Context(), client.ObjectKeyFromObject(object), object) == nil && is(object)
	})
}

// change writes an object as it is now, changed. Where a controller was faster, it does so again.
func change[T client.Object](c *cluster, name string, object T, to func(T)) {
	c.t.Helper()
	require.NoError(c.t, retry.RetryOnConflict(wait.Backoff{Steps: 12, Duration: 10 * time.Millisecond, Factor: 1.5}, func() error {
		if err := c.get(name, object); err != nil {
			return err
		}
		to(object)
		return c.client.Update(c.t.Context(), object)
	}))
}

func (c *cluster) eventually(what string, condition func() bool) {
	c.t.Helper()
	require.Eventually(c.t, condition, patience, 20*time.Millisecond, what)
}

// deployment waits for the one of that start and reports that it was seen, as
// the Deployment controller would.
func (c *cluster) deployment(name, start string, replicas int32) *appsv1.Deployment {
	c.t.Helper()
	d := &appsv1.Deployment{}
	c.eventually("deployment", func() bool {
		if c.get(name, d) != nil || d.Annotations[v1alpha1.AnnotationStart] != start || *d.Spec.Replicas != replicas {
			return false
		}
		d.Status.ObservedGeneration, d.Status.Replicas = d.Generation, 0
		return c.client.Status().Update(c.t.Context(), d) == nil
	})
	return d
}

// pod makes the Pod of a Deployment's present template.
func (c *cluster) pod(d *appsv1.Deployment) *corev1.Pod {
	c.t.Helper()
	const hash = "5d4f8c7b9"
	controller := true
	pod := &corev1.Pod{ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy(), Spec: *d.Spec.Template.Spec.DeepCopy()}
	pod.Namespace, pod.GenerateName = c.namespace, d.Name+"-"+hash+"-"
	pod.Labels["pod-template-hash"] = hash
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: d.Name + "-" + hash, UID: "rs-" + d.UID, Controller: &controller}}
	require.NoError(c.t, c.client.Create(c.t.Context(), pod))
	return pod
}

func (c *cluster) podStatus(pod *corev1.Pod, change func(*corev1.PodStatus)) {
	c.t.Helper()
	require.NoError(c.t, retry.RetryOnConflict(wait.Backoff{Steps: 12, Duration: 10 * time.Millisecond, Factor: 1.5}, func() error {
		if err := c.client.Get(c.t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		change(&pod.Status)
		return c.client.Status().Update(c.t.Context(), pod)
	}))
}

func (c *cluster) ready(pod *corev1.Pod) {
	c.t.Helper()
	c.podStatus(pod, func(s *corev1.PodStatus) {
		s.Phase = corev1.PodRunning
		s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	})
}

// end deletes a Pod at once, as the kubelet does when its containers ended.
func (c *cluster) end(pod *corev1.Pod) {
	c.t.Helper()
	zero := int64(0)
	require.NoError(c.t, c.client.Delete(c.t.Context(), pod, &client.DeleteOptions{GracePeriodSeconds: &zero}))
}

// event is what scheduler and kubelet record about an object.
func (c *cluster) event(about client.Object, kind, eventType, reason, message, field string) {
	c.t.Helper()
	now := time.Now()
	require.NoError(c.t, c.client.Create(c.t.Context(), &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: fmt.Sprintf("%s.%x", about.GetName(), now.UnixNano())},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: kind, Namespace: c.namespace, Name: about.GetName(), UID: about.GetUID(), FieldPath: field,
		},
		Type: eventType, Reason: reason, Message: message, FirstTimestamp: metav1.NewTime(now), LastTimestamp: metav1.NewTime(now), Count: 1,
	}))
}

func (c *cluster) phase(s *Service, k Key, want v1alpha1.NotebookPhase) State {
	c.t.Helper()
	var state State
	require.Eventually(c.t, func() bool {
		var err error
		state, err = s.State(c.t.Context(), k)
		return err == nil && state.Phase == want
	}, patience, 10*time.Millisecond, "phase %s", want)
	return state
}

// all reads a stream to its end.
func (c *cluster) all(s *Service, k Key, start, after string) []Event {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	stream, err := s.Events(ctx, k, start, after)
	require.NoError(c.t, err)
	var events []Event
	for event := range stream {
		events = append(events, event)
	}
	require.NoError(c.t, ctx.Err(), "the stream did not end by itself: %v", events)
	return events
}

func messages(events []Event) []string {
	var all []string
	for _, event := range events {
		all = append(all, event.Message)
	}
	return all
}

func publicVerifier(t *testing.T, issuer *tokens.Issuer) *tokens.Verifier {
	t.Helper()
	_, err := base64.StdEncoding.DecodeString(issuer.PublicKey())
	require.NoError(t, err)
	verifier, err := tokens.NewVerifier(issuer.PublicKey())
	require.NoError(t, err)
	return verifier
}
