package spawner

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules/podrulestest"
)

// apply sends a manifest as it is, with unknown fields, as kubectl does.
func (c *cluster) apply(file string) {
	c.t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	require.NoError(c.t, err)
	object := &unstructured.Unstructured{}
	require.NoError(c.t, yaml.Unmarshal(data, &object.Object))
	object.SetNamespace(c.namespace)
	if namespace, found, _ := unstructured.NestedString(object.Object, "spec", "gateway", "namespace"); found && namespace == "hub" {
		require.NoError(c.t, unstructured.SetNestedField(object.Object, c.namespace, "spec", "gateway", "namespace"))
	}
	require.NoError(c.t, c.client.Create(c.t.Context(), object, client.FieldValidation("Strict")))
}

func (c *cluster) notebook(name string, condition func(*v1alpha1.JupyterNotebook) bool) *v1alpha1.JupyterNotebook {
	c.t.Helper()
	nb := &v1alpha1.JupyterNotebook{}
	c.eventually("notebook "+name, func() bool { return c.get(name, nb) == nil && condition(nb) })
	return nb
}

func inPhase(phase v1alpha1.NotebookPhase) func(*v1alpha1.JupyterNotebook) bool {
	return func(nb *v1alpha1.JupyterNotebook) bool { return nb.Status.Phase == phase }
}

