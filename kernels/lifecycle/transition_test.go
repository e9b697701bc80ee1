package lifecycle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podstate"
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
		k.Status = next(observed{kernel: k, now: now}).status
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

	p := next(observed{kernel: k, now: now.Add(2 * time.Second)})
	assert.Equal(t, 3*time.Second, p.lookAgain)
	assert.NotNil(t, p.status.NotBefore)
	p = next(observed{kernel: k, now: now.Add(5 * time.Second)})
	assert.Nil(t, p.status.NotBefore)
	assert.Empty(t, p.status.Message)
	assert.Equal(t, int32(2), p.status.Failures)

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

// TestKeepAnHour grants what a kernel's annotation asks for, run by run.
func TestKeepAnHour(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	k := kerneltest.Kernel("k", "gw", "gpu")
	k.Annotations = map[string]string{v1alpha1.AnnotationSnoozeUntil: now.Add(time.Hour).Format(time.RFC3339)}
	k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady, Run: 1, PodName: "k-1", PodIP: "10.0.0.1", ReadyTime: &metav1.Time{Time: now}}
	pod := &corev1.Pod{}
	pod.Name, pod.Spec.NodeName = "k-1", "n"
	kerneltest.Running("10.0.0.1", true)(&pod.Status)
	p := next(observed{kernel: k, pods: []*corev1.Pod{pod}, pod: pod, now: now, snoozeBound: 90 * time.Minute})
	require.NotNil(t, p.status.SnoozedUntil)
	assert.Equal(t, now.Add(time.Hour), p.status.SnoozedUntil.Time)
	assert.Equal(t, int64(3600), p.status.SnoozedSeconds)
	assert.Equal(t, time.Hour, p.lookAgain)
	k.Status = p.status
	p = next(observed{kernel: k, pods: []*corev1.Pod{pod}, pod: pod, now: now.Add(time.Hour), snoozeBound: 90 * time.Minute})
	assert.Nil(t, p.status.SnoozedUntil, "it is over")
	assert.Equal(t, int64(3600), p.status.SnoozedSeconds)
	k.Status.Phase = v1alpha1.KernelParked
	p = next(observed{kernel: k, now: now, snoozeBound: 90 * time.Minute})
	assert.Nil(t, p.status.SnoozedUntil, "there is nothing to keep")
	k.Spec.Run = 2
	assert.Zero(t, next(observed{kernel: k, now: now}).status.SnoozedSeconds, "another run")
}

// TestRefusedByEveryNode ends a kernel after some attempts.
func TestRefusedByEveryNode(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	k := kerneltest.Kernel("k", "gw", "gpu")
	k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelStarting, Run: 1, PodName: "k-1"}
	pod := &corev1.Pod{}
	pod.Name, pod.Spec.NodeName = "k-1", "n"
	pod.Status.Phase, pod.Status.Reason, pod.Status.Message = corev1.PodFailed, "OutOfcpu", "too little"
	for attempt := range mostRetries + 1 {
		k.Status.Phase, k.Status.PodName, k.Status.StartTime = v1alpha1.KernelStarting, "k-1", &metav1.Time{Time: now}
		p := next(observed{kernel: k, pods: []*corev1.Pod{pod}, pod: pod, now: now})
		k.Status = p.status
		assert.Equal(t, []*corev1.Pod{pod}, p.remove)
		if attempt < mostRetries {
			require.Equal(t, v1alpha1.KernelQueued, p.status.Phase)
			assert.Nil(t, p.ended)
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
	at := func(after time.Duration, hint string) plan {
		p := next(observed{kernel: k, pods: []*corev1.Pod{pod}, pod: pod, hint: hint, now: begin.Add(after)})
		k.Status = p.status
		return p
	}
	p := at(5*time.Second, "")
	assert.Equal(t, hintAfter-5*time.Second, p.lookAgain)
	assert.Empty(t, p.status.Message)
	p = at(20*time.Second, "FailedMount: no such volume")
	assert.Equal(t, hintAfter, p.lookAgain)
	assert.Equal(t, "The kernel's Pod does not start yet: FailedMount: no such volume", p.status.Message)
	p = at(40*time.Second, "")
	assert.Empty(t, p.status.Message, "it is over")
	p = at(StartLimit, "FailedMount: no such volume")
	assert.Equal(t, v1alpha1.KernelDead, p.status.Phase)
	assert.Equal(t, v1alpha1.CauseStartFailed, p.status.Cause)
	assert.Equal(t, "The kernel did not come up within 30m0s: FailedMount: no such volume", p.status.Message)
	assert.Equal(t, []*corev1.Pod{pod}, p.remove)
}

// TestWhatIsKeptOutlivesRunsThatNeverWere, and no other.
func TestWhatIsKeptOutlivesRunsThatNeverWere(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	k := kerneltest.Kernel("k", "gw", "gpu")
	end := func(run int64, ready bool, kept *v1alpha1.KeptState) *v1alpha1.KeptState {
		k.Spec.Run = run
		p := next(observed{kernel: k, now: now})
		assert.Equal(t, k.Status.Kept, p.status.Kept, "a new run changes nothing")
		p.status.Phase = v1alpha1.KernelStarting
		if ready {
			p.status.ReadyTime = &metav1.Time{Time: now}
		}
		p.end(observed{kernel: k, now: now}, podstate.Ending{Cause: v1alpha1.CauseIdle, Kept: kept})
		k.Status = p.status
		return k.Status.Kept
	}
	first := &v1alpha1.KeptState{Outcome: "whole", Run: 1}
	assert.Equal(t, first, end(1, true, first))
	assert.Equal(t, first, end(2, false, nil), "it never was ready")
	none := &v1alpha1.KeptState{Outcome: "none"}
	assert.Equal(t, none, end(3, true, none))
	assert.Equal(t, first, end(4, true, first))
	assert.Nil(t, end(5, true, nil), "it was used")
}
