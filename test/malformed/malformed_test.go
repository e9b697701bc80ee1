// Package malformed holds objects that cannot be read against everything that reads
// them: whatever is in etcd, all other objects go on.
package malformed

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	runtimeconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups/policystatus"
	"github.com/elastichub/elastichub/kernels"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/agent/remote"
	"github.com/elastichub/elastichub/kernels/gateway"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/test/apiserver"
	"github.com/elastichub/elastichub/tokens"
)

const patience = time.Minute

// world is a namespace of a real API server whose kinds can be opened.
type world struct {
	testing.TB
	config *rest.Config
	// kubeconfig leads another process to the same API server.
	kubeconfig string
	api        client.Client
	scheme     *runtime.Scheme
	namespace  string
	patience   time.Duration
}

func newWorld(t testing.TB) *world {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS is not set: a kube-apiserver is needed")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no kube-apiserver")
	}
	ctrl.SetLogger(logr.Discard())
	if os.Getenv("TEST_LOG") != "" {
		ctrl.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, nil)))
	}
	config, kubeconfig := apiServer(t)
	w := inNamespace(t, config)
	w.kubeconfig = kubeconfig
	return w
}

// inNamespace is a new namespace of an API server.
func inNamespace(t testing.TB, config *rest.Config) *world {
	t.Helper()
	config.QPS, config.Burst = 500, 1000
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	api, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "malformed-"}}
	require.NoError(t, api.Create(t.Context(), namespace))
	return &world{TB: t, config: config, api: api, scheme: scheme, namespace: namespace.Name, patience: patience}
}

// apiServer starts an API server that ends with the test.
func apiServer(t testing.TB) (config *rest.Config, kubeconfig string) {
	t.Helper()
	environment := apiserver.Environment(filepath.Join("..", "..", "charts", "elastichub", "crds"))
	// Nobody collects the Services of objects that were deleted: each keeps its address.
	environment.ControlPlane.GetAPIServer().Configure().Set("service-cluster-ip-range", "10.0.0.0/16")
	config, err := environment.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, environment.Stop()) })
	return config, string(environment.KubeConfig)
}

func (w *world) eventually(what string, is func() bool) {
	w.Helper()
	require.Eventually(w, is, w.patience, 20*time.Millisecond, what)
}

var crdKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// open lets anything pass as an object of our kinds, until what it returns is called.
func (w *world) open() (closeAgain func()) {
	w.Helper()
	var crds unstructured.UnstructuredList
	crds.SetGroupVersionKind(crdKind.GroupVersion().WithKind(crdKind.Kind + "List"))
	require.NoError(w, w.api.List(w.Context(), &crds))
	require.Len(w, crds.Items, 6)
	former := map[string]any{}
	set := func(name string, as func(version map[string]any)) {
		w.eventually("schema of "+name, func() bool {
			crd := &unstructured.Unstructured{}
			crd.SetGroupVersionKind(crdKind)
			require.NoError(w, w.api.Get(w.Context(), client.ObjectKey{Name: name}, crd))
			versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
			require.NoError(w, err)
			as(versions[0].(map[string]any))
			require.NoError(w, unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions"))
			return w.api.Update(w.Context(), crd) == nil
		})
	}
	for i := range crds.Items {
		name := crds.Items[i].GetName()
		set(name, func(version map[string]any) {
			former[name] = version["schema"]
			version["schema"] = map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}}
		})
	}
	return func() {
		for name, was := range former {
			set(name, func(version map[string]any) { version["schema"] = was })
		}
		// The API server takes a moment; a spec that is a list is refused then.
		for kind := range kinds {
			w.eventually("refusal", func() bool {
				o := w.object(kind, "probe", []any{})
				return w.api.Create(w.Context(), o, client.DryRunAll) != nil
			})
		}
	}
}

// kinds are ours, with what reads one of them.
var kinds = map[string]func() client.Object{
	"JupyterNotebook":       func() client.Object { return &v1alpha1.JupyterNotebook{} },
	"JupyterGateway":        func() client.Object { return &v1alpha1.JupyterGateway{} },
	"JupyterKernel":         func() client.Object { return &v1alpha1.JupyterKernel{} },
	"JupyterKernelSpec":     func() client.Object { return &v1alpha1.JupyterKernelSpec{} },
	"JupyterKernelTemplate": func() client.Object { return &v1alpha1.JupyterKernelTemplate{} },
	"GroupPolicy":           func() client.Object { return &v1alpha1.GroupPolicy{} },
}

