package lifecycle

import (
	"cmp"
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// Summarize ends the making of a kernel's status: it sets the condition Ready,
// whose reason is the phase or why it is over, and the generation it speaks of. A
// kernel that cannot be read is not ready, whatever its Pod is.
func Summarize(s *v1alpha1.JupyterKernelStatus, k *v1alpha1.JupyterKernel, now time.Time) {
	s.ObservedGeneration = k.Generation
	if err := k.Malformed(); err != nil {
		podrules.SetCondition(&s.Conditions, k.Generation, now, v1alpha1.ConditionReady, false, string(v1alpha1.ReasonMalformed), err.Error())
		return
	}
	reason := string(s.Phase)
	if s.Phase.IsOver() {
		reason = cmp.Or(string(s.Cause), reason)
	}
	podrules.SetCondition(&s.Conditions, k.Generation, now, v1alpha1.ConditionReady, s.Phase == v1alpha1.KernelReady, reason, s.Message)
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
