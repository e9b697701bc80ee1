package podstate

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/podrules"
)

// BesideGrace is how long a kernel that is ready waits for a container beside it.
const BesideGrace = 5 * time.Minute

// TroubleBeside tells which container beside agent and kernel, that of a mesh perhaps, keeps a Pod
// from being ready although those two are, or nil. The cluster leads nobody to a Pod that is not.
func TroubleBeside(pod *corev1.Pod) *Trouble {
	if !podspec.HasAgentContainer(&pod.Spec) || len(pod.Status.ContainerStatuses) == 0 {
		return nil
	}
	own := map[string]bool{v1alpha1.AgentContainer: true, podspec.KernelContainerOf(pod).Name: true}
	other := podrules.NotReady(pod, own)
	if other == nil {
		return nil
	}
	told := &Trouble{Reason: "ContainersNotReady", Cause: v1alpha1.CauseStartFailed, Grace: BesideGrace,
		Message: fmt.Sprintf("The kernel is ready, but the container %s of its Pod is not.", other.Name)}
	if end := other.State.Terminated; end != nil && !podrules.StartsAgain(pod, other.Name) {
		told.Grace = ContainerGrace
		told.Message = fmt.Sprintf("The kernel is ready, but the container %s of its Pod has ended, with exit code %d, and is not started again.", other.Name, end.ExitCode)
	}
	return told
}