// The order of apply does not matter: a notebook runs before its gateway does,
// and need not be started again when that comes.
func TestSamplesOfElasticJupyterOperator(t *testing.T) {
	c := newCluster(t)
	c.replica(true)
	c.apply("ejo-gateway-only.yaml")
	c.apply("ejo-template.yaml")

	d := c.deployment("jupyternotebook-elastic", "", 1)
	c.ready(c.pod(d))
	nb := c.notebook(d.Name, inPhase(v1alpha1.NotebookReady))
	found := apimeta.FindStatusCondition(nb.Status.Conditions, ConditionGateway)
	require.NotNil(t, found)
	assert.Equal(t, metav1.ConditionFalse, found.Status)
	assert.Equal(t, "GatewayMissing", found.Reason)
	assert.Equal(t, "This server has no remote kernels until an administrator creates the JupyterGateway jupytergateway-elastic in the namespace "+c.namespace+".", found.Message)
	c.apply("ejo-gateway.yaml")
	nb = c.notebook(nb.Name, func(nb *v1alpha1.JupyterNotebook) bool {
		return apimeta.IsStatusConditionTrue(nb.Status.Conditions, ConditionGateway)
	})
	generation := d.Generation
	require.NoError(t, c.get(d.Name, d))
	assert.Equal(t, generation, d.Generation, "its Pod stays")
	assert.Equal(t, "http://jupyternotebook-elastic."+c.namespace+".svc:8888", nb.Status.URL)
	assert.Equal(t, nb.Generation, nb.Status.ObservedGeneration)
	assert.Equal(t, v1alpha1.NotebookReady, nb.Status.Phase)
	assert.True(t, apimeta.IsStatusConditionTrue(nb.Status.Conditions, ConditionReady))

	// A gateway that is taken away stops nobody.
	require.NoError(t, c.client.Delete(t.Context(), &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "jupytergateway-elastic"}}))
	nb = c.notebook(nb.Name, func(nb *v1alpha1.JupyterNotebook) bool {
		return apimeta.IsStatusConditionFalse(nb.Status.Conditions, ConditionGateway)
	})
	assert.Equal(t, v1alpha1.NotebookReady, nb.Status.Phase)

	simple := c.deployment("jupyternotebook-simple", "", 1)
	assert.Equal(t, "simple", simple.Spec.Template.Labels["notebook"])
	assert.NotContains(t, simple.Spec.Selector.MatchLabels, "notebook")
	// kubectl edit makes a new template, kubectl patch stopped takes the Pod away.
	var edited v1alpha1.JupyterNotebook
	change(c, "jupyternotebook-simple", &edited, func(nb *v1alpha1.JupyterNotebook) {
		nb.Spec.Template.Spec.Containers[0].Image = "jupyter/base-notebook:next"
	})
	c.eventually("new image", func() bool {
		return c.get("jupyternotebook-simple", simple) == nil && simple.Spec.Template.Spec.Containers[0].Image == "jupyter/base-notebook:next"
	})
	require.NoError(t, c.client.Patch(t.Context(), &edited, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"stopped":true}}`))))
	c.deployment("jupyternotebook-simple", "", 0)
	c.notebook("jupyternotebook-simple", inPhase(v1alpha1.NotebookStopped))
}

// An upgrade of elastichub, which builds other templates, restarts nobody.
func TestRunningPodIsLeftAlone(t *testing.T) {
	c := newCluster(t)
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "hana"}}
	nb.Spec.Template = &v1alpha1.PodTemplate{}
	nb.Spec.Template.Spec.Containers = []corev1.Container{{Name: "notebook"}}
	require.NoError(t, c.client.Create(t.Context(), nb))
	for _, marked := range []bool{true, false} { // by the release before, or by one that made no mark
		built := deployment(c.cfg, nb, "", tokenAlone(nb))
		built.Name, built.Spec.Template.Annotations["from"] = nb.Name, "another version"
		if marked {
			mark(built, 1, built.Spec)
		}
		require.NoError(t, c.client.Create(t.Context(), built))
		c.ready(c.pod(built))
		stop := c.leader()
		c.notebook(nb.Name, inPhase(v1alpha1.NotebookReady))
		time.Sleep(300 * time.Millisecond)
		require.NoError(t, c.get(built.Name, built))
		assert.Equal(t, int64(1), built.Generation)
		assert.Equal(t, "another version", built.Spec.Template.Annotations["from"])
		stop()
		require.NoError(t, c.client.Delete(t.Context(), built))
	}
}

// A former release built what this one refuses: it runs on, and only what is
// asked for next is refused.
func TestRefusalTakesNoRunningServerAway(t *testing.T) {
	c := newCluster(t)
	nfs := corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "nfs", Path: "/"}}}
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "former"}}
	nb.Spec.Template = &v1alpha1.PodTemplate{}
	nb.Spec.Template.Spec.Containers = []corev1.Container{{Name: "notebook", Image: "notebook:1"}}
	nb.Spec.Template.Spec.Volumes = []corev1.Volume{nfs}
	require.NoError(t, c.client.Create(t.Context(), nb))
	built := deployment(c.cfg, nb, "", tokenAlone(nb))
	require.NoError(t, c.client.Create(t.Context(), built))
	c.ready(c.pod(built))
	c.replica(true)
	c.notebook("former", inPhase(v1alpha1.NotebookReady))

	change(c, "former", nb, func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Template.Spec.Containers[0].Image = "notebook:2" })
	failed := c.notebook("former", inPhase(v1alpha1.NotebookFailed))
	assert.Equal(t, "TemplateRefused", failed.Status.Reason)
	assert.Contains(t, failed.Status.Message, "spec.template.spec.volumes[0]: ")
	c.deployment("former", "", 0)
}

func TestPodRefusedByQuota(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	s := c.replica(true)
	req := testRequest("ivan", "", "s1")
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	d := c.deployment("jupyter-ivan", "s1", 1)
	d.Status.Conditions = []appsv1.DeploymentCondition{{
		Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate",
		Message: `pods "jupyter-ivan-1" is forbidden: exceeded quota: compute`,
	}}
	require.NoError(t, c.client.Status().Update(t.Context(), d))
	state := c.phase(s, req.Key, v1alpha1.NotebookFailed)
	assert.Equal(t, "PodRefused", state.Reason)
	assert.Contains(t, state.Message, "exceeded quota: compute")
}

func TestNothingOfOthersIsAdopted(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	foreign := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "jupyter-judy"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	require.NoError(t, c.client.Create(t.Context(), foreign))
	s := c.replica(true)
	req := testRequest("judy", "", "s1")
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	state := c.phase(s, req.Key, v1alpha1.NotebookFailed)
	assert.Equal(t, "NameTaken", state.Reason)
	require.NoError(t, c.get("jupyter-judy", foreign))
	assert.Equal(t, int32(80), foreign.Spec.Ports[0].Port)
	assert.Empty(t, foreign.OwnerReferences)
}

// A Secret written for another start is not what this one runs with.
func TestEnvironmentOfAnotherStartIsNotUsed(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	s := c.replica(true)
	stale := envSecret(c.cfg, testRequest("kim", "", "s0"), "jupyter-kim")
	nb := requested(testRequest("kim", "", "s1"))
	nb.ObjectMeta = metav1.ObjectMeta{Namespace: c.namespace, Name: nb.Name, Labels: objectLabels(nb.Name, keyOf(nb))}
	require.NoError(t, c.client.Create(t.Context(), stale))
	require.NoError(t, c.client.Create(t.Context(), nb))
	c.notebook(nb.Name, func(nb *v1alpha1.JupyterNotebook) bool {
		return nb.Status.Phase == v1alpha1.NotebookPending && nb.Status.Reason == "WaitingForEnvironment"
	})
	assert.True(t, apierrors.IsNotFound(c.get(nb.Name, &appsv1.Deployment{})))
	// The repeated request repairs it.
	_, err := s.Start(t.Context(), testRequest("kim", "", "s1"))
	require.NoError(t, err)
	c.deployment(nb.Name, "s1", 1)
}

// TestWritesKeepWhatThisReleaseDoesNotKnow: in a roll-out the replicas of two
// releases write the same objects.
func TestWritesKeepWhatThisReleaseDoesNotKnow(t *testing.T) {
	c := newCluster(t)
	podrulestest.AddLaterField(t, c.client, "jupyternotebooks")
	c.gateway("default")
	s := c.replica(true)
	req := testRequest("mia", "", "s1")
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	observed := func(nb *v1alpha1.JupyterNotebook) bool { return nb.Status.ObservedGeneration == nb.Generation }
	c.ready(c.pod(c.deployment("jupyter-mia", "s1", 1)))
	nb := c.notebook("jupyter-mia", inPhase(v1alpha1.NotebookReady))
	podrulestest.SetLaterFields(t, c.client, nb)
	c.notebook("jupyter-mia", observed)

	require.NoError(t, s.Stop(t.Context(), req.Key))
	c.deployment("jupyter-mia", "s1", 0)
	req.Start, req.MaxRunSeconds = "s2", 3600
	require.Eventually(t, func() bool { _, err := s.Start(t.Context(), req); return err == nil }, patience, 50*time.Millisecond)
	c.deployment("jupyter-mia", "s2", 1)
	nb = c.notebook("jupyter-mia", observed)
	assert.Equal(t, "s2", nb.Spec.Start)
	assert.Equal(t, v1alpha1.ConditionReady, nb.Status.Conditions[0].Type)
	podrulestest.AssertLaterFields(t, c.client, nb)
}
