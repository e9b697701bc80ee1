package kernels

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podstate"
)

func (c *cluster) queue(name string) *v1alpha1.QueueStatus { return c.kernel(name).Status.Queue }

// waitsFor waits until a kernel in the queue says why it is there. What it says
// first is of what was known then.
func (c *cluster) waitsFor(name, reason string) {
	c.Helper()
	c.eventually(name+" waits: "+reason, func() bool { q := c.queue(name); return q != nil && q.Reason == reason })
}

// gauge reads a gauge, or a counter, by the value of its one label, or "". Of a histogram
// it reads the sum.
func (c *cluster) gauge(name string) map[string]float64 {
	c.Helper()
	families, err := c.meters.Gather()
	require.NoError(c, err)
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() != name {
				continue
			}
			label := ""
			if len(m.GetLabel()) > 0 {
				label = m.GetLabel()[0].GetValue()
			}
			values[label] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetHistogram().GetSampleSum()
		}
	}
	return values
}

func TestQueueForGPUs(t *testing.T) {
	c := startCluster(t)
	c.node("queue", 2)
	c.gateway("gw")
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.GPUSpec("cpu", 0), kerneltest.Policy("research", func(k *v1alpha1.PolicyKernels) {
		k.Allowed, k.GPUsPerKernel, k.GPUsPerUser = []string{"gpu", "cpu"}, 1, 1
	}))
	pods := map[string]*corev1.Pod{}
	for i := 1; i <= 4; i++ {
		name := fmt.Sprintf("k%d", i)
		c.create(kerneltest.Kernel(name, "gw", "gpu", kerneltest.Owned(name, "research")))
		if i <= 2 {
			pods[name] = c.ready(name, 1, "queue")
		} else {
			c.phase(name, 1, v1alpha1.KernelQueued)
		}
	}
	all := "All 2 nvidia.com/gpu of the cluster are in use."
	c.eventually("places", func() bool { // written in any order
		return ptr.Equal(c.queue("k3"), &v1alpha1.QueueStatus{Position: 1, Length: 2, Reason: all}) &&
			ptr.Equal(c.queue("k4"), &v1alpha1.QueueStatus{Position: 2, Length: 2, Reason: all})
	})
	c.eventually("use of the policy", func() bool {
		var p v1alpha1.GroupPolicy
		return c.get("research", &p) && p.Status.Kernels == 2 && p.Status.GPUs == 2 && p.Status.Queued == 2
	})
	assert.Equal(t, map[string]float64{"": 2}, c.gauge("elastichub_kernel_queue_length"))
	assert.Equal(t, map[string]float64{"nvidia.com/gpu": 2}, c.gauge("elastichub_kernel_resources_held"))
	waiting := c.gauge("elastichub_kernel_queue_waiting")
	assert.Equal(t, 2., waiting["NodesInUse"], "%v", waiting)
	assert.Len(t, waiting, len(admission.WaitingReasons)+1, "a series for each reason, before anybody waits for it")
	delete(waiting, "NodesInUse")
	for reason, n := range waiting {
		assert.Zero(t, n, reason)
	}

	// a kernel without GPU passes them all
	c.create(kerneltest.Kernel("light", "gw", "cpu", kerneltest.Owned("k1", "research")))
	c.pod("light", 1)

	// a GPU is free as soon as the Pod has completed
	c.report(pods["k1"], kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"","exitCode":0}`))
	c.pod("k3", 1)
	c.eventually("k4 moves up", func() bool { q := c.queue("k4"); return q != nil && q.Position == 1 && q.Length == 1 })

	// a deleted kernel's GPU is not free before its Pod has ended
	require.NoError(t, c.api.Delete(t.Context(), c.kernel("k2")))
	c.eventually("k2's Pod to end", func() bool { return c.get("k2-1", pods["k2"]) && pods["k2"].DeletionTimestamp != nil })
	time.Sleep(300 * time.Millisecond)
	assert.False(t, c.get("k4-1", &corev1.Pod{}), "the GPU is still in use")
	c.kill(pods["k2"])
	c.pod("k4", 1)

	// a new node is used at once
	c.create(kerneltest.Kernel("k5", "gw", "gpu", kerneltest.Owned("k5", "research")))
	c.phase("k5", 1, v1alpha1.KernelQueued)
	c.node("queue-more", 1)
	c.pod("k5", 1)
}

func TestForeignPodsCount(t *testing.T) {
	c := startCluster(t)
	c.gateway("gw")
	other := &corev1.Pod{}
	other.Name = "training"
	other.Namespace = "default"
	other.Spec.NodeName = "foreign"
	other.Spec.Containers = []corev1.Container{{Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Limits: kerneltest.GPUSpec("", 1).Spec.Resources.Limits}}}
	c.create(other)
	t.Cleanup(func() { _ = c.api.Delete(context.Background(), other, client.GracePeriodSeconds(0)) })
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.Kernel("k", "gw", "gpu"))
	c.eventually("place", func() bool { return c.queue("k") != nil })
	c.node("foreign", 1) // last, so that what is on it is known before
	c.waitsFor("k", "The only nvidia.com/gpu of the cluster is in use.")
	require.NoError(t, c.api.Delete(t.Context(), other, client.GracePeriodSeconds(0)))
	c.pod("k", 1)
}

func TestRefusals(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw")
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.GPUSpec("gpu4", 4), kerneltest.GPUSpec("secret", 0),
		kerneltest.Policy("strict", func(k *v1alpha1.PolicyKernels) {
			k.Allowed, k.GPUsPerKernel, k.GPUsPerUser, k.AtLimit = []string{"gpu", "gpu4"}, 1, 1, v1alpha1.AtLimitRefuse
		}))
	for name, tc := range map[string]struct{ spec, message string }{
		"many":    {"gpu4", "resources.limits[nvidia.com/gpu] of the kernel is 4, but spec.kernels.gpusPerKernel of policy strict allows 1."},
		"unasked": {"secret", `The kernel "secret" is not among spec.kernels.allowed of policy strict.`},
	} {
		c.create(kerneltest.Kernel(name, "gw", tc.spec, kerneltest.Owned("ann", "strict")))
		k := c.phase(name, 1, v1alpha1.KernelDead)
		assert.Equal(t, v1alpha1.CauseRefused, k.Status.Cause)
		assert.Equal(t, tc.message, k.Status.Message)
	}
	c.create(kerneltest.Kernel("first", "gw", "gpu", kerneltest.Owned("ann", "strict")))
	pod := c.ready("first", 1, "")
	c.create(kerneltest.Kernel("second", "gw", "gpu", kerneltest.Owned("ann", "strict")))
	k := c.phase("second", 1, v1alpha1.KernelDead)
	assert.Equal(t, v1alpha1.CauseRefused, k.Status.Cause)
	assert.Equal(t, "You use 1 of the 1 nvidia.com/gpu that policy strict allows you (gpusPerUser).", k.Status.Message)
	// asking again is refused again, another user is not
	c.askRun("second", 2)
	c.phase("second", 2, v1alpha1.KernelDead)
	c.create(kerneltest.Kernel("bob", "gw", "gpu", kerneltest.Owned("bob", "strict")))
	c.pod("bob", 1)
	// a kernel that has run before queues
	c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"","exitCode":0}`))
	c.phase("first", 1, v1alpha1.KernelParked)
	c.askRun("second", 3)
	c.pod("second", 3)
	c.askRun("first", 2)
	c.eventually("place", func() bool { return c.queue("first") != nil })
	assert.Equal(t, v1alpha1.KernelQueued, c.kernel("first").Status.Phase)
}

