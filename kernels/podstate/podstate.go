package podstate

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/podtrouble"
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

// Ending is how a Pod came to its end.
type Ending struct {
	Cause   v1alpha1.KernelCause
	Message string
	// Clean ends are no failure: idle, shutdown, or exit code 0 of a template's Pod.
	Clean bool
	// Disrupted: somebody or something outside took the Pod away.
	Disrupted bool
	// Kept is what the agent says that is kept; nil if it says nothing.
	Kept *v1alpha1.KeptState
}

// EndingOf returns how the Pod ended, or nil while it may still live. A Pod whose
// agent has a container of its own ends with that: it stays longer than the
// kernel, and says why.
func EndingOf(pod *corev1.Pod) *Ending {
	ending := endingOf(pod)
	if ending != nil {
		ending.Kept = keptBy(pod)
	}
	return ending
}

func endingOf(pod *corev1.Pod) *Ending {
	state := terminated(pod)
	if state == nil && Alive(pod) {
		return nil
	}
	own := ownEnd(pod)
	if own != nil && podspec.HasAgentContainer(&pod.Spec) {
		return own
	}
	if e := Disruption(pod); e != nil {
		return e
	}
	if state == nil && pod.Status.Reason != "" {
		return &Ending{Cause: v1alpha1.CauseRejected, Disrupted: true, Message: Sentence(fmt.Sprintf("The node %s would not run the kernel's Pod (%s)", pod.Spec.NodeName, pod.Status.Reason), Clip(pod.Status.Message))}
	}
	if state == nil {
		return &Ending{Cause: v1alpha1.CauseUnknown, Message: Sentence("The kernel's Pod ended", pod.Status.Message)}
	}
	if own != nil {
		return own
	}
	var said protocol.Result
	if json.Unmarshal([]byte(state.Message), &said) != nil {
		said = protocol.Result{}
	}
	said.Message = Clip(said.Message)
	cause, known := agentCauses[said.Reason]
	switch {
	case kernelOf(pod).OutOfMemory() && cause != v1alpha1.CauseIdle && cause != v1alpha1.CauseShutdown && cause != v1alpha1.CauseOrphaned:
		// also when it was the agent that saw it and reported an exit
		return &Ending{Cause: v1alpha1.CauseOutOfMemory, Message: memoryMessage(pod)}
	case known:
		return &Ending{Cause: cause, Message: said.Message}
	case said.Reason == protocol.ReasonTerminated:
		return &Ending{Cause: v1alpha1.CauseUnknown, Disrupted: true, Message: "The kernel's Pod was deleted."}
	case state.Reason == "ContainerCannotRun", state.Reason == "StartError":
		return &Ending{Cause: v1alpha1.CauseStartFailed, Message: Sentence("The kernel's container could not start", Clip(state.Message))}
	case state.Reason == "ContainerStatusUnknown", state.Reason == "Unknown":
		return &Ending{Cause: v1alpha1.CauseNodeLost, Disrupted: true, Message: fmt.Sprintf("The node %s restarted or lost the kernel's container.", pod.Spec.NodeName)}
	case state.Reason == "OOMKilled":
		return &Ending{Cause: v1alpha1.CauseKernelExited, Message: "The kernel's agent needed more memory than it may have; the kernel was ended with it."}
	case podspec.HasAgentContainer(&pod.Spec):
		return &Ending{Cause: v1alpha1.CauseKernelExited, Message: fmt.Sprintf("The kernel's agent ended with exit code %d; the kernel was ended with it.", state.ExitCode)}
	case state.ExitCode == exitKilled:
		return &Ending{Cause: v1alpha1.CauseKernelExited, Message: "The kernel's container was killed from outside (exit code 137); most often its node had no memory left."}
	case state.ExitCode == 0:
		return &Ending{Cause: v1alpha1.CauseKernelExited, Message: "The kernel's container ended.", Clean: true}
	default:
		return &Ending{Cause: v1alpha1.CauseKernelExited, Message: Sentence(fmt.Sprintf("The kernel's container ended with exit code %d", state.ExitCode), lastLines(state.Message))}
	}
}

// ownEnd recognises a kernel that its agent has ended because it was idle or was asked
// to, or is nil. If the agent is apart, that is how it ended, whoever took the Pod away
// meanwhile: a drain waits for just that, and evicts a Pod as soon as it is not ready.
func ownEnd(pod *corev1.Pod) *Ending {
	state := terminated(pod)
	if state == nil || state.ExitCode != 0 {
		return nil
	}
	var said protocol.Result
	if json.Unmarshal([]byte(state.Message), &said) != nil {
		return nil
	}
	cause, known := agentCauses[said.Reason]
	if !known || cause != v1alpha1.CauseIdle && cause != v1alpha1.CauseShutdown {
		return nil
	}
	return &Ending{Cause: cause, Message: Clip(said.Message), Clean: true}
}

