package podstate_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podstate"
)

// beside is a kernel's Pod that is ready but for a container that others have put before it.
func beside(native bool, state corev1.ContainerState) *corev1.Pod {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	pod := apart(running, running)
	pod.Annotations = map[string]string{"kubectl.kubernetes.io/default-container": v1alpha1.KernelContainer}
	for i := range pod.Status.ContainerStatuses {
		pod.Status.ContainerStatuses[i].Ready = true
	}
	mesh, status := corev1.Container{Name: "mesh"}, corev1.ContainerStatus{Name: "mesh", State: state}
	if native {
		mesh.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, mesh)
		pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses, status)
		return pod
	}
	pod.Spec.Containers = append([]corev1.Container{mesh}, pod.Spec.Containers...)
	pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, status)
	return pod
}

func TestTroubleBeside(t *testing.T) {
	t.Parallel()
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 2}}
	for name, row := range map[string]struct {
		pod  *corev1.Pod
		want *podstate.Trouble
	}{
		"runs, and is not ready": {beside(false, running), &podstate.Trouble{Reason: "ContainersNotReady", Cause: v1alpha1.CauseStartFailed, Grace: podstate.BesideGrace,
			Message: "The kernel is ready, but the container mesh of its Pod is not."}},
		"has ended for good": {beside(false, ended), &podstate.Trouble{Reason: "ContainersNotReady", Cause: v1alpha1.CauseStartFailed, Grace: podstate.ContainerGrace,
			Message: "The kernel is ready, but the container mesh of its Pod has ended, with exit code 2, and is not started again."}},
		"a native one is started again": {beside(true, ended), &podstate.Trouble{Reason: "ContainersNotReady", Cause: v1alpha1.CauseStartFailed, Grace: podstate.BesideGrace,
			Message: "The kernel is ready, but the container mesh of its Pod is not."}},
		"the kernel is not ready either": {func() *corev1.Pod {
			pod := beside(false, running)
			pod.Status.ContainerStatuses[0].Ready = false
			return pod
		}(), nil},
		"nobody beside": {apart(running, running), nil},
	} {
		assert.Equal(t, row.want, podstate.TroubleBeside(row.pod), name)
		assert.Nil(t, podstate.EndingOf(row.pod), "%s: it lives", name)
	}
}

// TestAKernelEndsBesideASidecar that goes on, wherever that stands and whatever the template wants.
func TestAKernelEndsBesideASidecar(t *testing.T) {
	t.Parallel()
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	agent := beside(false, running)
	agent.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: `{"reason":"idle","message":"Idle."}`}}
	assert.Equal(t, &podstate.Ending{Cause: v1alpha1.CauseIdle, Message: "Idle.", Clean: true}, podstate.EndingOf(agent))

	for policy, ends := range map[corev1.RestartPolicy]bool{corev1.RestartPolicyNever: true, corev1.RestartPolicyOnFailure: true, corev1.RestartPolicyAlways: false} {
		pod := kernelPod(exited(0, "Completed", "done"))
		pod.Annotations = map[string]string{"kubectl.kubernetes.io/default-container": "main"}
		pod.Spec.RestartPolicy = policy
		pod.Spec.Containers = []corev1.Container{{Name: "mesh"}, {Name: "main"}}
		pod.Status.ContainerStatuses[0].Name = "main"
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: "mesh", State: running})
		assert.Equal(t, ends, podstate.EndingOf(pod) != nil, policy)
	}
	failing := kernelPod(exited(1, "Error", ""))
	failing.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	assert.Nil(t, podstate.EndingOf(failing), "it is started again")
}

// TestANativeSidecarThatFailsIsStartedAgain, and ends no kernel.
func TestANativeSidecarThatFailsIsStartedAgain(t *testing.T) {
	t.Parallel()
	failed := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}
	assert.Nil(t, podstate.EndingOf(beside(true, failed)))
	pod := beside(false, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
	pod.Spec.InitContainers = []corev1.Container{{Name: "mesh-init"}}
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "mesh-init", State: failed}}
	ending := podstate.EndingOf(pod)
	if assert.NotNil(t, ending) {
		assert.Equal(t, "The kernel's container could not start: its init container mesh-init ended with exit code 1", ending.Message)
	}
}
