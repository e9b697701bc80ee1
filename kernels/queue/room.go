package queue

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/podtrouble"
)

// RoomFor counts what nodes have, and have free, that a Pod may be on, as far as its node
// selector, the node that it is made for, and its tolerations say.
func (c *ClusterCapacity) RoomFor(ctx context.Context, pod *corev1.PodSpec) (podtrouble.Room, error) {
	var nodes corev1.NodeList
	if err := c.cache.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return podtrouble.Room{}, fmt.Errorf("kernels: list nodes: %w", err)
	}
	var pods corev1.PodList
	if err := c.cache.List(ctx, &pods, client.UnsafeDisableDeepCopy); err != nil {
		return podtrouble.Room{}, fmt.Errorf("kernels: list Pods of the cluster: %w", err)
	}
	return roomFor(pod, nodes.Items, pods.Items), nil
}

func roomFor(pod *corev1.PodSpec, nodes []corev1.Node, pods []corev1.Pod) podtrouble.Room {
	room := podtrouble.Room{Free: corev1.ResourceList{}, Allocatable: corev1.ResourceList{}}
	for i, use := range usesOf(nodes, pods) {
		n := Node{Labels: nodes[i].Labels, Taints: nodes[i].Spec.Taints}
		n.Name = use.Name
		if !takesPods(&nodes[i]) || !n.accepts(pod) {
			continue
		}
		room.Nodes++
		for name, all := range use.Allocatable {
			free := all.DeepCopy()
			free.Sub(use.Requested[name])
			if most, seen := room.Free[name]; !seen || free.Cmp(most) > 0 {
				room.Free[name] = free
			}
			if most, seen := room.Allocatable[name]; !seen || all.Cmp(most) > 0 {
				room.Allocatable[name] = all
			}
		}
	}
	return room
}
