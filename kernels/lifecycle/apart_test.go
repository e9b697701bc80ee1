package lifecycle

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/skew"
)

// TestAgentsTooFarApart: the releases of now, of before and those that tell none are let be.
func TestAgentsTooFarApart(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1_800_000_000, 0)
	memory := map[runID]apartSince{}
	at := func(after time.Duration, change func(*inquiry)) finding {
		round := []inquiry{asked("k", "n", change)}
		findings := conclude(begin.Add(after), round, map[runID]time.Time{})
		partWays(begin.Add(after), round, memory, findings)
		return findings[runID{"k", 1}]
	}
	told := func(release string) func(*inquiry) {
		return func(q *inquiry) { q.told = skew.Told{Release: release} }
	}
	for _, release := range []string{"", skew.Release(), "0.1.0"} {
		f := at(0, told(release))
		assert.Empty(t, f.apart, release)
		assert.Equal(t, agentReachable, f.answers)
	}
	f := at(0, told("9.9.0"))
	assert.Equal(t, "The kernel was parked: the notebook service is elastichub "+skew.Release()+" and the kernel's agent is 9.9.0: they are too far apart, "+
		"since a release works with the same and with the former minor one.", f.apart)
	assert.False(t, f.apartLong)
	ends := at(time.Minute, func(q *inquiry) { q.answered = false })
	assert.Equal(t, f.apart, ends.apart, "the agent takes leave, and answers no more")
	assert.True(t, at(10*time.Minute, told("9.9.0")).apartLong)
	assert.Empty(t, at(11*time.Minute, told(skew.Release())).apart)
	assert.Empty(t, at(11*time.Minute, func(q *inquiry) { q.answered = false }).apart)
}

// farAgents are of another time; busy ones refuse to park.
type farAgents struct {
	silentAgents
	busy, parked bool
}

func (a *farAgents) Report(context.Context, string, keys.Secrets) (protocol.Report, error) {
	return protocol.Report{Told: skew.Told{Release: "9.9.0"}}, nil
}

func (a *farAgents) ParkByHand(context.Context, string, keys.Secrets, time.Duration) (bool, error) {
	a.parked = !a.busy
	return a.parked, nil
}

// TestKernelsWhoseAgentIsTooFarApart are parked on a real API server, once nothing runs in them or
// when that has lasted too long, and what people read names both releases.
func TestKernelsWhoseAgentIsTooFarApart(t *testing.T) {
	n := kerneltest.NewNamespace(t)
	gatewayWithKey(n, 3600)
	k := kerneltest.Kernel("k", "gw", "gpu")
	n.Make(k)
	pod := &corev1.Pod{}
	pod.Name, pod.Spec.Containers = podspec.PodName("k", 1), []corev1.Container{{Name: "kernel", Image: "x"}}
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(k, v1alpha1.GroupVersion.WithKind("JupyterKernel"))}
	n.Make(pod)
	kerneltest.Running("10.0.0.1", true)(&pod.Status)
	require.NoError(t, n.Status().Update(t.Context(), pod))
	k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady, Run: 1, PodName: pod.Name, PodIP: "10.0.0.1", ReadyTime: ptr.To(metav1.Now())}
	require.NoError(t, n.Status().Update(t.Context(), k))

	t.Cleanup(func() { assert.NoError(t, n.Delete(context.Background(), k)) }) // the leader of another test would ask its agent

	agents := &farAgents{busy: true}
	now := time.Now()
	b := newBackstop(podspec.NewBuilder(podspec.Config{Image: "x", KernelImage: "x"}), n.Client, n.Client, agents)
	b.every, b.now = 10*time.Millisecond, func() time.Time { return now }
	r := &kernelReconciler{live: n.Client, client: n.Client, agents: agents, backstop: b}
	look := func() plan {
		require.NoError(t, b.round(t.Context()))
		return next(observed{kernel: k, pod: pod, pods: []*corev1.Pod{pod}, now: now, agent: b.of(k), park: r.askToPark(t.Context(), k, pod, budgetFinding{})})
	}
	p := look()
	assert.Equal(t, v1alpha1.KernelReady, p.status.Phase, "it works")
	assert.Equal(t, parkAgain, p.lookAgain)
	agents.busy = false
	p = look()
	assert.True(t, agents.parked)
	assert.Equal(t, v1alpha1.KernelReady, p.status.Phase, "until its agent has ended")

	agents.busy, now = true, now.Add(apartPatience)
	p = look()
	assert.Equal(t, v1alpha1.KernelParked, p.status.Phase)
	assert.Equal(t, v1alpha1.CauseIdle, p.status.Cause)
	for _, part := range []string{skew.Release(), "9.9.0", "too far apart"} {
		assert.Contains(t, p.status.Message, part)
	}
	assert.Len(t, p.remove, 1)
}
