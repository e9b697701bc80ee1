package kernels

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
)

// TestTakenBeforeItWasReady: what has not begun is begun again by itself, a
// few times.
func TestTakenBeforeItWasReady(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw")
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.Kernel("k", "gw", "gpu"))
	pod := c.pod("k", 1)
	c.bind(pod, "far")
	first := pod.UID
	c.report(pod, failed("UnexpectedAdmissionError", "Allocate failed due to no healthy devices present"))
	c.eventually("another Pod", func() bool { return c.get("k-1", pod) && pod.UID != first && pod.DeletionTimestamp == nil })
	k := c.phase("k", 1, v1alpha1.KernelStarting)
	assert.Equal(t, int32(1), k.Status.Failures)

	second := pod.UID
	require.NoError(t, c.api.Delete(t.Context(), pod, client.GracePeriodSeconds(0)))
	c.eventually("a pause, and the reason", func() bool {
		k = c.kernel("k")
		return k.Status.Phase == v1alpha1.KernelQueued && k.Status.NotBefore != nil
	})
	assert.Equal(t, "The kernel's Pod was deleted. It is tried again.", k.Status.Message)
	assert.Empty(t, k.Status.Held)
	c.eventually("a third Pod", func() bool { return c.get("k-1", pod) && pod.UID != second && pod.DeletionTimestamp == nil })
	c.report(pod, kerneltest.Running("10.0.0.9", true))
	k = c.phase("k", 1, v1alpha1.KernelReady)
	assert.Empty(t, k.Status.Message)

	// what was taken once it was ready is not
	c.report(pod, failed("Evicted", "low on memory"))
	k = c.phase("k", 1, v1alpha1.KernelDead)
	assert.Equal(t, v1alpha1.CauseEvicted, k.Status.Cause)
}

// TestDeletedOnItsWay: a kernel that is deleted before it is ready leaves
// nothing and holds up nobody.
func TestDeletedOnItsWay(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw")
	pool := int32(1)
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.Policy("research", func(k *v1alpha1.PolicyKernels) {
		k.Allowed, k.GPUsPerKernel, k.GPUsPerUser, k.GPUPool = []string{"gpu"}, 1, 1, &pool
	}))
	for _, name := range []string{"starts", "waits", "last"} {
		c.create(kerneltest.Kernel(name, "gw", "gpu", kerneltest.Owned(name, "research")))
		if name == "starts" {
			c.pod(name, 1)
		} else {
			c.eventually("place of "+name, func() bool { return c.queue(name) != nil })
		}
	}
	require.NoError(t, c.api.Delete(t.Context(), c.kernel("waits")))
	c.eventually("last moves up", func() bool { q := c.queue("last"); return q.Position == 1 && q.Length == 1 })
	pod := c.pod("starts", 1)
	require.NoError(t, c.api.Delete(t.Context(), c.kernel("starts")))
	c.gone(pod) // it never ran: nothing has to end first
	c.gone(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "starts-1"}})
	c.pod("last", 1)
	assert.False(t, c.get("waits-1", &corev1.Pod{}))
}
