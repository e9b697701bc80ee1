package podrules_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/podrules"
)

func TestContainers(t *testing.T) {
	pod := &corev1.Pod{}
	assert.Equal(t, podrules.Container{}, podrules.ContainerOf(pod, "kernel"))
	end := &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled", Message: "last words"}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{
		{Name: "agent", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		{Name: "kernel", RestartCount: 2, State: corev1.ContainerState{Terminated: end}},
	}
	agent, kernel := podrules.ContainerOf(pod, "agent"), podrules.ContainerOf(pod, "kernel")
	assert.Equal(t, podrules.Container{Running: true}, agent)
	assert.False(t, agent.OutOfMemory())
	assert.Empty(t, agent.Message())
	assert.Equal(t, podrules.Container{Terminated: end, Restarts: 2}, kernel)
	assert.True(t, kernel.OutOfMemory())
	assert.Equal(t, "last words", kernel.Message())
}