// TestExactUnderLoad asks for a hundred kernels at once, changes the leader in
// the middle, and counts Pods all the while.
func TestExactUnderLoad(t *testing.T) {
	const limit, total = 7, 100
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw")
	pool := int32(limit)
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.Policy("research", func(k *v1alpha1.PolicyKernels) {
		k.Allowed, k.GPUsPerKernel, k.GPUsPerUser, k.GPUPool = []string{"gpu"}, 1, 1, &pool
	}))
	created := make(chan error, total)
	for i := range total {
		go func() {
			k := kerneltest.Kernel(fmt.Sprintf("k%03d", i), "gw", "gpu", kerneltest.Owned(fmt.Sprintf("u%d", i), "research"))
			k.Namespace = c.namespace
			created <- c.api.Create(c.ctx, k)
		}()
	}
	alivePods := func() int {
		var pods corev1.PodList
		require.NoError(t, c.api.List(t.Context(), &pods, client.InNamespace(c.namespace)))
		n := 0
		for i := range pods.Items {
			if podstate.Alive(&pods.Items[i]) {
				n++
			}
		}
		require.LessOrEqual(t, n, limit)
		return n
	}
	c.eventually("some", func() bool { return alivePods() > 2 })
	c.stop()
	c.start()
	for range total {
		require.NoError(t, <-created)
	}
	c.eventually("exactly the limit", func() bool { return alivePods() == limit })
	ended := map[types.UID]bool{}
	for round := 0; len(ended) < 30; round++ { // end kernels; as many begin, never more
		var pods corev1.PodList
		require.NoError(t, c.api.List(t.Context(), &pods, client.InNamespace(c.namespace)))
		for i := range pods.Items {
			if p := &pods.Items[i]; podstate.Alive(p) && len(ended) < 30 {
				p.Status.Phase = corev1.PodSucceeded
				if c.api.Status().Update(t.Context(), p) == nil {
					ended[p.UID] = true
				}
				alivePods()
			}
		}
		if round == 1 {
			c.stop()
			c.start()
		}
		c.eventually("full again", func() bool { return alivePods() == limit })
	}
	var kernels v1alpha1.JupyterKernelList
	c.eventually("the rest waits in order", func() bool {
		require.NoError(t, c.api.List(t.Context(), &kernels, client.InNamespace(c.namespace)))
		positions := map[int32]bool{}
		for _, k := range kernels.Items {
			if q := k.Status.Queue; k.Status.Phase == v1alpha1.KernelQueued && q != nil && q.Length == total-30-limit {
				positions[q.Position] = true
			}
		}
		return len(positions) == total-30-limit
	})
}
