package kernels

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
)

// TestJoin: a Pod is joined to the kernel that was promised it, once, and to no
// other, whatever a cache may show.
func TestJoin(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw", warmGateway(1))
	spare := c.warmUp(1, "")[0]
	c.stop()
	claim := func(name string) *v1alpha1.JupyterKernel {
		t.Helper()
		k := kerneltest.Kernel(name, "gw", v1alpha1.DefaultKernelName)
		c.create(k)
		k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelStarting, Run: 1, Warm: spare.Name, PodName: spare.Name}
		require.NoError(t, c.api.Status().Update(t.Context(), k))
		return c.kernel(name)
	}
	r := &kernelReconciler{cfg: c.cfg, client: c.api, live: c.api, now: time.Now, agents: c.agents}

	// what the claim was made for has changed, or the claim is old
	other := claim("other")
	other.Spec.Env = []corev1.EnvVar{{Name: "A", Value: "1"}}
	require.NoError(t, c.api.Update(t.Context(), other))
	_, err := r.join(t.Context(), other)
	assert.ErrorIs(t, err, errLost)
	assert.ErrorContains(t, err, "the kernelspec has changed")
	stale := claim("stale")
	now := stale.DeepCopy()
	now.Status.Warm, now.Status.PodName = "", ""
	require.NoError(t, c.api.Status().Update(t.Context(), now))
	_, err = r.join(t.Context(), stale)
	assert.ErrorIs(t, err, errChanged)
	deleted := claim("deleted")
	require.NoError(t, c.api.Delete(t.Context(), deleted))
	_, err = r.join(t.Context(), deleted)
	assert.ErrorIs(t, err, errChanged)
	pod := &corev1.Pod{}
	require.True(t, c.get(spare.Name, pod))
	assert.True(t, podspec.IsWarm(pod), "none of them has it")

	first, second := claim("first"), claim("second")
	joined, err := r.join(t.Context(), first)
	require.NoError(t, err)
	assert.True(t, metav1.IsControlledBy(joined, first))
	again, err := r.join(t.Context(), first)
	require.NoError(t, err, "repeating it changes nothing")
	assert.Equal(t, joined.ResourceVersion, again.ResourceVersion)
	_, err = r.join(t.Context(), second)
	assert.ErrorIs(t, err, errLost)
	require.True(t, c.get(spare.Name, pod))
	assert.Len(t, pod.OwnerReferences, 1)
	assert.True(t, metav1.IsControlledBy(pod, first))

	// its kernel is deleted: the Pod, in which somebody's code may have run, is nobody's any more
	require.NoError(t, c.api.Delete(t.Context(), first))
	_, err = r.join(t.Context(), second)
	assert.ErrorIs(t, err, errLost)
	require.NoError(t, client.IgnoreNotFound(c.api.Delete(t.Context(), pod, client.GracePeriodSeconds(0))))
	_, err = r.join(t.Context(), second)
	assert.ErrorIs(t, err, errLost)
	assert.ErrorContains(t, err, "gone")
}
