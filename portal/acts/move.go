package acts

import (
	"errors"
	"math"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Move of a kernel in the queue.
const Move Act = "MoveRequested"

// Errors of moves.
var (
	// ErrNotWaiting: the kernel has a Pod, or waits for none.
	ErrNotWaiting = errors.New("acts: it does not wait")
	// ErrNoPlace: there is no such place in the queue.
	ErrNoPlace = errors.New("acts: no such place in the queue")
)

// Place is where in the queue a kernel is moved.
type Place string

// The places. Turn is where it is by itself.
const (
	First Place = "first"
	Last  Place = "last"
	Turn  Place = "turn"
)

// Places are all that can be named.
var Places = []string{string(First), string(Last), string(Turn)}

// MoveKernel asks to move the present run of a kernel that waits, among all that there are.
// Errors: ErrNotWaiting, ErrNoPlace.
func MoveKernel(k *v1alpha1.JupyterKernel, all []v1alpha1.JupyterKernel, to Place, by, reason string) (Changes, error) {
	if !waits(k) {
		return nil, ErrNotWaiting
	}
	highest, lowest := int32(0), int32(0)
	for i := range all {
		if other := &all[i]; other.UID != k.UID && waits(other) {
			highest, lowest = max(highest, other.PriorityInQueue()), min(lowest, other.PriorityInQueue())
		}
	}
	spec := map[string]any{"queueMove": map[string]any{"run": k.PresentRun(), "by": Clip(by), "reason": reason}}
	switch to {
	case First:
		spec["queuePriority"] = min(highest, math.MaxInt32-1) + 1
	case Last:
		spec["queuePriority"] = max(lowest, math.MinInt32+1) - 1
	case Turn:
		spec["queuePriority"], spec["queueMove"] = nil, nil
	default:
		return nil, ErrNoPlace
	}
	return Changes{"spec": spec}, nil
}

// waits: the kernel is to have a Pod, and has none. A phase that is not written yet is none.
func waits(k *v1alpha1.JupyterKernel) bool {
	return k.DeletionTimestamp == nil && k.Spec.Shutdown == nil && !k.Status.Phase.HasPod() && k.HasPodOrWaits()
}
