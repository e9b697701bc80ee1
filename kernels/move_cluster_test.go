package kernels

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
)

// TestMoveInTheQueue: who is moved is ahead of those who have waited longer, in the run
// that was moved and in no other.
func TestMoveInTheQueue(t *testing.T) {
	c := startCluster(t)
	c.node("move", 1)
	c.gateway("gw")
	c.create(kerneltest.GPUSpec("gpu", 1))
	c.create(kerneltest.Kernel("holds", "gw", "gpu"))
	pod := c.ready("holds", 1, "move")
	place := func(name string, want int32) {
		t.Helper()
		c.eventually(name+"'s place", func() bool { q := c.queue(name); return q != nil && q.Position == want })
	}
	for i, name := range []string{"old", "new"} {
		c.create(kerneltest.Kernel(name, "gw", "gpu"))
		place(name, int32(i+1))
	}
	c.change(c.kernel("new"), `{"spec": {"queuePriority": 1, "queueMove": {"run": 1, "by": "root", "reason": "a talk"}}}`)
	place("new", 1)
	place("old", 2)
	exited := kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"","exitCode":0}`)
	c.report(pod, exited)
	pod = c.ready("new", 1, "move")
	place("old", 1)
	c.report(pod, exited)
	c.phase("new", 1, v1alpha1.KernelParked)
	pod = c.ready("old", 1, "move")

	c.create(kerneltest.Kernel("next", "gw", "gpu"))
	place("next", 1)
	c.askRun("new", 2)
	place("new", 2)
	require.EqualValues(t, 1, c.kernel("new").Spec.QueuePriority, "which was for another run")
	c.change(c.kernel("next"), `{"spec": {"queuePriority": -1}}`)
	place("new", 1)
	c.report(pod, exited)
	c.pod("new", 2)
}
