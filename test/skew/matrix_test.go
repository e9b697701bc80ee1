package skew

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/skew"
	"github.com/elastichub/elastichub/test/apiserver"
	"github.com/elastichub/elastichub/test/pythontest"
)

// TestNeighboursOfTwoReleases upgrades a release part by part under a kernel that runs, and rolls
// it back under another, so that each pair of neighbours runs with each release of either:
//
//	service  gateway  agent  wheel
//	former   former   former former   a kernel starts, and goes on to the next table row
//	new      former   former former
//	new      new      former former
//	new      new      former new      the kernel is parked, and returns on an agent of this release
//	new      new      new    new      and so do the next rows, up to the last one
//	former   new      new    new
//	former   former   new    new
//	former   former   former former   a kernel of this release's objects returns on a former agent
func TestNeighboursOfTwoReleases(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS is not set: a kube-apiserver is needed")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no kube-apiserver")
	}
	python := pythontest.Interpreter(t)
	before, now := former(t), present(t)
	require.True(t, skew.Near(before.version, now.version), "%s is kept in test/upgrade beside %s: keep the release before this", before.version, now.version)
	environment := apiserver.Environment(filepath.Join("..", "..", "charts", "elastichub", "crds"))
	cluster, err := environment.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, environment.Stop()) })
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	api, err := client.New(cluster, client.Options{Scheme: scheme})
	require.NoError(t, err)
	w := newWorld(t, api, string(environment.KubeConfig), python)
	require.NoError(t, api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	gateway := &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}}
	require.NoError(t, api.Create(t.Context(), gateway))
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "nb"}}
	nb.Spec.Gateway = &corev1.ObjectReference{Name: gateway.Name}
	nb.Spec.Template = &v1alpha1.PodTemplate{PodTemplateSpec: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "notebook", Image: "notebook:1"}}}}}
	require.NoError(t, api.Create(t.Context(), nb))

	w.runKubelet()
	w.kubelet.use(before)
	w.runService(before)
	w.runGateway(before)
	w.runServer(before)
	var started struct {
		ID string `json:"id"`
	}
	w.call("POST", "/api/kernels", `{}`, &started)
	id := started.ID
	assert.Equal(t, "1", w.cell(id, "x = 1\nprint(x)"), "all of the former release")
	goesOn := func(who string) {
		t.Helper()
		run := w.kernel(id).Status.Run
		assert.Equal(t, "2", w.cell(id, "print(x + 1)"), who)
		assert.Eventually(t, func() bool { return w.kernel(id).Status.Phase == v1alpha1.KernelReady }, patience, often, who)
		assert.Equal(t, run, w.kernel(id).Status.Run, who)
	}
	again := func(r release, who string) {
		t.Helper()
		run := w.kernel(id).Status.Run
		w.kubelet.use(r)
		w.park(id)
		assert.Equal(t, "1", w.cell(id, "x = 1\nprint(x)"), who)
		assert.Equal(t, run+1, w.kernel(id).Status.Run, who)
	}

	// Upgraded, under a kernel that runs.
	told := skew.TellsNone // what the former release tells of itself
	if before.version != skew.Silent {
		told = before.version
	}
	w.runService(now)
	w.hasSeen(w.serviceAt, skew.Agent, told)
	goesOn("this service, a former gateway and agent")
	w.runGateway(now)
	goesOn("this gateway, a former wheel and agent")
	w.hasSeen(w.gatewayHealth, skew.Wheel, told)
	w.hasSeen(w.gatewayHealth, skew.Agent, told)
	w.runServer(now)
	goesOn("this wheel finds the kernel of the former one")
	w.hasSeen(w.gatewayHealth, skew.Wheel, now.version)
	again(now, "a kernel of the former release returns with an agent of this one")

	// Rolled back, under a kernel that runs.
	w.runService(before)
	goesOn("a former service, this gateway and agent")
	w.runGateway(before)
	goesOn("a former gateway, this wheel and agent")
	w.runServer(before)
	goesOn("the former wheel finds the kernel of this one")
	again(before, "a kernel of this release returns with an agent of the former one")
}

// park parks a kernel by hand, and waits for that: the agent of its run is asked by the service.
func (w *world) park(id string) {
	w.t.Helper()
	k := w.kernel(id)
	next := k.DeepCopy()
	next.Spec.Park = &v1alpha1.KernelPark{Run: k.Status.Run, By: "test"}
	require.NoError(w.t, w.api.Patch(w.t.Context(), next, client.MergeFrom(k)))
	require.Eventually(w.t, func() bool { return w.kernel(id).Status.Phase == v1alpha1.KernelParked }, patience, often)
}
