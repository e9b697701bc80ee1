package prepull

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/prepull/imagestate"
	"github.com/elastichub/elastichub/test/webhooks"
)

// TestAWebhookChangesWhatPulls: it puts a sidecar into Pods, and others' tolerations and images into
// DaemonSets. Nothing is applied for ever, nodes have their turns, and it is told how far images are.
func TestAWebhookChangesWhatPulls(t *testing.T) {
	c := newCluster(t)
	webhooks.Mutate(t, c.api, c.config.Namespace, "", "pods", func() *corev1.Pod { return &corev1.Pod{} }, webhooks.Sidecar)
	webhooks.Mutate(t, c.api, c.config.Namespace, "apps", "daemonsets", func() *appsv1.DaemonSet { return &appsv1.DaemonSet{} }, func(d *appsv1.DaemonSet) {
		spec := &d.Spec.Template.Spec
		spec.Tolerations = []corev1.Toleration{{Key: "mesh.example.org/node", Operator: corev1.TolerationOpExists}}
		for i := range spec.Containers {
			spec.Containers[i].Image = "mirror.example.org/lab:3"
		}
	})
	webhooks.Minded(t, c.api, c.config.Namespace)
	p := policy("staff", "lab:3")
	p.Namespace, p.Spec.Default = c.config.Namespace, true
	p.Spec.CPU = v1alpha1.ResourceRange{Min: resource.MustParse("1"), Max: resource.MustParse("1")}
	p.Spec.Memory = v1alpha1.ResourceRange{Min: resource.MustParse("1Gi"), Max: resource.MustParse("1Gi")}
	require.NoError(t, c.api.Create(t.Context(), &p))
	c.start()
	c.eventually("a DaemonSet", func() bool { return len(c.daemonSets()) == 1 })
	d := c.daemonSets()[0]
	assert.Equal(t, []string{"mirror.example.org/lab:3"}, images(&d.Spec.Template.Spec))

	pod := c.pod(&d, "a")
	require.Equal(t, "mesh", pod.Spec.Containers[0].Name)
	c.eventually("its turn", func() bool { return !c.isGated(pod) })
	c.pulled(pod)
	c.eventually("what is told", func() bool {
		told, err := c.viewer.Images(t.Context())
		return err == nil && len(told) == 1 && told[0].Nodes == imagestate.Nodes{Total: 1, Present: 1}
	})
	for i := range 3 { // it is all looked at again
		looked := p.DeepCopy()
		looked.Spec.Priority = int32(i + 1)
		require.NoError(t, c.api.Patch(t.Context(), looked, client.MergeFrom(&p)))
		time.Sleep(2 * gathering)
	}
	now := c.daemonSets()[0]
	assert.Equal(t, d.Generation, now.Generation)
	assert.Equal(t, d.ResourceVersion, now.ResourceVersion, "nothing is written")
	require.NoError(t, c.api.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))
	assert.Nil(t, pod.DeletionTimestamp, "the Pod is not replaced")
}
