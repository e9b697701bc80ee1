package podstate_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podstate"
)

func kernelPod(change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		NodeName: "node-1", RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: v1alpha1.KernelContainer, Image: "gpu:test"}},
	}}
	pod.Status.Phase = corev1.PodRunning
	change(pod)
	return pod
}

func exited(code int32, reason, message string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: v1alpha1.KernelContainer, State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message},
		}}}
	}
}

func TestEndings(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*corev1.Pod)
		want   podstate.Ending
	}{
		"the agent says idle":     {exited(0, "Completed", `{"reason":"idle","message":"Idle."}`), podstate.Ending{Cause: v1alpha1.CauseIdle, Message: "Idle.", Clean: true}},
		"idle, but it failed":     {exited(1, "Error", `{"reason":"idle","message":"Idle."}`), podstate.Ending{Cause: v1alpha1.CauseIdle, Message: "Idle."}},
		"the agent says orphaned": {exited(1, "Error", `{"reason":"orphaned","message":"Alone."}`), podstate.Ending{Cause: v1alpha1.CauseOrphaned, Message: "Alone."}},
		"told to end":             {exited(1, "Error", `{"reason":"terminated"}`), podstate.Ending{Cause: v1alpha1.CauseUnknown, Message: "The kernel's Pod was deleted.", Disrupted: true}},
		"memory, whatever the agent says": {exited(1, "OOMKilled", `{"reason":"kernel-exited","message":"-9"}`),
			podstate.Ending{Cause: v1alpha1.CauseOutOfMemory, Message: "The kernel ran out of memory."}},
		"killed": {exited(137, "Error", ""), podstate.Ending{Cause: v1alpha1.CauseKernelExited,
			Message: "The kernel's container was killed from outside (exit code 137); most often its node had no memory left."}},
		"a template's Pod": {exited(0, "Completed", "done"), podstate.Ending{Cause: v1alpha1.CauseKernelExited, Message: "The kernel's container ended.", Clean: true}},
		"evicted": {func(pod *corev1.Pod) {
			pod.Status.Phase, pod.Status.Reason, pod.Status.Message = corev1.PodFailed, "Evicted", "disk"
		}, podstate.Ending{Cause: v1alpha1.CauseEvicted, Message: "The kernel's Pod was taken away: the node ended it: disk.", Disrupted: true}},
		"refused by its node": {func(pod *corev1.Pod) {
			pod.Status.Phase, pod.Status.Reason, pod.Status.Message = corev1.PodFailed, "UnexpectedAdmissionError", "no devices"
		}, podstate.Ending{Cause: v1alpha1.CauseRejected, Message: "The node node-1 would not run the kernel's Pod (UnexpectedAdmissionError): no devices", Disrupted: true}},
	} {
		got := podstate.EndingOf(kernelPod(row.change))
		require.NotNil(t, got, name)
		assert.Equal(t, row.want, *got, name)
	}
	assert.Nil(t, podstate.EndingOf(kernelPod(func(*corev1.Pod) {})), "it lives")
	assert.Nil(t, podstate.EndingOf(kernelPod(func(pod *corev1.Pod) {
		pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
		exited(1, "Error", "")(pod)
	})), "the kubelet will start it again")
}

// apart is a Pod whose agent has a container of its own.
func apart(agent, kernel corev1.ContainerState) *corev1.Pod {
	return kernelPod(func(pod *corev1.Pod) {
		pod.Spec.Containers = append([]corev1.Container{{Name: v1alpha1.AgentContainer, VolumeMounts: []corev1.VolumeMount{{Name: "elastichub-agent-key"}}}}, pod.Spec.Containers...)
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: v1alpha1.AgentContainer, State: agent}, {Name: v1alpha1.KernelContainer, State: kernel}}
	})
}

func TestEndingsOfTwoContainers(t *testing.T) {
	t.Parallel()
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	end := func(code int32, reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}}
	}
	killed := end(137, "Error", "")
	for name, row := range map[string]struct {
		agent, kernel corev1.ContainerState
		want          *podstate.Ending
		halved        bool
	}{
		"both run":                       {running, running, nil, false},
		"the kernel has ended":           {running, killed, nil, true},
		"the kernel was killed for idle": {end(0, "Completed", `{"reason":"idle","message":"Idle."}`), killed, &podstate.Ending{Cause: v1alpha1.CauseIdle, Message: "Idle.", Clean: true}, false},
		"idle, and it ran out of memory at last": {end(0, "Completed", `{"reason":"idle","message":"Idle."}`), end(137, "OOMKilled", ""),
			&podstate.Ending{Cause: v1alpha1.CauseIdle, Message: "Idle.", Clean: true}, false},
		"memory": {end(1, "Error", `{"reason":"kernel-exited","message":"The kernel's container ended."}`), end(137, "OOMKilled", ""),
			&podstate.Ending{Cause: v1alpha1.CauseOutOfMemory, Message: "The kernel ran out of memory."}, false},
		"what the kernel says counts for nothing": {end(1, "Error", `{"reason":"kernel-exited","message":"x"}`), end(0, "Completed", `{"reason":"idle"}`),
			&podstate.Ending{Cause: v1alpha1.CauseKernelExited, Message: "x"}, false},
		"the agent is gone": {end(2, "Error", ""), running, &podstate.Ending{Cause: v1alpha1.CauseKernelExited,
			Message: "The kernel's agent ended with exit code 2; the kernel was ended with it."}, true},
		"the agent ran out of memory": {end(137, "OOMKilled", ""), killed, &podstate.Ending{Cause: v1alpha1.CauseKernelExited,
			Message: "The kernel's agent needed more memory than it may have; the kernel was ended with it."}, false},
	} {
		pod := apart(row.agent, row.kernel)
		assert.Equal(t, row.want, podstate.EndingOf(pod), name)
		assert.Equal(t, row.halved, podstate.Halved(pod), name)
	}
	assert.False(t, podstate.Halved(kernelPod(exited(0, "Completed", ""))), "a Pod of a former release")
}

