package lifecycle

import (
	"cmp"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
)

// Summarize ends the making of a kernel's status: it says how the kernel stands and why,
// and which generation that speaks of. A kernel that cannot be read is not ready, whatever
// its Pod is.
func Summarize(s *v1alpha1.JupyterKernelStatus, k *v1alpha1.JupyterKernel, now time.Time) {
	s.ObservedGeneration = k.Generation
	if err := k.Malformed(); err != nil {
		s.Reason = string(v1alpha1.ReasonMalformed)
		health.Set(&s.Conditions, k.Generation, now, health.Stalled, s.Reason, err.Error())
		return
	}
	s.Reason = reasonOf(s)
	health.Set(&s.Conditions, k.Generation, now, standingOf(s), cmp.Or(s.Reason, string(s.Phase), "Unknown"), s.Message)
}

// standingOf tells a kernel that ended as it should, and comes back when it is asked to or
// has done its work, from one that failed.
func standingOf(s *v1alpha1.JupyterKernelStatus) health.Standing {
	switch s.Phase {
	case v1alpha1.KernelReady:
		return health.Ready
	case v1alpha1.KernelParked:
		return health.Resting
	case v1alpha1.KernelDead:
		if meta.IsStatusConditionTrue(s.Conditions, ConditionSucceeded) {
			return health.Resting
		}
		return health.Stalled
	case v1alpha1.KernelQueued, v1alpha1.KernelStarting:
	}
	return health.Coming
}

// reasonOf is the word for why a kernel is over, or what it waits for beside its place in
// the queue; empty if it is neither.
func reasonOf(s *v1alpha1.JupyterKernelStatus) string {
	kind := ""
	switch s.Phase {
	case v1alpha1.KernelParked, v1alpha1.KernelDead:
		return string(s.Cause)
	case v1alpha1.KernelQueued:
		kind = ConditionResolved
		if meta.IsStatusConditionFalse(s.Conditions, ConditionTaken) {
			kind = ConditionTaken
		}
	case v1alpha1.KernelStarting:
		kind = ConditionStartable
	case v1alpha1.KernelReady:
		kind = ConditionAgentReachable
	}
	if c := meta.FindStatusCondition(s.Conditions, kind); c != nil && c.Status == metav1.ConditionFalse {
		return c.Reason
	}
	return ""
}

// Counted reports whether admission counts a kernel by its status.
func Counted(s v1alpha1.JupyterKernelStatus) bool {
	return s.Phase.HasPod() || len(s.Held) > 0
}

// ClaimsWarmPod reports whether a kernel has been promised a warm Pod that it does not
// have for sure yet.
func ClaimsWarmPod(s v1alpha1.JupyterKernelStatus) bool {
	return s.Phase == v1alpha1.KernelStarting && s.Warm != "" && s.StartTime == nil
}

// HasAgent reports whether a kernel has a Pod whose agent answers.
func HasAgent(k *v1alpha1.JupyterKernel) bool {
	return k.Status.Phase == v1alpha1.KernelReady && k.Status.PodIP != "" && k.Status.PodName != "" && k.DeletionTimestamp == nil
}

// awaitsPod reports whether the Pod of a kernel's present run is still to be made.
func awaitsPod(s v1alpha1.JupyterKernelStatus) bool {
	return s.Phase == v1alpha1.KernelQueued || s.Phase == v1alpha1.KernelStarting && s.StartTime == nil
}

// givesBack reports whether a kernel holds less than before.
func givesBack(former, current v1alpha1.JupyterKernelStatus) bool {
	return Counted(former) && (!Counted(current) || len(former.Held) > len(current.Held))
}
