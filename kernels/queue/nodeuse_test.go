package queue

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func list(cpu, memory, gpus string) corev1.ResourceList {
	all := corev1.ResourceList{}
	for name, text := range map[corev1.ResourceName]string{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory, "nvidia.com/gpu": gpus} {
		if text != "" {
			all[name] = resource.MustParse(text)
		}
	}
	return all
}

// TestNodesAreUsedByEverybody: what the cluster's cache keeps of Pods is enough to tell
// what they request, those without GPUs and those of others included.
func TestNodesAreUsedByEverybody(t *testing.T) {
	t.Parallel()
	always := corev1.ContainerRestartPolicyAlways
	nodes := []corev1.Node{
		{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Status: corev1.NodeStatus{Allocatable: list("8", "32Gi", "4")}},
		{ObjectMeta: metav1.ObjectMeta{Name: "cordoned"}, Spec: corev1.NodeSpec{Unschedulable: true}, Status: corev1.NodeStatus{Allocatable: list("4", "16Gi", "")}},
	}
	nodes[0].Status.Allocatable["pods"] = resource.MustParse("110")
	pod := func(node string, phase corev1.PodPhase, init []corev1.Container, containers ...corev1.Container) corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: node, InitContainers: init, Containers: containers}, Status: corev1.PodStatus{Phase: phase}}
		slim, err := slimPod(p)
		require.NoError(t, err)
		return *slim.(*corev1.Pod)
	}
	requesting := func(requests corev1.ResourceList) corev1.Container {
		return corev1.Container{Image: "i", Resources: corev1.ResourceRequirements{Requests: requests}}
	}
	gpu := requesting(list("1", "2Gi", "2"))
	gpu.Resources.Limits = list("", "", "2")
	sidecar := requesting(list("250m", "", ""))
	sidecar.RestartPolicy = &always
	uses := usesOf(nodes, []corev1.Pod{
		pod("gpu", corev1.PodRunning, []corev1.Container{requesting(list("4", "", "")), sidecar}, gpu, corev1.Container{Image: "i"}),
		pod("gpu", corev1.PodPending, nil, requesting(list("500m", "1Gi", ""))),
		pod("gpu", corev1.PodSucceeded, nil, gpu),
		pod("", corev1.PodPending, nil, gpu),
	})
	require.Len(t, uses, 2)
	assert.Equal(t, "gpu", uses[0].Name)
	text := func(l corev1.ResourceList) map[string]string {
		all := map[string]string{}
		for name, quantity := range l {
			all[string(name)] = quantity.String()
		}
		return all
	}
	assert.Equal(t, map[string]string{"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "4"}, text(uses[0].Allocatable))
	assert.Equal(t, map[string]string{"cpu": "1750m", "memory": "3Gi", "nvidia.com/gpu": "2"}, text(uses[0].Requested))
	assert.Equal(t, map[string]string{"cpu": "4", "memory": "16Gi"}, text(uses[1].Allocatable))
	assert.Empty(t, uses[1].Requested)
}
