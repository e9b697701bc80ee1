package kernels

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
)

func change[T client.Object](c *cluster, name string, into T, f func(T)) {
	c.Helper()
	require.True(c, c.get(name, into))
	before := into.DeepCopyObject().(client.Object)
	f(into)
	require.NoError(c, c.api.Patch(c.ctx, into, client.MergeFrom(before)))
}

// TestIdleTimeReachesRunningKernels, wherever it is said, until it has.
func TestIdleTimeReachesRunningKernels(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw", func(gw *v1alpha1.JupyterGateway) { gw.Spec.CullIdleTimeout = ptr.To[int32](60) })
	c.create(kerneltest.GPUSpec("cpu", 0), kerneltest.GPUSpec("other", 0), kerneltest.Policy("lab", func(k *v1alpha1.PolicyKernels) { k.Allowed = []string{"cpu"} }))
	c.create(kerneltest.Kernel("k", "gw", "cpu", kerneltest.Owned("ann", "lab")))
	pod := c.ready("k", 1, "")
	const ip = "10.0.0.9"
	time.Sleep(100 * time.Millisecond)
	assert.Zero(t, c.agents.state(ip).calls, "it began with what holds")

	told := func(timeout time.Duration, cull bool) {
		t.Helper()
		c.eventually("the agent knows", func() bool {
			a := c.agents.state(ip)
			return a.timeout == timeout && a.cull == cull && a.calls > 0
		})
		c.eventually("and that is noted", func() bool {
			rule := podspec.IdleRule{TimeoutSeconds: int64(timeout.Seconds()), CullConnected: cull, ByKernelSpec: timeout == 0}
			return c.get(pod.Name, pod) && pod.Annotations[v1alpha1.AnnotationIdle] == rule.String()
		})
	}
	change(c, "gw", &v1alpha1.JupyterGateway{}, func(gw *v1alpha1.JupyterGateway) { gw.Spec.CullIdleTimeout = ptr.To[int32](90) })
	told(90*time.Second, true)
	change(c, "gw", &v1alpha1.JupyterGateway{}, func(gw *v1alpha1.JupyterGateway) { gw.Spec.CullConnected = ptr.To(false) })
	told(90*time.Second, false)
	change(c, "lab", &v1alpha1.GroupPolicy{}, func(p *v1alpha1.GroupPolicy) { p.Spec.Kernels.IdleSeconds = 40 })
	told(40*time.Second, false)
	change(c, "cpu", &v1alpha1.JupyterKernelSpec{}, func(ks *v1alpha1.JupyterKernelSpec) { ks.Spec.IdleTimeoutSeconds = ptr.To[int64](0) })
	told(0, false)
	change(c, "k", &v1alpha1.JupyterKernel{}, func(k *v1alpha1.JupyterKernel) { k.Spec.IdleTimeoutSeconds = ptr.To[int64](5) })
	told(5*time.Second, false)

	// kept by hand, as long as its policies have it, and no longer
	snooze := func(until string) func(k *v1alpha1.JupyterKernel) {
		return func(k *v1alpha1.JupyterKernel) {
			k.Annotations = map[string]string{v1alpha1.AnnotationSnoozeUntil: until}
		}
	}
	change(c, "lab", &v1alpha1.GroupPolicy{}, func(p *v1alpha1.GroupPolicy) { p.Spec.SnoozeMaxSeconds = ptr.To[int64](600) })
	time.Sleep(200 * time.Millisecond) // until every cache has it
	change(c, "k", &v1alpha1.JupyterKernel{}, snooze(time.Now().Add(time.Hour).Format(time.RFC3339)))
	c.eventually("the agent keeps it", func() bool {
		limit := c.agents.state(ip).timeout
		return limit >= 9*time.Minute && limit <= 11*time.Minute
	})
	assert.Equal(t, int64(600), c.kernel("k").Status.SnoozedSeconds)
	change(c, "k", &v1alpha1.JupyterKernel{}, snooze(""))
	told(5*time.Second, false)
	assert.Nil(t, c.kernel("k").Status.SnoozedUntil)

	// an agent that does not answer is told when it does, by the next leader too
	c.agents.at(ip, func(a *fakeAgent) { a.silent = true })
	change(c, "k", &v1alpha1.JupyterKernel{}, func(k *v1alpha1.JupyterKernel) { k.Spec.IdleTimeoutSeconds = ptr.To[int64](6) })
	change(c, "gw", &v1alpha1.JupyterGateway{}, func(gw *v1alpha1.JupyterGateway) { gw.Spec.CullConnected = nil })
	c.stop()
	c.agents.at(ip, func(a *fakeAgent) { a.silent = false })
	c.start()
	told(6*time.Second, true)

	// what does not concern it is not told
	var calls int
	c.eventually("the last repetition", func() bool { // by one that saw the Pod before that was noted
		calls = c.agents.state(ip).calls
		time.Sleep(300 * time.Millisecond)
		return c.agents.state(ip).calls == calls
	})
	change(c, "other", &v1alpha1.JupyterKernelSpec{}, func(ks *v1alpha1.JupyterKernelSpec) { ks.Spec.IdleTimeoutSeconds = ptr.To[int64](1) })
	change(c, "gw", &v1alpha1.JupyterGateway{}, func(gw *v1alpha1.JupyterGateway) { gw.Spec.CullIdleTimeout = ptr.To[int32](91) })
	time.Sleep(200 * time.Millisecond)
	assert.Equal(t, calls, c.agents.state(ip).calls)
}

// TestIdleTimeReachesKernelsWhoseKernelSpecIsGone: what that had said goes on, and what it had
// not is as everywhere; also while all is deleted and made again at once.
func TestIdleTimeReachesKernelsWhoseKernelSpecIsGone(t *testing.T) {
	t.Parallel()
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw", func(gw *v1alpha1.JupyterGateway) { gw.Spec.CullIdleTimeout = ptr.To[int32](60) })
	plain, never := kerneltest.GPUSpec("plain", 0), kerneltest.GPUSpec("never", 0)
	plain.Spec.Template = &corev1.ObjectReference{Name: "template"}
	never.Spec.IdleTimeoutSeconds = ptr.To[int64](0)
	template := &v1alpha1.JupyterKernelTemplate{ObjectMeta: metav1.ObjectMeta{Name: "template"}}
	c.create(template, plain, never, kerneltest.Kernel("k1", "gw", "plain"), kerneltest.Kernel("k2", "gw", "never"))
	ready := func(kernel, ip string) {
		c.report(c.pod(kernel, 1), kerneltest.Running(ip, true))
		c.phase(kernel, 1, v1alpha1.KernelReady)
	}
	ready("k1", "10.0.0.1")
	ready("k2", "10.0.0.2")
	culledAt := func(seconds int32) {
		t.Helper()
		change(c, "gw", &v1alpha1.JupyterGateway{}, func(gw *v1alpha1.JupyterGateway) { gw.Spec.CullIdleTimeout = &seconds })
		c.eventually("the agent knows", func() bool {
			return c.agents.state("10.0.0.1").timeout == time.Duration(seconds)*time.Second
		})
		assert.Zero(t, c.agents.state("10.0.0.2").timeout)
	}
	require.NoError(t, c.api.Delete(t.Context(), template))
	culledAt(50)
	require.NoError(t, c.api.Delete(t.Context(), plain))
	require.NoError(t, c.api.Delete(t.Context(), never))
	culledAt(40)
	for _, ks := range []*v1alpha1.JupyterKernelSpec{plain, never} {
		ks.ResourceVersion, ks.UID = "", ""
		c.create(ks)
	}
	culledAt(30)
}
