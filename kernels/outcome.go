package kernels

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/podspec"
)

const (
	// imageGrace is how long a Pod may fail to get its image: one retry of the kubelet.
	imageGrace = 20 * time.Second
	// containerGrace is how long a container may fail to be created.
	containerGrace = 30 * time.Second
	// lostGrace is how long after its deadline a deleted Pod may linger before
	// it is taken from the API server by force: its node does not answer.
	lostGrace = 60 * time.Second
	// startLimit is how long a Pod that has a node may take to become ready,
	// its image included.
	startLimit = 30 * time.Minute
	// hintAfter is when a Pod that does not start is asked for its events.
	hintAfter = 15 * time.Second
)

// exitKilled is the exit code of SIGKILL.
const exitKilled = 137

// agentCauses maps every reason of the protocol.
var agentCauses = map[protocol.Reason]v1alpha1.KernelCause{
	protocol.ReasonIdle:         v1alpha1.CauseIdle,
	protocol.ReasonShutdown:     v1alpha1.CauseShutdown,
	protocol.ReasonKernelExited: v1alpha1.CauseKernelExited,
	protocol.ReasonStartFailed:  v1alpha1.CauseStartFailed,
	protocol.ReasonOrphaned:     v1alpha1.CauseOrphaned,
}

// ending is how a Pod came to its end.
type ending struct {
	Cause   v1alpha1.KernelCause
	Message string
	// Clean ends are no failure: idle, shutdown, or exit code 0 of a template's Pod.
	Clean bool
	// Taken: somebody or something outside took the Pod away.
	Taken bool
}

// alive tells whether a Pod can still use what it was given: a Pod's devices
// are free once all its containers have ended for good.
func alive(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

// ended returns how the Pod ended, or nil while it may still live.
func ended(pod *corev1.Pod) *ending {
	state := terminated(pod)
	if state == nil && alive(pod) {
		return nil
	}
	if e := disrupted(pod); e != nil {
		return e
	}
	if state == nil && pod.Status.Reason != "" {
		return &ending{Cause: v1alpha1.CauseRejected, Taken: true, Message: sentence(fmt.Sprintf("The node %s would not run the kernel's Pod (%s)", pod.Spec.NodeName, pod.Status.Reason), clip(pod.Status.Message))}
	}
	if state == nil {
		return &ending{Cause: v1alpha1.CauseUnknown, Message: sentence("The kernel's Pod ended", pod.Status.Message)}
	}
	var said protocol.Result
	if json.Unmarshal([]byte(state.Message), &said) != nil {
		said = protocol.Result{}
	}
	said.Message = clip(said.Message)
	cause, known := agentCauses[said.Reason]
	if known && state.ExitCode == 0 && (cause == v1alpha1.CauseIdle || cause == v1alpha1.CauseShutdown) {
		return &ending{Cause: cause, Message: said.Message, Clean: true}
	}
	switch {
	case state.Reason == "OOMKilled": // also when it was the agent that saw it and reported an exit
		return &ending{Cause: v1alpha1.CauseOutOfMemory, Message: memoryMessage(pod)}
	case known:
		return &ending{Cause: cause, Message: said.Message}
	case said.Reason == protocol.ReasonTerminated:
		return &ending{Cause: v1alpha1.CauseUnknown, Taken: true, Message: "The kernel's Pod was deleted."}
	case state.Reason == "ContainerCannotRun", state.Reason == "StartError":
		return &ending{Cause: v1alpha1.CauseStartFailed, Message: sentence("The kernel's container could not start", clip(state.Message))}
	case state.Reason == "ContainerStatusUnknown", state.Reason == "Unknown":
		return &ending{Cause: v1alpha1.CauseNodeLost, Taken: true, Message: fmt.Sprintf("The node %s restarted or lost the kernel's container.", pod.Spec.NodeName)}
	case state.ExitCode == exitKilled:
		return &ending{Cause: v1alpha1.CauseKernelExited, Message: "The kernel's container was killed from outside (exit code 137); most often its node had no memory left."}
	case state.ExitCode == 0:
		return &ending{Cause: v1alpha1.CauseKernelExited, Message: "The kernel's container ended.", Clean: true}
	default:
		return &ending{Cause: v1alpha1.CauseKernelExited, Message: fmt.Sprintf("The kernel's container ended with exit code %d.", state.ExitCode)}
	}
}

// disrupted recognises ends that came from outside the Pod.
func disrupted(pod *corev1.Pod) *ending {
	switch pod.Status.Reason {
	case "Evicted":
		return &ending{Cause: v1alpha1.CauseEvicted, Taken: true, Message: sentence("The node evicted the kernel's Pod", clip(pod.Status.Message))}
	case "DeadlineExceeded":
		text := "The kernel's Pod has run for the longest time that is allowed."
		if d := pod.Spec.ActiveDeadlineSeconds; d != nil && !podspec.MadeWarm(pod) {
			text = fmt.Sprintf("The kernel's Pod has run for %s, the longest that is allowed.", time.Duration(*d)*time.Second)
		}
		return &ending{Cause: v1alpha1.CauseDeadline, Message: text}
	case "NodeLost":
		return &ending{Cause: v1alpha1.CauseNodeLost, Taken: true, Message: lostMessage(pod)}
	case "NodeShutdown", "Terminated", "Shutdown", "Preempting":
		return &ending{Cause: v1alpha1.CauseEvicted, Taken: true, Message: sentence("The node ended the kernel's Pod", clip(pod.Status.Message))}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type != corev1.DisruptionTarget || c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Reason {
		case "DeletionByTaintManager", "DeletionByPodGC":
			return &ending{Cause: v1alpha1.CauseNodeLost, Taken: true, Message: lostMessage(pod)}
		default: // PreemptionByScheduler, EvictionByEvictionAPI, TerminationByKubelet
			return &ending{Cause: v1alpha1.CauseEvicted, Taken: true, Message: sentence("The kernel's Pod was evicted", clip(c.Message))}
		}
	}
	return nil
}

// vanished is the end of a Pod that is gone before anyone saw how it ended;
// last is how it looked last, if that is known.
func vanished(last *corev1.Pod) ending {
	if last != nil {
		if e := disrupted(last); e != nil {
			return *e
		}
	}
	return ending{Cause: v1alpha1.CauseUnknown, Taken: true, Message: "The kernel's Pod was deleted."}
}

// terminated is the final state of the kernel's container, or nil.
func terminated(pod *corev1.Pod) *corev1.ContainerStateTerminated {
	if alive(pod) && pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
		return nil // the kubelet will start it again
	}
	if len(pod.Spec.Containers) == 0 {
		return nil
	}
	name := podspec.KernelContainer(&pod.Spec).Name
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == name && s.State.Terminated != nil {
			return s.State.Terminated
		}
	}
	for _, s := range pod.Status.InitContainerStatuses {
		if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
			return &corev1.ContainerStateTerminated{
				ExitCode: t.ExitCode, Reason: "StartError",
				Message: fmt.Sprintf("its init container %s ended with exit code %d", s.Name, t.ExitCode),
			}
		}
	}
	return nil
}

