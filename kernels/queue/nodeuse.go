package queue

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/podrules"
)

// NodeUse is what a node has, and what all Pods on it request, of whomever: CPU, memory
// and extended resources.
type NodeUse struct {
	Name                   string
	Allocatable, Requested corev1.ResourceList
}

// Uses lists all nodes of the cluster, those included that take no Pods now.
func (c *ClusterCapacity) Uses(ctx context.Context) ([]NodeUse, error) {
	var nodes corev1.NodeList
	if err := c.cache.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("kernels: list nodes: %w", err)
	}
	var pods corev1.PodList
	if err := c.cache.List(ctx, &pods, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("kernels: list Pods of the cluster: %w", err)
	}
	return usesOf(nodes.Items, pods.Items), nil
}

func usesOf(nodes []corev1.Node, pods []corev1.Pod) []NodeUse {
	uses := make([]NodeUse, len(nodes))
	index := make(map[string]int, len(nodes))
	for i := range nodes {
		uses[i] = NodeUse{Name: nodes[i].Name, Allocatable: corev1.ResourceList{}, Requested: corev1.ResourceList{}}
		index[nodes[i].Name] = i
		for name, quantity := range nodes[i].Status.Allocatable {
			if isCounted(name) {
				uses[i].Allocatable[name] = quantity
			}
		}
	}
	for i := range pods {
		at, known := index[pods[i].Spec.NodeName]
		if !known || !podstate.Alive(&pods[i]) {
			continue
		}
		addRequests(uses[at].Requested, &pods[i].Spec)
	}
	return uses
}

// isCounted tells which resources a NodeUse has.
func isCounted(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || podrules.IsExtendedResource(name)
}

// addRequests adds what a Pod requests while it runs: of its init containers those that
// go on beside the others.
func addRequests(to corev1.ResourceList, pod *corev1.PodSpec) {
	for name, n := range podspec.Extended(pod) {
		sum := to[corev1.ResourceName(name)]
		sum.Set(sum.Value() + n)
		to[corev1.ResourceName(name)] = sum
	}
	add := func(requests corev1.ResourceList) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			sum := to[name].DeepCopy()
			sum.Add(requests[name])
			to[name] = sum
		}
	}
	for i := range pod.Containers {
		add(pod.Containers[i].Resources.Requests)
	}
	for i := range pod.InitContainers {
		if c := &pod.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c.Resources.Requests)
		}
	}
}