func (w *world) object(kind, name string, spec any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	o.SetNamespace(w.namespace)
	o.SetName(name)
	return o
}

// write creates an object, or gives an existing one that spec. A schema that was
// opened a moment ago may not be yet.
func (w *world) write(kind, name string, spec any) {
	w.Helper()
	o := w.object(kind, name, spec)
	var last error
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		now := o.DeepCopy()
		if err := w.api.Get(w.Context(), client.ObjectKeyFromObject(o), now); err == nil {
			now.Object["spec"] = spec
			last = w.api.Update(w.Context(), now)
		} else {
			last = w.api.Create(w.Context(), o.DeepCopy())
		}
		if last == nil {
			return
		}
	}
	require.NoError(w, last, "%s %s", kind, name)
}

// readers are what the service and a gateway know, each from its own cache.
type readers struct{ service, gateway client.Reader }

// serve runs all controllers of the service, and the caches of a gateway, until
// what it returns is called.
func (w *world) serve() (known readers, stop func()) {
	w.Helper()
	skip := true
	mgr, err := ctrl.NewManager(w.config, ctrl.Options{
		Scheme: w.scheme, Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{w.namespace: {}}},
		Metrics: metricsserver.Options{BindAddress: "0"}, Controller: runtimeconfig.Controller{SkipNameValidation: &skip},
	})
	require.NoError(w, err)
	issuer, err := tokens.NewIssuer(make([]byte, ed25519.SeedSize))
	require.NoError(w, err)
	registry := prometheus.NewRegistry()
	servers := spawner.Config{Namespace: w.namespace, DefaultImage: "notebook:1", ImagePullPolicy: corev1.PullIfNotPresent, GatewayName: "good"}
	service, err := spawner.NewService(w.Context(), servers, mgr.GetClient(), mgr.GetAPIReader(), mgr.GetCache())
	require.NoError(w, err)
	require.NoError(w, service.SetupWithManager(mgr, issuer, nobody{}, nil, registry))
	require.NoError(w, policystatus.SetupWithManager(mgr, namespaces.Only(w.namespace)))
	_, err = kernels.SetupWithManager(mgr, kernels.Config{
		Namespace: w.namespace, Tokens: issuer,
		Pods: podspec.Config{Image: "elastichub:1", ImagePullPolicy: corev1.PullIfNotPresent, KernelImage: "kernel:1", IdleSeconds: 3600},
	}, remote.NewCaller(protocol.Port, nil), registry)
	require.NoError(w, err)

	view, err := gateway.NewCluster(w.config, gateway.Config{Namespace: w.namespace})
	require.NoError(w, err)
	for kind, make := range kinds {
		if kind == "JupyterKernelTemplate" {
			continue // a gateway reads none
		}
		_, err := view.Cache.GetInformer(w.Context(), make(), cache.BlockUntilSynced(false))
		require.NoError(w, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- mgr.Start(ctx) }()
	go func() { ended <- view.Cache.Start(ctx) }()
	stop = func() {
		cancel()
		assert.NoError(w, errors.Join(<-ended, <-ended))
	}
	syncing, done := context.WithTimeout(ctx, patience)
	defer done()
	require.True(w, mgr.GetCache().WaitForCacheSync(syncing), "the service does not come up")
	require.True(w, view.Cache.WaitForCacheSync(syncing), "the gateway does not come up")
	w.eventually("the service answers the Hub", func() bool { _, err := service.States(ctx); return err == nil })
	return readers{mgr.GetCache(), view.Cache}, stop
}

type nobody struct{}

func (nobody) Ask(context.Context, spawner.Access) (spawner.Activity, error) {
	return spawner.Activity{}, errors.New("nobody answers")
}

func (nobody) Forewarn(context.Context, spawner.Access, spawner.Forewarning) error {
	return errors.New("nobody answers")
}

