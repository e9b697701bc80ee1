package spawner

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// plain makes a notebook of a template and a token, ready, as kubectl's users have it.
func (c *cluster) plain(name string) (*v1alpha1.JupyterNotebook, *appsv1.Deployment) {
	c.t.Helper()
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: name}}
	nb.Spec.Auth = &v1alpha1.JupyterAuth{Token: ptr.To("t0ken")}
	nb.Spec.Gateway = &corev1.ObjectReference{Name: "default"}
	nb.Spec.Template = &v1alpha1.PodTemplate{}
	nb.Spec.Template.Spec.Containers = []corev1.Container{{Name: "notebook", Image: "notebook:1"}}
	require.NoError(c.t, c.client.Create(c.t.Context(), nb))
	d := c.deployment(name, "", 1)
	c.ready(c.pod(d))
	return c.notebook(name, inPhase(v1alpha1.NotebookReady)), d
}

// TestWhatAServerHasIsRepaired: also while it runs, by whatever it was changed.
func TestWhatAServerHasIsRepaired(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.gateway("default")
	c.replica(true)
	nb, d := c.plain("n1")
	svc := &corev1.Service{}
	require.NoError(t, c.get("n1", svc))
	first := *svc.DeepCopy()

	t.Run("Service edited", func(t *testing.T) {
		change(c, "n1", svc, func(s *corev1.Service) {
			s.Spec.Type, s.Spec.Selector = corev1.ServiceTypeNodePort, map[string]string{"app": "mine"}
			s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}}
			s.Spec.ExternalIPs, s.Labels = []string{"192.0.2.1"}, map[string]string{"team": "blue"}
		})
		c.eventually("as it was", func() bool {
			return c.get("n1", svc) == nil && svc.Spec.Type == corev1.ServiceTypeClusterIP && svc.Spec.Selector[v1alpha1.LabelNotebook] == "n1"
		})
		assert.Equal(t, first.Spec, svc.Spec)
		assert.Equal(t, "blue", svc.Labels["team"], "what is nobody's concern stays")
		assert.Equal(t, v1alpha1.ManagedBy, svc.Labels[v1alpha1.LabelManagedBy])
	})
	t.Run("Service deleted", func(t *testing.T) {
		require.NoError(t, c.client.Delete(t.Context(), svc))
		c.eventually("again", func() bool { return c.get("n1", svc) == nil && svc.UID != first.UID })
		assert.True(t, metav1.IsControlledBy(svc, nb))
	})
	t.Run("Service taken", func(t *testing.T) { // not ready, and its Pod stays
		change(c, "n1", svc, func(s *corev1.Service) { s.OwnerReferences = nil })
		now := c.notebook("n1", inPhase(v1alpha1.NotebookPending))
		assert.Equal(t, string(ReasonNameTaken), now.Status.Reason)
		require.NoError(t, c.get("n1", d))
		assert.EqualValues(t, 1, *d.Spec.Replicas)
		require.NoError(t, c.client.Delete(t.Context(), svc))
		c.notebook("n1", inPhase(v1alpha1.NotebookReady))
	})
	t.Run("Deployment edited", func(t *testing.T) {
		want := d.Spec.Template
		for what, edit := range map[string]func(*appsv1.DeploymentSpec){
			"scaled":  func(s *appsv1.DeploymentSpec) { s.Replicas = ptr.To[int32](0) },
			"image":   func(s *appsv1.DeploymentSpec) { s.Template.Spec.Containers[0].Image = "other" },
			"removed": func(s *appsv1.DeploymentSpec) { s.Template.Spec.Containers[0].Env = nil },
			"added":   func(s *appsv1.DeploymentSpec) { s.Template.Spec.HostNetwork = true },
			"paused":  func(s *appsv1.DeploymentSpec) { s.Paused = true },
		} {
			var edited int64
			change(c, "n1", d, func(d *appsv1.Deployment) { edit(&d.Spec) })
			edited = d.Generation
			c.eventually(what, func() bool { return c.get("n1", d) == nil && d.Generation > edited && madeAs(d) == nil })
			assert.Equal(t, want, d.Spec.Template, what)
			assert.EqualValues(t, 1, *d.Spec.Replicas, what)
			assert.False(t, d.Spec.Paused, what)
		}
	})
	t.Run("restarted", func(t *testing.T) { // kubectl rollout restart deployment n1
		change(c, "n1", d, func(d *appsv1.Deployment) { d.Spec.Template.Annotations[restartedAt] = "2026-01-02T03:04:05Z" })
		restarted := d.Spec.Template
		c.eventually("noted", func() bool { return c.get("n1", d) == nil && madeAs(d) == nil })
		assert.Equal(t, restarted, d.Spec.Template, "no further Pod")
		change(c, "n1", nb, func(nb *v1alpha1.JupyterNotebook) { nb.Spec.MaxRunSeconds = 7200 })
		c.eventually("followed", func() bool {
			return c.get("n1", d) == nil && d.Annotations[v1alpha1.AnnotationGeneration] == "2" && madeAs(d) == nil
		})
		assert.Equal(t, restarted, d.Spec.Template, "nor at an edit that needs none")
	})
	t.Run("annotated", func(t *testing.T) { // by another's tool
		change(c, "n1", d, func(d *appsv1.Deployment) { d.Annotations["tool.example.org/seen"] = "yes" })
		c.eventually("noted", func() bool { return c.get("n1", d) == nil && madeAs(d) == nil })
		assert.Equal(t, "yes", d.Annotations["tool.example.org/seen"])
	})
	t.Run("Deployment deleted", func(t *testing.T) {
		former := d.UID
		require.NoError(t, c.client.Delete(t.Context(), d))
		c.eventually("again", func() bool { return c.get("n1", d) == nil && d.UID != former })
	})
	t.Run("Secrets, for the next Pod", func(t *testing.T) {
		for _, name := range []string{"n1" + gatewaySecretSuffix, "n1" + authSecretSuffix} {
			secret := &corev1.Secret{}
			c.eventually("there", func() bool { return c.get(name, secret) == nil })
			data := secret.Data
			for what, spoil := range map[string]func() error{
				"deleted": func() error { return c.client.Delete(t.Context(), secret) },
				"edited": func() error {
					secret.Data = map[string][]byte{"token": []byte("x")}
					return c.client.Update(t.Context(), secret)
				},
			} {
				require.NoError(t, c.get(name, secret))
				require.NoError(t, spoil())
				var pods corev1.PodList
				require.NoError(t, c.client.List(t.Context(), &pods, client.InNamespace(c.namespace)))
				for i := range pods.Items {
					c.end(&pods.Items[i])
				}
				pod := c.pod(c.deployment("n1", "", 1))
				c.eventually(what, func() bool { return c.get(name, secret) == nil && assert.ObjectsAreEqual(data, secret.Data) })
				c.ready(pod)
				c.notebook("n1", inPhase(v1alpha1.NotebookReady))
			}
		}
	})
}