func TestTroubles(t *testing.T) {
	t.Parallel()
	waiting := func(reason string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: v1alpha1.KernelContainer, State: corev1.ContainerState{
				Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "why"},
			}}}
		}
	}
	for reason, want := range map[string]podstate.Trouble{
		"ImagePullBackOff":     {Reason: "ImagePullBackOff", Cause: v1alpha1.CauseImage, Grace: podstate.ImageGrace, Message: "The image gpu:test cannot be had (ImagePullBackOff): why"},
		"InvalidImageName":     {Reason: "InvalidImageName", Cause: v1alpha1.CauseImage, Message: "The image gpu:test cannot be had (InvalidImageName): why"},
		"CreateContainerError": {Reason: "CreateContainerError", Cause: v1alpha1.CauseStartFailed, Grace: podstate.ContainerGrace, Message: "The kernel's container cannot be created: why"},
	} {
		got := podstate.TroubleOf(kernelPod(waiting(reason)))
		require.NotNil(t, got, reason)
		assert.Equal(t, want, *got)
	}
	assert.Nil(t, podstate.TroubleOf(kernelPod(waiting("ContainerCreating"))))
	unschedulable := kernelPod(func(pod *corev1.Pod) {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes"}}
	})
	assert.True(t, podstate.Unschedulable(unschedulable))
	assert.Empty(t, podstate.TroubleOf(unschedulable).Cause, "it waits for ever")
}

// TestWhatIsKept is said by the agent, however the Pod ended, and believed of an
// agent that has a container of its own alone.
func TestWhatIsKept(t *testing.T) {
	t.Parallel()
	pod := func(message string, change func(*corev1.Pod)) *corev1.Pod {
		return kernelPod(func(pod *corev1.Pod) {
			pod.Spec.Containers = append([]corev1.Container{{Name: v1alpha1.AgentContainer, VolumeMounts: []corev1.VolumeMount{{Name: "elastichub-agent-key"}}}}, pod.Spec.Containers...)
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: v1alpha1.AgentContainer, State: corev1.ContainerState{
				Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: message},
			}}}
			change(pod)
		})
	}
	const part = `{"reason":"terminated","kept":{"outcome":"part","run":4,"variables":3,"bytes":9,"savedAt":"2026-11-28T12:00:00Z","lost":["gen (generator)"]}}`
	want := &v1alpha1.KeptState{
		Outcome: "part", Run: 4, Variables: 3, Bytes: 9, Lost: []string{"gen (generator)"},
		SavedAt: &metav1.Time{Time: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)},
	}
	drained := func(pod *corev1.Pod) {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI"}}
	}
	assert.Equal(t, want, podstate.EndingOf(pod(part, func(*corev1.Pod) {})).Kept)
	assert.Equal(t, want, podstate.EndingOf(pod(part, drained)).Kept)
	assert.Equal(t, want, podstate.Vanished(pod(part, drained)).Kept)
	assert.Equal(t, &v1alpha1.KeptState{Outcome: "none"}, podstate.EndingOf(pod(`{"reason":"idle","kept":{"outcome":"none","run":9}}`, drained)).Kept)
	for _, message := range []string{"", `{"reason":"idle"}`, `{"kept":{"outcome":"new"}}`, `{"kept":{"outcome":"whole","run":"x"}}`} {
		assert.Nil(t, podstate.EndingOf(pod(message, drained)).Kept, message)
	}
	idle := pod(`{"reason":"idle","message":"Idle.","kept":{"outcome":"whole","run":4}}`, drained)
	idle.Status.ContainerStatuses[0].State.Terminated.ExitCode = 0
	for _, ending := range []podstate.Ending{*podstate.EndingOf(idle), podstate.Vanished(idle)} {
		assert.Equal(t, podstate.Ending{Cause: v1alpha1.CauseIdle, Message: "Idle.", Clean: true, Kept: &v1alpha1.KeptState{Outcome: "whole", Run: 4}}, ending, "it was parked, and evicted then")
	}
	assert.Nil(t, podstate.EndingOf(kernelPod(exited(0, "Completed", part))).Kept, "the kernel could have written it")
}
