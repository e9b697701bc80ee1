package lifecycle

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
	c := kerneltest.NewNamespace(t)
	cfg := podspec.Config{Image: "elastichub:test", ImagePullPolicy: corev1.PullIfNotPresent, KernelImage: "kernel:test", IdleSeconds: 3600}
	gw := &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: "gw"}}
	c.Make(gw)
	warmPod, err := podspec.NewBuilder(cfg).BuildWarm(t.Context(), c, gw, podspec.WarmWant{KernelSpec: v1alpha1.DefaultKernelName}, podspec.NewWarmName())
	require.NoError(t, err)
	c.Make(warmPod)
	claim := func(name string) *v1alpha1.JupyterKernel {
		t.Helper()
		k := kerneltest.Kernel(name, "gw", v1alpha1.DefaultKernelName)
		c.Make(k)
		k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelStarting, Run: 1, Warm: warmPod.Name, PodName: warmPod.Name}
		require.NoError(t, c.Status().Update(t.Context(), k))
		return k
	}
	r := &kernelReconciler{pods: podspec.NewBuilder(cfg), client: c, live: c, now: time.Now}
	join := func(k *v1alpha1.JupyterKernel) (*corev1.Pod, error) {
		in, err := r.pods.Gather(t.Context(), c, k)
		require.NoError(t, err)
		return r.join(t.Context(), k, in, nil)
	}

	// what the claim was made for has changed, or the claim is old
	other := claim("other")
	other.Spec.Env = []corev1.EnvVar{{Name: "A", Value: "1"}}
	require.NoError(t, c.Update(t.Context(), other))
	_, err = join(other)
	assert.ErrorIs(t, err, errWarmPodLost)
	assert.ErrorContains(t, err, "the kernelspec has changed")
	stale := claim("stale")
	now := stale.DeepCopy()
	now.Status.Warm, now.Status.PodName = "", ""
	require.NoError(t, c.Status().Update(t.Context(), now))
	_, err = join(stale)
	assert.ErrorIs(t, err, errChanged)
	deleted := claim("deleted")
	require.NoError(t, c.Delete(t.Context(), deleted))
	_, err = join(deleted)
	assert.ErrorIs(t, err, errChanged)
	pod := &corev1.Pod{}
	require.True(t, c.Find(warmPod.Name, pod))
	assert.True(t, podspec.IsWarm(pod), "none of them has it")

	first, second := claim("first"), claim("second")
	joined, err := join(first)
	require.NoError(t, err)
	assert.True(t, metav1.IsControlledBy(joined, first))
	again, err := join(first)
	require.NoError(t, err, "repeating it changes nothing")
	assert.Equal(t, joined.ResourceVersion, again.ResourceVersion)
	_, err = join(second)
	assert.ErrorIs(t, err, errWarmPodLost)
	require.True(t, c.Find(warmPod.Name, pod))
	assert.Len(t, pod.OwnerReferences, 1)
	assert.True(t, metav1.IsControlledBy(pod, first))

	// its kernel is deleted: the Pod, in which somebody's code may have run, is nobody's any more
	require.NoError(t, c.Delete(t.Context(), first))
	_, err = join(second)
	assert.ErrorIs(t, err, errWarmPodLost)
	require.NoError(t, client.IgnoreNotFound(c.Delete(t.Context(), pod, client.GracePeriodSeconds(0))))
	_, err = join(second)
	assert.ErrorIs(t, err, errWarmPodLost)
	assert.ErrorContains(t, err, "gone")
}
