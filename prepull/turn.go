package prepull

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/prepull/imagestate"
)

// patience is how long a node that pulls keeps others waiting: a kubelet that answers no
// more must not.
const patience = 30 * time.Minute

// Turn is what is to be done next.
type Turn struct {
	// Open are Pods that may be scheduled now, Replace those of before that are to go.
	Open, Replace []*corev1.Pod
}

// NextTurn decides whose turn it is. No more than nodesAtOnce nodes pull at a time: those
// with a Pod that was let go and whose images the kubelet has not all tried yet, or that is
// about to be replaced. An image that cannot be had keeps nobody waiting. revisions are what the
// Pods of each placement are to be made for. done are Pods that were opened or deleted just
// now, although pods do not show it yet.
func NextTurn(pods []corev1.Pod, revisions map[string]string, done map[types.UID]bool, nodesAtOnce int, now time.Time) Turn {
	busy := map[string]bool{}
	var waiting, former []*corev1.Pod
	for i := range pods {
		pod := &pods[i]
		revision, wanted := revisions[pod.Labels[imagestate.LabelPlacement]]
		node := imagestate.NodeOf(pod)
		switch {
		case !wanted || node == "":
		case done[pod.UID] || pod.DeletionTimestamp != nil:
			busy[node] = true
		case imagestate.IsGated(pod) && pod.Labels[labelImages] == revision:
			waiting = append(waiting, pod)
		case pod.Labels[labelImages] != revision:
			former = append(former, pod)
			if isPulling(pod, now) {
				busy[node] = true
			}
		case isPulling(pod, now):
			busy[node] = true
		}
	}
	var turn Turn
	take := func(from []*corev1.Pod) (taken []*corev1.Pod) {
		slices.SortFunc(from, func(a, b *corev1.Pod) int {
			return cmp.Or(cmp.Compare(imagestate.NodeOf(a), imagestate.NodeOf(b)), cmp.Compare(a.Name, b.Name))
		})
		for _, pod := range from {
			node := imagestate.NodeOf(pod)
			if busy[node] || len(busy) < nodesAtOnce {
				busy[node] = true
				taken = append(taken, pod)
			}
		}
		return taken
	}
	turn.Open = take(waiting)
	turn.Replace = take(former)
	return turn
}

func isPulling(pod *corev1.Pod, now time.Time) bool {
	if imagestate.IsGated(pod) || imagestate.Unscheduled(pod) != "" || pod.Status.Phase == corev1.PodFailed || imagestate.Settled(pod) {
		return false
	}
	since := pod.CreationTimestamp.Time
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue {
			since = c.LastTransitionTime.Time
		}
	}
	return now.Sub(since) < patience
}
