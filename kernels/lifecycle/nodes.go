package lifecycle

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// lostGrace is how long after its deadline a deleted Pod may linger before
	// it is taken from the API server by force, if its node does not answer. One
	// whose node does is not taken: something still runs, with what the Pod holds.
	lostGrace = 60 * time.Second
	// unknownGrace is the same where nodes cannot be read.
	unknownGrace = 10 * time.Minute
)

// nodeState is whether a node can be believed to run its Pods.
type nodeState int

const (
	nodeUnknown nodeState = iota
	nodeLost              // it is gone, or its kubelet does not answer
	nodeReady
)

// nodesOf reads the nodes of Pods whose deletion takes too long.
func (r *kernelReconciler) nodesOf(ctx context.Context, pods []*corev1.Pod) map[string]nodeState {
	var states map[string]nodeState
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil || r.now().Sub(pod.DeletionTimestamp.Time) < lostGrace {
			continue
		}
		if states == nil {
			states = map[string]nodeState{}
		}
		states[pod.Spec.NodeName] = r.nodeState(ctx, pod.Spec.NodeName)
	}
	return states
}

func (r *kernelReconciler) nodeState(ctx context.Context, name string) nodeState {
	if name == "" {
		return nodeLost // it never had one
	}
	var node corev1.Node
	err := r.live.Get(ctx, types.NamespacedName{Name: name}, &node)
	if apierrors.IsNotFound(err) {
		return nodeLost
	}
	if err != nil {
		return nodeUnknown // nobody lets us read nodes, say
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			return nodeReady
		}
	}
	return nodeLost
}

// deletions tells which Pods are still to be deleted, and which by force.
func (v *observed) deletions(pods []*corev1.Pod) (remove, force []*corev1.Pod) {
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil {
			remove = append(remove, pod)
			continue
		}
		_, lost := v.overdue(pod)
		force = append(force, lost...)
	}
	return remove, force
}

// overdue reports whether a Pod under deletion is to be taken by force, or when
// to look again. Its deletion timestamp already includes the grace period.
func (v *observed) overdue(pod *corev1.Pod) (time.Duration, []*corev1.Pod) {
	since := v.now.Sub(pod.DeletionTimestamp.Time)
	if since < lostGrace {
		return lostGrace - since, nil
	}
	switch v.nodes[pod.Spec.NodeName] {
	case nodeReady:
		return lostGrace, nil
	case nodeLost:
		return time.Second, []*corev1.Pod{pod}
	case nodeUnknown:
	}
	if since < unknownGrace {
		return min(lostGrace, unknownGrace-since), nil
	}
	return time.Second, []*corev1.Pod{pod}
}
