package kernels

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
)

func TestRetryPause(t *testing.T) {
	for failures, want := range map[int32]time.Duration{
		0: 0, 1: 0, 2: 5 * time.Second, 3: 10 * time.Second, 4: 20 * time.Second, 8: 5 * time.Minute, 1 << 30: 5 * time.Minute,
	} {
		assert.Equal(t, want, retryPause(failures), failures)
	}
}

// TestBackOff plays a kernel that ends at once, run after run.
func TestBackOff(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	k := kerneltest.Kernel("k", "gw", "gpu")
	run := func(n int64) v1alpha1.JupyterKernelStatus {
		k.Spec.Run = n
		k.Status = next(view{kernel: k, now: now}).status
		return k.Status
	}
	end := func(cause v1alpha1.KernelCause, lived time.Duration) {
		k.Status.Phase, k.Status.Cause = v1alpha1.KernelDead, cause
		k.Status.ReadyTime, k.Status.CompletionTime = &metav1.Time{Time: now.Add(-lived)}, &metav1.Time{Time: now}
	}
	run(1)
	end(v1alpha1.CauseKernelExited, time.Second)
	st := run(2)
	assert.Equal(t, int32(1), st.Failures)
	assert.Nil(t, st.NotBefore, "the first time costs nothing")
	assert.Empty(t, st.Message)
	end(v1alpha1.CauseOutOfMemory, time.Second)
	st = run(3)
	assert.Equal(t, int32(2), st.Failures)
	assert.Equal(t, now.Add(5*time.Second), st.NotBefore.Time)
	assert.Equal(t, "The kernel has ended 2 times in a row soon after it was started; the next attempt begins in 5s.", st.Message)

	s := next(view{kernel: k, now: now.Add(2 * time.Second)})
	assert.Equal(t, 3*time.Second, s.again)
	assert.NotNil(t, s.status.NotBefore)
	s = next(view{kernel: k, now: now.Add(5 * time.Second)})
	assert.Nil(t, s.status.NotBefore)
	assert.Empty(t, s.status.Message)
	assert.Equal(t, int32(2), s.status.Failures)

	for _, harmless := range []func(){
		func() { end(v1alpha1.CauseKernelExited, time.Minute) },
		func() { end(v1alpha1.CauseShutdown, time.Second) },
		func() { end(v1alpha1.CauseRefused, 0) },
		func() { end(v1alpha1.CauseIdle, 0); k.Status.Phase = v1alpha1.KernelParked },
	} {
		k.Status = v1alpha1.JupyterKernelStatus{Run: 3, Failures: 2}
		harmless()
		st = run(4)
		assert.Zero(t, st.Failures)
		assert.Nil(t, st.NotBefore)
	}
}

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
	c.report(pod, running("10.0.0.9", true))
	k = c.phase("k", 1, v1alpha1.KernelReady)
	assert.Empty(t, k.Status.Message)

	// what was taken once it was ready is not
	c.report(pod, failed("Evicted", "low on memory"))
	k = c.phase("k", 1, v1alpha1.KernelDead)
	assert.Equal(t, v1alpha1.CauseEvicted, k.Status.Cause)
}

// TestRefusedByEveryNode ends a kernel after some attempts.
func TestRefusedByEveryNode(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	k := kerneltest.Kernel("k", "gw", "gpu")
	k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelStarting, Run: 1, PodName: "k-1"}
	pod := &corev1.Pod{}
	pod.Name, pod.Spec.NodeName = "k-1", "n"
	failed("OutOfcpu", "too little")(&pod.Status)
	for attempt := range mostRetries + 1 {
		k.Status.Phase, k.Status.PodName, k.Status.StartTime = v1alpha1.KernelStarting, "k-1", &metav1.Time{Time: now}
		s := next(view{kernel: k, pods: []*corev1.Pod{pod}, now: now})
		k.Status = s.status
		assert.Equal(t, []*corev1.Pod{pod}, s.remove)
		if attempt < mostRetries {
			require.Equal(t, v1alpha1.KernelQueued, s.status.Phase)
			assert.Nil(t, s.end)
		}
	}
	assert.Equal(t, v1alpha1.KernelDead, k.Status.Phase)
	assert.Equal(t, v1alpha1.CauseRejected, k.Status.Cause)
	assert.Equal(t, "The node n would not run the kernel's Pod (OutOfcpu): too little", k.Status.Message)
}

// TestNeverComesUp: what keeps a Pod from starting is told while it lasts, and
// it does not last for ever.
func TestNeverComesUp(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	k := kerneltest.Kernel("k", "gw", "gpu")
	k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelStarting, Run: 1, PodName: "k-1", StartTime: &metav1.Time{Time: begin}}
	pod := &corev1.Pod{}
	pod.Name, pod.Spec.NodeName, pod.Status.Phase = "k-1", "n", corev1.PodPending
	at := func(after time.Duration, hint string) step {
		s := next(view{kernel: k, pods: []*corev1.Pod{pod}, hint: hint, now: begin.Add(after)})
		k.Status = s.status
		return s
	}
	s := at(5*time.Second, "")
	assert.Equal(t, 10*time.Second, s.again)
	assert.Empty(t, s.status.Message)
	s = at(20*time.Second, "FailedMount: no such volume")
	assert.Equal(t, hintAfter, s.again)
	assert.Equal(t, "The kernel's Pod does not start yet: FailedMount: no such volume", s.status.Message)
	s = at(40*time.Second, "")
	assert.Empty(t, s.status.Message, "it is over")
	s = at(startLimit, "FailedMount: no such volume")
	assert.Equal(t, v1alpha1.KernelDead, s.status.Phase)
	assert.Equal(t, v1alpha1.CauseStartFailed, s.status.Cause)
	assert.Equal(t, "The kernel did not come up within 30m0s: FailedMount: no such volume", s.status.Message)
	assert.Equal(t, []*corev1.Pod{pod}, s.remove)
}

// TestHints reads real events.
func TestHints(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.stop()
	pod := &corev1.Pod{}
	pod.Name = "k-1"
	pod.Spec.Containers = []corev1.Container{{Name: "kernel", Image: "i"}}
	c.create(pod)
	c.bind(pod, "far")
	event := func(name, kind, reason string, uid string, ago time.Duration) {
		e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: kind, Reason: reason, Message: "it is so"}
		e.InvolvedObject = corev1.ObjectReference{Kind: "Pod", Namespace: c.namespace, Name: "k-1", UID: pod.UID}
		if uid != "" {
			e.InvolvedObject.UID = "other"
		}
		e.LastTimestamp = metav1.Time{Time: time.Now().Add(-ago)}
		c.create(e)
	}
	event("a", "Warning", "FailedMount", "", time.Minute)
	event("b", "Warning", "FailedCreatePodSandBox", "", time.Second)
	event("c", "Normal", "Pulling", "", 0)
	event("d", "Warning", "Foreign", "other", 0)
	k := kerneltest.Kernel("k", "gw", "gpu")
	k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelStarting, Run: 1, StartTime: &metav1.Time{Time: time.Now().Add(-hintAfter)}}
	r := &kernelReconciler{live: c.api, now: time.Now}
	assert.Equal(t, "FailedCreatePodSandBox: it is so", r.hintOf(t.Context(), k, []*corev1.Pod{pod}))
	k.Status.StartTime = &metav1.Time{Time: time.Now()}
	assert.Empty(t, r.hintOf(t.Context(), k, []*corev1.Pod{pod}), "too soon to be worried")
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
		c.create(kerneltest.Kernel(name, "gw", "gpu", owned(name, "research")))
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
