package kernels

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/lifecycle"
)

func budget(hours string, per v1alpha1.BudgetScope, rolling time.Duration) v1alpha1.Budget {
	return v1alpha1.Budget{Resource: "nvidia.com/gpu", Hours: resource.MustParse(hours), Per: per,
		Window: v1alpha1.BudgetWindow{Rolling: &metav1.Duration{Duration: rolling}, TimeZone: "Europe/Berlin"}}
}

// toldAgain is when a message says that kernels are started again.
func toldAgain(t *testing.T, message string) time.Time {
	t.Helper()
	_, told, found := strings.Cut(message, "from ")
	require.True(t, found, message)
	told, zone, found := strings.Cut(strings.TrimSuffix(told, ")."), " (")
	require.True(t, found, message)
	location, err := time.LoadLocation(zone)
	require.NoError(t, err)
	at, err := time.ParseInLocation("15:04:05 on 2 January 2006", told, location)
	require.NoError(t, err, message)
	return at
}

// TestBudgets: who has used up a budget is told when it works again, and it does then; what runs is
// parked after a notice; what is parked stays that.
func TestBudgets(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity, cfg.Ledger = false, "hours" })
	c.gateway("gw")
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.GPUSpec("cpu", 0), kerneltest.Policy("lab", func(k *v1alpha1.PolicyKernels) {
		k.Allowed, k.GPUsPerKernel, k.GPUsPerUser = []string{"gpu", "cpu"}, 1, 3
		k.Budget = []v1alpha1.Budget{budget("0.001", v1alpha1.BudgetPerUser, 15*time.Second)} // 3.6 s
	}))
	c.create(kerneltest.Kernel("k", "gw", "gpu", kerneltest.Owned("ann", "lab")))
	pod := c.ready("k", 1, "")
	ip := c.kernel("k").Status.PodIP
	c.eventually("it is said once that most of the budget is used, and once that all is", func() bool {
		return len(c.agents.state(ip).notices) >= 2 || len(c.agents.state(ip).notices) == 1 && strings.HasPrefix(c.agents.state(ip).notices[0], "All of")
	})
	c.eventually("the budget is spent", func() bool {
		left := meta.FindStatusCondition(c.kernel("k").Status.Conditions, lifecycle.ConditionBudgetLeft)
		return left != nil && left.Reason == "Spent"
	})
	assert.False(t, c.agents.state(ip).parked, "there is a notice first")

	// a new kernel is refused, one that holds nothing that the budget is of is not, nor is another user's
	c.create(kerneltest.Kernel("k2", "gw", "gpu", kerneltest.Owned("Ann", "lab")), kerneltest.Kernel("k3", "gw", "cpu", kerneltest.Owned("ann", "lab")),
		kerneltest.Kernel("k4", "gw", "gpu", kerneltest.Owned("ben", "lab")))
	k := c.phase("k2", 1, v1alpha1.KernelDead)
	assert.Equal(t, v1alpha1.CauseRefused, k.Status.Cause)
	assert.Contains(t, k.Status.Message, "The budget of policy lab is spent: 0.001 hours of nvidia.com/gpu of each user per 15 seconds.")
	c.ready("k3", 1, "")
	c.ready("k4", 1, "")

	// the minute of the notice is over
	c.agents.at(ip, func(a *fakeAgent) { a.idle = time.Minute })
	k = c.kernel("k")
	before := k.DeepCopy()
	meta.FindStatusCondition(k.Status.Conditions, lifecycle.ConditionBudgetLeft).LastTransitionTime = metav1.Time{Time: time.Now().Add(-61 * time.Second)}
	require.NoError(t, c.api.Status().Patch(t.Context(), k, client.MergeFrom(before)))
	c.eventually("its agent is asked to park it", func() bool { return c.agents.state(ip).parked })
	assert.True(t, c.agents.state(ip).whole, "the policy says nothing: only if all is kept")
	c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"Parked.","exitCode":0}`))
	k = c.phase("k", 1, v1alpha1.KernelParked)
	assert.Equal(t, v1alpha1.CauseBudget, k.Status.Cause)
	assert.Contains(t, k.Status.Message, "The kernel was parked, since the budget of policy lab")
	assert.Nil(t, meta.FindStatusCondition(k.Status.Conditions, lifecycle.ConditionBudgetLeft))

	// what is parked is parked again, as it was
	c.askRun("k", 2)
	k = c.phase("k", 2, v1alpha1.KernelParked)
	assert.Equal(t, v1alpha1.CauseBudget, k.Status.Cause)
	again := toldAgain(t, k.Status.Message)
	assert.WithinDuration(t, time.Now(), again, 20*time.Second)

	// and returns when it was told, and not before
	for run := int64(3); ; run++ {
		c.askRun("k", run)
		c.eventually("it is decided", func() bool {
			s := c.kernel("k").Status
			return s.Run == run && s.Phase != v1alpha1.KernelQueued
		})
		if phase := c.kernel("k").Status.Phase; phase != v1alpha1.KernelParked {
			break
		}
		require.Less(t, time.Since(again), 5*time.Second)
		time.Sleep(300 * time.Millisecond)
	}
	assert.WithinDuration(t, again, time.Now(), 5*time.Second)
}

// TestABudgetOfAGroup is shared by its members, and a new leader knows how it stands.
func TestABudgetOfAGroup(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity, cfg.Ledger = false, "hours" })
	c.gateway("gw")
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.Policy("lab", func(k *v1alpha1.PolicyKernels) {
		k.Allowed, k.GPUsPerKernel, k.GPUsPerUser, k.OnBudget = []string{"gpu"}, 1, 3, v1alpha1.OnBudgetForce
		k.Budget = []v1alpha1.Budget{budget("0.001", v1alpha1.BudgetPerGroup, time.Hour)}
	}), kerneltest.Kernel("ann", "gw", "gpu", kerneltest.Owned("ann", "lab")), kerneltest.Kernel("ben", "gw", "gpu", kerneltest.Owned("ben", "lab")))
	c.ready("ann", 1, "")
	c.ready("ben", 1, "")
	for _, name := range []string{"ann", "ben"} {
		c.eventually("the budget is spent", func() bool {
			left := meta.FindStatusCondition(c.kernel(name).Status.Conditions, lifecycle.ConditionBudgetLeft)
			return left != nil && left.Reason == "Spent"
		})
	}
	c.stop()
	c.start()
	c.create(kerneltest.Kernel("cat", "gw", "gpu", kerneltest.Owned("cat", "lab")))
	k := c.phase("cat", 1, v1alpha1.KernelDead)
	assert.Contains(t, k.Status.Message, "of all members per hour.")
	assert.WithinDuration(t, time.Now().Add(time.Hour), toldAgain(t, k.Status.Message), time.Minute)

	// force: the one that is busy, too
	k = c.kernel("ann")
	before := k.DeepCopy()
	meta.FindStatusCondition(k.Status.Conditions, lifecycle.ConditionBudgetLeft).LastTransitionTime = metav1.Time{Time: time.Now().Add(-61 * time.Second)}
	require.NoError(t, c.api.Status().Patch(t.Context(), k, client.MergeFrom(before)))
	k = c.phase("ann", 1, v1alpha1.KernelParked)
	assert.Equal(t, v1alpha1.CauseBudget, k.Status.Cause)
}

// TestABudgetThatNobodyCounts lets nobody in: it is not known how it stands.
func TestABudgetThatNobodyCounts(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw")
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.Policy("lab", func(k *v1alpha1.PolicyKernels) {
		k.Allowed, k.GPUsPerKernel, k.GPUsPerUser = []string{"gpu"}, 1, 3
		k.Budget = []v1alpha1.Budget{budget("1", v1alpha1.BudgetPerGroup, time.Hour)}
	}), kerneltest.Kernel("ann", "gw", "gpu", kerneltest.Owned("ann", "lab")))
	c.eventually("it waits", func() bool {
		q := c.kernel("ann").Status.Queue
		return q != nil && q.Reason == "How much of the budget of policy lab is used is not known yet."
	})
}