// converges makes one good object of each kind and waits until each has become
// what it is to be.
func (w *world) converges(suffix string) {
	w.Helper()
	named := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: w.namespace, Name: name + suffix}
	}
	template := &v1alpha1.JupyterKernelTemplate{ObjectMeta: named("template")}
	ks := &v1alpha1.JupyterKernelSpec{ObjectMeta: named("spec"), Spec: v1alpha1.JupyterKernelSpecSpec{Image: "x", Template: &corev1.ObjectReference{Name: "template" + suffix}}}
	gw := &v1alpha1.JupyterGateway{ObjectMeta: named("gw"), Spec: v1alpha1.JupyterGatewaySpec{Kernels: []string{"spec" + suffix}}}
	k := &v1alpha1.JupyterKernel{ObjectMeta: named("kernel"), Spec: v1alpha1.JupyterKernelCRDSpec{Gateway: "gw" + suffix, KernelSpec: "spec" + suffix, Run: 1}}
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: named("notebook"), Spec: v1alpha1.JupyterNotebookSpec{Template: &v1alpha1.PodTemplate{}}}
	one, gib := resource.MustParse("1"), resource.MustParse("1Gi")
	policy := &v1alpha1.GroupPolicy{ObjectMeta: named("policy"), Spec: v1alpha1.GroupPolicySpec{
		Groups: []string{"g"}, CPU: v1alpha1.ResourceRange{Min: one, Max: one}, Memory: v1alpha1.ResourceRange{Min: gib, Max: gib},
		Images: []v1alpha1.ImageChannel{{ID: "a", Image: "x"}},
	}}
	for _, o := range []client.Object{template, ks, gw, k, nb, policy} {
		require.NoError(w, w.api.Create(w.Context(), o), "%T", o)
	}
	w.eventually("notebook"+suffix, func() bool { return w.has("notebook"+suffix, &appsv1.Deployment{}) })
	w.eventually("gateway"+suffix, func() bool { return w.has("gw"+suffix, &appsv1.Deployment{}) })
	w.eventually("kernel"+suffix, func() bool { return w.has("kernel"+suffix+"-1", &corev1.Pod{}) })
	for kind, name := range map[string]string{"JupyterKernelSpec": "spec", "JupyterKernelTemplate": "template", "GroupPolicy": "policy"} {
		w.eventually(kind, func() bool {
			ready := w.ready(kind, name+suffix)
			return ready != nil && ready.Status == metav1.ConditionTrue
		})
	}
}

func (w *world) has(name string, into client.Object) bool {
	return w.api.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, into) == nil
}

// ready is the condition Ready of an object, nil if it has none.
func (w *world) ready(kind, name string) *metav1.Condition {
	o := w.object(kind, name, nil)
	if w.api.Get(w.Context(), client.ObjectKeyFromObject(o), o) != nil {
		return nil
	}
	var status struct {
		Conditions []metav1.Condition `json:"conditions"`
	}
	text, err := json.Marshal(o.Object["status"])
	require.NoError(w, err)
	if json.Unmarshal(text, &status) != nil {
		return nil
	}
	return meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
}

// malformedEvents counts what Events tell, by kind and name of the object.
func (w *world) malformedEvents() map[string]int {
	var events corev1.EventList
	require.NoError(w, w.api.List(w.Context(), &events, client.InNamespace(w.namespace)))
	of := map[string]int{}
	for _, e := range events.Items {
		if e.Reason == string(v1alpha1.ReasonMalformed) && e.EventTime.IsZero() { // those of package health go with a status
			of[e.InvolvedObject.Kind+" "+e.InvolvedObject.Name] += int(e.Count)
		}
	}
	return of
}

// bad is an object of testdata/objects.yaml.
type bad struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Spec any    `json:"spec"`
}

func corpus(t testing.TB) []bad {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "objects.yaml"))
	require.NoError(t, err)
	var all []bad
	require.NoError(t, yaml.UnmarshalStrict(text, &all))
	of := map[string]int{}
	for _, b := range all {
		of[b.Kind]++
		o := kinds[b.Kind]()
		spec, err := json.Marshal(map[string]any{"spec": b.Spec})
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(spec, o))
		assert.Error(t, o.(interface{ Malformed() error }).Malformed(), "%s %s can be read", b.Kind, b.Name)
	}
	assert.Len(t, of, len(kinds))
	assert.GreaterOrEqual(t, len(all), 100)
	return all
}