// TestANotebookThatIsReplaced is made anew at once, as `kubectl replace --force` has it.
func TestANotebookThatIsReplaced(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.gateway("default")
	c.replica(true)
	nb, d := c.plain("n1")
	former := d.UID
	again := nb.DeepCopy()
	again.ObjectMeta = metav1.ObjectMeta{Namespace: c.namespace, Name: "n1"}
	again.Status = v1alpha1.JupyterNotebookStatus{}
	require.NoError(t, c.client.Delete(t.Context(), nb))
	require.NoError(t, c.client.Create(t.Context(), again))
	now := c.notebook("n1", inPhase(v1alpha1.NotebookPending))
	assert.Equal(t, string(ReasonWaitingForRemoval), now.Status.Reason)
	for _, o := range []client.Object{ // the garbage collector's part
		d, &corev1.Service{}, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "n1" + gatewaySecretSuffix}}, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "n1" + authSecretSuffix}},
	} {
		if o.GetName() == "" {
			o.SetName("n1")
		}
		o.SetNamespace(c.namespace)
		require.NoError(t, c.client.Delete(t.Context(), o))
	}
	c.eventually("made anew", func() bool { return c.get("n1", d) == nil && d.UID != former })
	c.ready(c.pod(d))
	c.notebook("n1", inPhase(v1alpha1.NotebookReady))
	require.False(t, apierrors.IsNotFound(c.get("n1", &corev1.Service{})))
}
