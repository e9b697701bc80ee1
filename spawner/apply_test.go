package spawner

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// TestServerSideApplyOfANotebookNeverConflicts, whatever we have written meanwhile, and reverts
// nothing of that.
func TestServerSideApplyOfANotebookNeverConflicts(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.gateway("default")
	for _, name := range []string{"silent", "running"} { // without stopped, and with stopped: false
		t.Run(name, func(t *testing.T) {
			c := *c
			c.t = t
			nb := fullNotebook(c.namespace, name)
			nb.Spec.Start, nb.Spec.User, nb.Spec.Server, nb.Spec.KernelOptions, nb.Spec.ServiceAccountTokens = "", "", "", nil, nil
			nb.Spec.Template.Spec.ServiceAccountName = ""
			nb.Spec.IdleStop = &v1alpha1.IdleStop{Seconds: ptr.To[int64](3600)}
			nb.Annotations = map[string]string{"team": "blue"}
			fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(nb)
			require.NoError(t, err)
			delete(fields, "status")
			manifest := &unstructured.Unstructured{Object: fields}
			manifest.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("JupyterNotebook"))
			if name == "running" {
				require.NoError(t, unstructured.SetNestedField(fields, false, "spec", "stopped"))
			}
			apply := func(what string) {
				t.Helper()
				err := c.client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(manifest.DeepCopy()), client.FieldOwner("team"))
				require.NoError(t, err, what)
			}
			c.asker.set(func(string) (Activity, error) {
				return Activity{Last: time.Now().Add(-2 * time.Hour), KeepUntil: time.Time{}}, nil
			})
			apply("first")
			stop := c.leader()
			defer stop()
			d := c.deployment(name, "", 1)
			pod := c.pod(d)
			c.ready(pod)
			c.notebook(name, inPhase(v1alpha1.NotebookReady))
			apply("ready")

			// put off, as a page of the server asks
			met, err := newMetrics(prometheus.NewRegistry(), nil)
			require.NoError(t, err)
			controller := &controller{client: c.client, live: c.client, now: time.Now, met: met}
			now := &v1alpha1.JupyterNotebook{}
			c.eventually("asked for", func() bool {
				require.NoError(t, c.get(name, now))
				return controller.keepAsServerSays(t.Context(), now, now.Status.DeepCopy(), time.Now().Add(time.Hour)) == nil
			})
			apply("put off")
			now = c.notebook(name, inPhase(v1alpha1.NotebookReady))
			assert.NotEmpty(t, now.Annotations[v1alpha1.AnnotationSnoozeUntil])

			// stopped automatically
			c.eventually("stopped", func() bool {
				require.NoError(t, c.get(name, now))
				return controller.stop(t.Context(), now, v1alpha1.StopIdle) == nil
			})
			c.deployment(name, "", 0)
			c.end(pod)
			c.notebook(name, inPhase(v1alpha1.NotebookStopped))
			apply("stopped")
			require.NoError(t, c.get(name, now))
			assert.Equal(t, name == "silent", now.Spec.Stopped, "a manifest starts only what it says is not stopped")
			assert.Equal(t, "blue", now.Annotations["team"])

			// started, by that or with kubectl
			require.NoError(t, c.client.Patch(t.Context(), now, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"stopped":false}}`)), client.FieldOwner("kubectl-patch")))
			d = c.deployment(name, "", 1)
			c.notebook(name, func(nb *v1alpha1.JupyterNotebook) bool {
				return nb.Annotations[v1alpha1.AnnotationStopCause] == "" && nb.Annotations[v1alpha1.AnnotationStopTime] == ""
			})
			c.ready(c.pod(d))
			c.notebook(name, inPhase(v1alpha1.NotebookReady))
			apply("started")

			// refused, and mended
			spec := fields["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
			spec["hostNetwork"] = true
			apply("refused")
			c.notebook(name, inPhase(v1alpha1.NotebookFailed))
			delete(spec, "hostNetwork")
			apply("mended")
			c.notebook(name, func(nb *v1alpha1.JupyterNotebook) bool { return nb.Status.Phase != v1alpha1.NotebookFailed })
			apply("at last")
			require.NoError(t, c.get(name, now))
			assert.False(t, now.Spec.Stopped)
			assert.Equal(t, []corev1.Container{{Name: "notebook", Image: "notebook:1"}}, now.Spec.Template.Spec.Containers)
		})
	}
}