// TestNoObjectHurtsAnother: with a hundred objects that cannot be read the service and
// the gateway come up, and again; each of them says so in its status, or an Event says it,
// and stays as it is; everything else goes on, and they do when they are mended.
func TestNoObjectHurtsAnother(t *testing.T) {
	all := corpus(t)
	w := newWorld(t)
	closeAgain := w.open()
	written := map[string]string{}
	for _, b := range all {
		w.write(b.Kind, b.Name, b.Spec)
	}
	closeAgain()
	for _, b := range all { // as it is read: what has no place in the schema is left out
		o := w.object(b.Kind, b.Name, nil)
		require.NoError(t, w.api.Get(t.Context(), client.ObjectKeyFromObject(o), o))
		written[b.Kind+" "+b.Name] = text(t, o.Object["spec"])
	}

	_, stop := w.serve()
	w.converges("-1")
	told := func(b bad) bool {
		ready := w.ready(b.Kind, b.Name)
		return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == string(v1alpha1.ReasonMalformed)
	}
	// The API server evaluates rules at a write of the status, too, and fails where
	// one of them looks at what has another type, wherever in the schema it stands
	// and whatever it asks before. An Event tells of those.
	takesStatus := func(b bad) bool {
		probe := client.RawPatch("application/merge-patch+json", []byte(`{"status": {"observedGeneration": 99}}`))
		return !apierrors.IsInvalid(w.api.Status().Patch(t.Context(), w.object(b.Kind, b.Name, nil), probe, client.DryRunAll))
	}
	silent := all
	for until := time.Now().Add(patience); time.Now().Before(until) && len(silent) > 0; time.Sleep(50 * time.Millisecond) {
		events := w.malformedEvents()
		silent = slices.DeleteFunc(slices.Clone(silent), func(b bad) bool { return told(b) || events[b.Kind+" "+b.Name] > 0 })
	}
	for _, b := range silent {
		t.Errorf("nobody says that %s %s is malformed", b.Kind, b.Name)
	}
	events, byEvent := w.malformedEvents(), 0
	once := func() {
		for name, n := range w.malformedEvents() {
			assert.Equal(t, 1, n, "events of %s", name)
		}
	}
	for _, b := range all {
		if events[b.Kind+" "+b.Name] > 0 {
			byEvent++
			assert.False(t, takesStatus(b), "%s %s could have said so itself", b.Kind, b.Name)
		}
	}
	once()
	t.Logf("%d objects, %d of them by an Event, as the API server takes no status", len(all), byEvent)
	assert.LessOrEqual(t, byEvent, 24) // each rule of a CRD that looks at a malformed field keeps the API server from taking a status
	stop()
	_, stop = w.serve() // a restart
	defer func() { stop() }()
	w.converges("-2")
	for _, b := range all {
		o := w.object(b.Kind, b.Name, nil)
		require.NoError(t, w.api.Get(t.Context(), client.ObjectKeyFromObject(o), o))
		assert.Equal(t, written[b.Kind+" "+b.Name], text(t, o.Object["spec"]), "%s %s was changed", b.Kind, b.Name)
	}
	once()

	// one of each kind is mended
	mended := map[string]string{
		"JupyterNotebook": `{"template": {}}`, "JupyterGateway": `{}`, "JupyterKernelSpec": `{"image": "x"}`, "JupyterKernelTemplate": `{}`,
		"GroupPolicy":   `{"groups": ["g"], "cpu": {"min": 1, "max": 1}, "memory": {"min": 1, "max": 1}, "images": [{"id": "a", "image": "x"}]}`,
		"JupyterKernel": `{"gateway": "gw-1", "kernelSpec": "spec-1", "run": 2}`,
	}
	for _, b := range all {
		spec, left := mended[b.Kind]
		if !left || strings.HasPrefix(b.Name, "user") {
			continue
		}
		delete(mended, b.Kind)
		var to any
		require.NoError(t, json.Unmarshal([]byte(spec), &to))
		if b.Kind == "JupyterKernel" { // whose a kernel is cannot be changed
			require.NoError(t, w.api.Delete(t.Context(), w.object(b.Kind, b.Name, nil)))
		}
		w.write(b.Kind, b.Name, to)
		w.eventually("mended "+b.Kind, func() bool {
			ready := w.ready(b.Kind, b.Name)
			return ready != nil && ready.Reason != string(v1alpha1.ReasonMalformed)
		})
	}
}

func text(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}