// MeterOf is what the agent of a Pod that has ended has counted; nil where it does not say.
func MeterOf(pod *corev1.Pod) *protocol.Meter {
	state := terminated(pod)
	if state == nil {
		return nil
	}
	var said protocol.Result
	if json.Unmarshal([]byte(state.Message), &said) != nil || !said.Meter.Counts() {
		return nil
	}
	return said.Meter
}

// Disruption recognises ends that came from outside the Pod, or is nil.
func Disruption(pod *corev1.Pod) *Ending {
	if pod.Status.Reason == "DeadlineExceeded" {
		text := "The kernel's Pod has run for the longest time that is allowed."
		if d := pod.Spec.ActiveDeadlineSeconds; d != nil && !podspec.MadeWarm(pod) {
			text = fmt.Sprintf("The kernel's Pod has run for %s, the longest that is allowed.", time.Duration(*d)*time.Second)
		}
		return &Ending{Cause: v1alpha1.CauseDeadline, Message: text}
	}
	by, why := podtrouble.TakenAway(pod)
	switch by {
	case "":
		return nil
	case podtrouble.TakenWithNode:
		return &Ending{Cause: v1alpha1.CauseNodeLost, Disrupted: true, Message: lostMessage(pod)}
	case podtrouble.TakenByTaint:
		if silent(pod) {
			return &Ending{Cause: v1alpha1.CauseNodeLost, Disrupted: true, Message: Sentence("The kernel's Pod was taken away", why)}
		}
	case podtrouble.TakenByPressure, podtrouble.TakenByPreemption, podtrouble.TakenByEviction, podtrouble.TakenByShutdown, podtrouble.TakenByOthers:
	}
	return &Ending{Cause: v1alpha1.CauseEvicted, Disrupted: true, Message: Sentence("The kernel's Pod was taken away", Clip(why))}
}

// silent reports whether the kubelet of a Pod's node does not answer: then the node controller makes
// the Pod not ready, and gives no reason, as the kubelet does (pkg/controller/util/node).
func silent(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status != corev1.ConditionTrue && c.Reason == ""
		}
	}
	return true
}

// Vanished is the end of a Pod that is gone before anyone saw how it ended;
// last is how it looked last, if that is known.
func Vanished(last *corev1.Pod) Ending {
	if last != nil {
		if podspec.HasAgentContainer(&last.Spec) || !Alive(last) {
			if e := EndingOf(last); e != nil {
				return *e
			}
		}
		if e := Disruption(last); e != nil {
			e.Kept = keptBy(last)
			return *e
		}
	}
	return Ending{Cause: v1alpha1.CauseUnknown, Disrupted: true, Message: "The kernel's Pod was deleted."}
}

// kernelOf is the kernel's container.
func kernelOf(pod *corev1.Pod) podrules.Container {
	if len(pod.Spec.Containers) == 0 {
		return podrules.Container{}
	}
	return podrules.ContainerOf(pod, podspec.KernelContainerOf(pod).Name)
}

// Halved reports whether the agent of a Pod or its kernel has ended, and not the
// other. Neither is of any use alone: the Pod is to go.
func Halved(pod *corev1.Pod) bool {
	if !podspec.HasAgentContainer(&pod.Spec) {
		return false
	}
	agent, kernel := podrules.ContainerOf(pod, v1alpha1.AgentContainer), kernelOf(pod)
	return agent.Terminated != nil && kernel.Running || kernel.Terminated != nil && agent.Running
}

// terminated is the final state of the container that says how a kernel's run
// ended, or nil: the agent's, where that has a container of its own.
func terminated(pod *corev1.Pod) *corev1.ContainerStateTerminated {
	if len(pod.Spec.Containers) == 0 {
		return nil
	}
	if Alive(pod) && pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
		end := kernelOf(pod).Terminated
		if end == nil || end.ExitCode != 0 || pod.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
			return nil // the kubelet will start it again
		}
		return end // a sidecar may go on
	}
	if podspec.HasAgentContainer(&pod.Spec) {
		if end := podrules.ContainerOf(pod, v1alpha1.AgentContainer).Terminated; end != nil {
			return end
		}
	} else if end := kernelOf(pod).Terminated; end != nil {
		return end
	}
	for _, s := range pod.Status.InitContainerStatuses {
		if t := s.State.Terminated; t != nil && t.ExitCode != 0 && !podrules.StartsAgain(pod, s.Name) {
			return &corev1.ContainerStateTerminated{
				ExitCode: t.ExitCode, Reason: "StartError",
				Message: fmt.Sprintf("its init container %s ended with exit code %d", s.Name, t.ExitCode),
			}
		}
	}
	return nil
}

