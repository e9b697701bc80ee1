package spawner

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// TestRestoredWithoutItsSecrets: a server of the Hub waits for a while and is stopped with the
// reason; the Hub's next start is as any. One that is nobody's but its own has all made anew.
func TestRestoredWithoutItsSecrets(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	s := c.replica(true)
	nb := requested(testRequest("lea", "", "s1"))
	nb.ObjectMeta = metav1.ObjectMeta{Namespace: c.namespace, Name: nb.Name, Labels: objectLabels(nb.Name, keyOf(nb)), Annotations: nb.Annotations}
	require.NoError(t, c.client.Create(t.Context(), nb))
	own := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "own"}}
	own.Spec.Gateway = &corev1.ObjectReference{Name: "default"}
	own.Spec.Template = nb.Spec.Template
	require.NoError(t, c.client.Create(t.Context(), own))

	waits := func(nb *v1alpha1.JupyterNotebook) bool {
		return apimeta.IsStatusConditionFalse(nb.Status.Conditions, ConditionEnvironment)
	}
	nb = c.notebook(nb.Name, waits)
	assert.False(t, nb.Spec.Stopped)
	require.NoError(t, retry.RetryOnConflict(retry.DefaultBackoff, func() error { // time passes
		nb = c.notebook(nb.Name, waits)
		waits := apimeta.FindStatusCondition(nb.Status.Conditions, ConditionEnvironment)
		waits.LastTransitionTime = metav1.NewTime(time.Now().Add(-environmentPatience))
		return c.client.Status().Update(t.Context(), nb)
	}))
	nb = c.notebook(nb.Name, inPhase(v1alpha1.NotebookStopped))
	assert.True(t, nb.Spec.Stopped)
	assert.Equal(t, string(v1alpha1.StopEnvironment), nb.Annotations[v1alpha1.AnnotationStopCause])
	assert.Equal(t, "The server was stopped: what JupyterHub had given it is gone. Start it in JupyterHub.", nb.Status.Message)
	assert.Nil(t, apimeta.FindStatusCondition(nb.Status.Conditions, ConditionEnvironment))
	assert.True(t, apierrors.IsNotFound(c.get(nb.Name, &appsv1.Deployment{})))

	require.Eventually(t, func() bool { _, err := s.Start(t.Context(), testRequest("lea", "", "s2")); return err == nil }, patience, 50*time.Millisecond)
	c.deployment(nb.Name, "s2", 1)
	nb = c.notebook(nb.Name, func(nb *v1alpha1.JupyterNotebook) bool { return nb.Annotations[v1alpha1.AnnotationStopCause] == "" })
	assert.False(t, nb.Spec.Stopped)
	c.deployment("own", "", 1)
}