// trouble is something that keeps a Pod from starting.
type trouble struct {
	// Reason is the kubelet's or the scheduler's own word.
	Reason  string
	Message string
	// Cause and Grace say what becomes of it; no Cause means waiting for ever.
	Cause v1alpha1.KernelCause
	Grace time.Duration
}

// troubled tells what keeps a Pod from starting, or nil.
func troubled(pod *corev1.Pod) *trouble {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return &trouble{Reason: c.Reason, Message: sentence("No node can take the kernel's Pod", clip(c.Message))}
		}
	}
	images := map[string]string{}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			images[c.Name] = c.Image
		}
	}
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, s := range list {
			w := s.State.Waiting
			if w == nil {
				continue
			}
			switch w.Reason {
			case "ErrImageNeverPull", "InvalidImageName", "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed":
				grace := imageGrace
				if w.Reason == "ErrImageNeverPull" || w.Reason == "InvalidImageName" {
					grace = 0 // trying again cannot help
				}
				return &trouble{Reason: w.Reason, Cause: v1alpha1.CauseImage, Grace: grace,
					Message: sentence(fmt.Sprintf("The image %s cannot be had (%s)", images[s.Name], w.Reason), clip(w.Message))}
			case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff":
				if w.Reason == "CrashLoopBackOff" && pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
					continue // the template wants it restarted
				}
				return &trouble{Reason: w.Reason, Cause: v1alpha1.CauseStartFailed, Grace: containerGrace,
					Message: sentence("The kernel's container cannot be created", clip(w.Message))}
			}
		}
	}
	return nil
}

func memoryMessage(pod *corev1.Pod) string {
	if limit, ok := podspec.KernelContainer(&pod.Spec).Resources.Limits[corev1.ResourceMemory]; ok {
		return fmt.Sprintf("The kernel exceeded its memory limit of %s.", limit.String())
	}
	return "The kernel ran out of memory."
}

func lostMessage(pod *corev1.Pod) string {
	return fmt.Sprintf("The node %s, where the kernel ran, is gone.", pod.Spec.NodeName)
}

// sentence appends a detail, which may be empty, to a statement.
func sentence(statement, detail string) string {
	if detail == "" {
		return statement + "."
	}
	return statement + ": " + detail
}

// clip bounds what others wrote, in bytes, before it goes into a status.
func clip(text string) string {
	const most = 512
	if len(text) <= most {
		return text
	}
	cut := most
	for cut > 0 && text[cut]&0xC0 == 0x80 {
		cut--
	}
	return text[:cut] + "…"
}
