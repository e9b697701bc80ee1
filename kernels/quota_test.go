package kernels

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/lifecycle"
)

// TestAQuotaIsWaitedOut: a kernel that a ResourceQuota does not let in waits in its place, holds nothing
// and writes nothing, and starts when there is room.
func TestAQuotaIsWaitedOut(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw")
	quota := c.quota("0")
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.Kernel("k", "gw", "gpu"))
	var k *v1alpha1.JupyterKernel
	c.eventually("it waits for the quota", func() bool {
		k = c.kernel("k")
		return meta.IsStatusConditionFalse(k.Status.Conditions, lifecycle.ConditionTaken)
	})
	assert.Equal(t, v1alpha1.KernelQueued, k.Status.Phase)
	assert.Equal(t, "QuotaExceeded", k.Status.Reason)
	assert.Equal(t, "Waiting: the quota team of its namespace leaves too little: it asks for 1 more of pods, of which 0 of 0 are used. "+
		"Choose less, stop what is not needed there, or have an administrator raise the quota.", k.Status.Message)
	assert.Empty(t, k.Status.Held)
	assert.False(t, c.get("k-1", &corev1.Pod{}))

	version := k.ResourceVersion
	time.Sleep(6 * time.Second) // it asks every five
	assert.Equal(t, version, c.kernel("k").ResourceVersion, "to wait writes nothing")

	c.hard(quota, "5")
	pod := c.pod("k", 1)
	c.report(pod, kerneltest.Running("10.0.0.9", true))
	k = c.phase("k", 1, v1alpha1.KernelReady)
	assert.Empty(t, k.Status.Message)
	assert.Empty(t, k.Status.Reason)
	assert.Zero(t, k.Status.Failures)
}

// quota bounds the Pods of the test's namespace.
func (c *cluster) quota(pods string) *corev1.ResourceQuota {
	c.Helper()
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "team"}}
	require.NoError(c, c.api.Create(c.Context(), quota))
	c.hard(quota, pods)
	return quota
}

// hard plays the controller of quotas, too, and waits until the API server minds it.
func (c *cluster) hard(quota *corev1.ResourceQuota, pods string) {
	c.Helper()
	quota.Spec.Hard = corev1.ResourceList{corev1.ResourcePods: resource.MustParse(pods)}
	require.NoError(c, c.api.Update(c.Context(), quota))
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}}
	require.NoError(c, c.api.Status().Update(c.Context(), quota))
	full := pods == "0"
	c.eventually("the API server minds the quota", func() bool {
		probe := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "probe"}}
		probe.Spec.Containers = []corev1.Container{{Name: "probe", Image: "probe"}}
		return apierrors.IsForbidden(c.api.Create(c.Context(), probe, client.DryRunAll)) == full
	})
}
