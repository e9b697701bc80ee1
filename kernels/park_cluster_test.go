package kernels

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
)

func (c *cluster) askPark(name string, wish v1alpha1.KernelPark) {
	c.Helper()
	k := c.kernel(name)
	before := k.DeepCopy()
	k.Spec.Park = &wish
	require.NoError(c, c.api.Patch(c.ctx, k, client.MergeFrom(before)))
}

func TestParkedByHand(t *testing.T) {
	c := startCluster(t)
	c.node("park", 1)
	c.gateway("gw")
	first := kerneltest.Kernel("k1", "gw", "gpu")
	first.Spec.User = "alice"
	c.create(kerneltest.GPUSpec("gpu", 1), first)
	pod := c.ready("k1", 1, "park")

	// one that waits gives up its place
	c.create(kerneltest.Kernel("k2", "gw", "gpu"))
	c.eventually("k2 waits", func() bool { return c.kernel("k2").Status.Queue != nil })
	c.askPark("k2", v1alpha1.KernelPark{Run: 1, By: "root"})
	k := c.phase("k2", 1, v1alpha1.KernelParked)
	assert.Equal(t, "The kernel was parked by root.", k.Status.Message)
	assert.Nil(t, k.Status.Queue)

	// another run's wish means nothing
	c.askPark("k1", v1alpha1.KernelPark{Run: 7, Force: true})
	c.create(kerneltest.Kernel("k3", "gw", "gpu"))
	c.eventually("k3 waits", func() bool { return c.kernel("k3").Status.Queue != nil })
	assert.Equal(t, v1alpha1.KernelReady, c.kernel("k1").Status.Phase)
	assert.False(t, c.agents.state("10.0.0.9").parked)

	// a busy kernel goes on, and its agent is asked again
	c.askPark("k1", v1alpha1.KernelPark{Run: 1, By: "alice"})
	c.eventually("the agent is asked", func() bool { return c.agents.state("10.0.0.9").parkCalls > 0 })
	assert.Equal(t, v1alpha1.KernelReady, c.kernel("k1").Status.Phase)
	c.agents.at("10.0.0.9", func(a *fakeAgent) { a.idle = time.Second })
	c.eventually("the agent parks it", func() bool { return c.agents.state("10.0.0.9").parked })
	assert.Equal(t, v1alpha1.KernelReady, c.kernel("k1").Status.Phase, "until the agent has ended")
	c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"Idle for 0 s.","exitCode":0}`))
	k = c.phase("k1", 1, v1alpha1.KernelParked)
	assert.Equal(t, "The kernel was parked by hand.", k.Status.Message)
	assert.Equal(t, v1alpha1.CauseIdle, k.Status.Cause)
	assert.Empty(t, k.Status.Held)

	// by force: busy, or with an agent that does not answer
	third := c.ready("k3", 1, "park")
	c.agents.at("10.0.0.9", func(a *fakeAgent) { a.idle, a.silent = 0, true })
	c.askPark("k3", v1alpha1.KernelPark{Run: 1, Force: true, By: "root", Reason: "The node is needed"})
	k = c.phase("k3", 1, v1alpha1.KernelParked)
	assert.Equal(t, "The kernel was parked by root: The node is needed", k.Status.Message)
	c.kill(third)
	c.gone(third)

	// what was parked comes back as ever
	c.agents.at("10.0.0.9", func(a *fakeAgent) { a.silent = false })
	c.askRun("k3", 2)
	c.ready("k3", 2, "park")
}
