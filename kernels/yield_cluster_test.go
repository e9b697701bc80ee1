package kernels

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
)

// TestTheLongestIdleYields: who waits for a GPU gets that of the kernel that has
// been idle longest; a busy one is left alone, and so is everybody else.
func TestTheLongestIdleYields(t *testing.T) {
	c := startCluster(t)
	c.node("yield", 4)
	c.gateway("gw")
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.GPUSpec("cpu", 0))
	ip := func(i int) string { return fmt.Sprintf("10.2.0.%d", i) }
	pods := map[int]*corev1.Pod{}
	for i, idle := range []time.Duration{0, time.Hour, 2 * time.Hour, 0, 3 * time.Hour} {
		if i == 0 {
			continue // no kernel
		}
		name := fmt.Sprintf("k%d", i)
		c.create(kerneltest.Kernel(name, "gw", "gpu", kerneltest.Owned(name)))
		pods[i] = c.pod(name, 1)
		c.bind(pods[i], "yield")
		c.agents.at(ip(i), func(a *fakeAgent) { a.idle = idle })
		c.report(pods[i], kerneltest.Running(ip(i), true))
		c.phase(name, 1, v1alpha1.KernelReady)
	}
	c.create(kerneltest.Kernel("waits", "gw", "gpu", kerneltest.Owned("dora")))
	c.eventually("place", func() bool { return c.queue("waits") != nil })
	time.Sleep(1500 * time.Millisecond)
	for i := 1; i <= 4; i++ {
		assert.False(t, c.agents.state(ip(i)).parked, "nobody yields unless the gateway says so")
	}
	// The one that has been idle longer still is kept by hand.
	change(c, "k4", &v1alpha1.JupyterKernel{}, func(k *v1alpha1.JupyterKernel) {
		k.Annotations = map[string]string{v1alpha1.AnnotationSnoozeUntil: time.Now().Add(time.Hour).Format(time.RFC3339)}
	})
	c.eventually("it is kept", func() bool { return c.kernel("k4").Status.SnoozedUntil != nil })
	change(c, "gw", &v1alpha1.JupyterGateway{}, func(gw *v1alpha1.JupyterGateway) { gw.Spec.YieldIdleSeconds = 1 })
	c.eventually("the longest idle yields", func() bool { return c.agents.state(ip(2)).parked })
	time.Sleep(6 * time.Second)
	assert.False(t, c.agents.state(ip(1)).parked, "one is enough")
	assert.False(t, c.agents.state(ip(3)).parked, "it is busy")
	assert.False(t, c.agents.state(ip(4)).parked, "it is kept by hand")
	assert.Equal(t, v1alpha1.KernelQueued, c.kernel("waits").Status.Phase, "its Pod has not ended yet")

	// Not all of its variables can be kept, and a policy wants that: the next one yields.
	c.agents.at(ip(2), func(a *fakeAgent) { a.unyielding = true })
	c.eventually("another yields", func() bool { return c.agents.state(ip(1)).parked })
	assert.Empty(t, c.gauge("elastichub_kernel_yields_total")[""], "none has yet")
	c.agents.at(ip(1), func(a *fakeAgent) { a.unyielding = true })
	c.agents.at(ip(2), func(a *fakeAgent) { a.unyielding, a.parked = false, false })
	c.eventually("it is asked again", func() bool { return c.agents.state(ip(2)).parked })

	c.report(pods[2], kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"Kernel parked, since somebody was waiting for its GPU.","exitCode":0}`))
	k := c.phase("k2", 1, v1alpha1.KernelParked)
	assert.Equal(t, "Kernel parked, since somebody was waiting for its GPU.", k.Status.Message)
	c.pod("waits", 1)
	c.eventually("it is counted", func() bool { return c.gauge("elastichub_kernel_yields_total")[""] == 1 })
}