func memoryMessage(pod *corev1.Pod) string {
	if limit, ok := podspec.KernelContainerOf(pod).Resources.Limits[corev1.ResourceMemory]; ok {
		return fmt.Sprintf("The kernel exceeded its memory limit of %s.", limit.String())
	}
	return "The kernel ran out of memory."
}

func lostMessage(pod *corev1.Pod) string {
	return fmt.Sprintf("The node %s, where the kernel ran, is gone.", pod.Spec.NodeName)
}

const (
	// ImageGrace is how long a Pod may fail to get its image: one retry of the kubelet.
	ImageGrace = 20 * time.Second
	// ContainerGrace is how long a container may fail to be created.
	ContainerGrace = 30 * time.Second
)

// Trouble is something that keeps a Pod from starting.
type Trouble struct {
	// Reason is the kubelet's or the scheduler's own word.
	Reason  string
	Message string
	// Cause and Grace say what becomes of it; no Cause means waiting for ever.
	Cause v1alpha1.KernelCause
	Grace time.Duration
}

// TroubleOf tells what keeps a Pod from starting, or nil.
func TroubleOf(pod *corev1.Pod) *Trouble {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return &Trouble{Reason: c.Reason, Message: Sentence("No node can take the kernel's Pod", unplaced(pod, c.Message))}
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
				grace := ImageGrace
				if w.Reason == "ErrImageNeverPull" || w.Reason == "InvalidImageName" {
					grace = 0 // trying again cannot help
				}
				return &Trouble{Reason: w.Reason, Cause: v1alpha1.CauseImage, Grace: grace,
					Message: Sentence(fmt.Sprintf("The image %s cannot be had (%s)", images[s.Name], w.Reason), translated(podtrouble.Unpulled(images[s.Name], w.Message)))}
			case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff":
				if w.Reason == "CrashLoopBackOff" && pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
					continue // the template wants it restarted
				}
				return &Trouble{Reason: w.Reason, Cause: v1alpha1.CauseStartFailed, Grace: ContainerGrace,
					Message: Sentence(subject(pod, s.Name)+" cannot be created", Clip(w.Message))}
			}
		}
	}
	return nil
}

// subject is what a container of a kernel's Pod is called.
func subject(pod *corev1.Pod, container string) string {
	switch {
	case container == podspec.KernelContainerOf(pod).Name:
		return "The kernel's container"
	case container == v1alpha1.AgentContainer && podspec.HasAgentContainer(&pod.Spec):
		return "The container of the kernel's agent"
	}
	return "The container " + container + " of the kernel's Pod"
}

// unplaced translates what the scheduler says.
func unplaced(pod *corev1.Pod, message string) string {
	return translated(podtrouble.Unplaced(message, podtrouble.Placement{Spec: &pod.Spec}))
}

// translated bounds what others wrote.
func translated(clause string, known bool) string {
	if known {
		return clause
	}
	return Clip(clause)
}

// Alive reports whether a Pod can still use what it was given: a Pod's devices
// are free once all its containers have ended for good.
func Alive(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

// Ready reports whether the agent of a Pod answers.
func Ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Unschedulable reports whether the scheduler finds no node for a Pod.
func Unschedulable(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			return c.Status == corev1.ConditionFalse
		}
	}
	return false
}

// Sentence appends a detail, which may be empty, to a statement.
func Sentence(statement, detail string) string {
	if detail == "" {
		return statement + "."
	}
	return statement + ": " + detail
}

// lastLines keeps the end of a log, where the fault is, in as many bytes as Clip.
func lastLines(log string) string {
	log = strings.TrimSpace(strings.ToValidUTF8(log, "?"))
	if len(log) <= mostClipped {
		return log
	}
	cut := len(log) - mostClipped
	for log[cut]&0xC0 == 0x80 {
		cut++
	}
	return "…" + log[cut:]
}

// mostClipped is how much of what others wrote goes into a status, in bytes.
const mostClipped = 512

// Clip bounds what others wrote, in bytes, before it goes into a status.
func Clip(text string) string {
	if len(text) <= mostClipped {
		return text
	}
	cut := mostClipped
	for cut > 0 && text[cut]&0xC0 == 0x80 {
		cut--
	}
	return text[:cut] + "…"
}
