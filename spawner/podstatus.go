package spawner

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/podtrouble"
)

// trouble becomes a failure when it has lasted for grace; 0 means at once.
type trouble struct{ grace time.Duration }

// phaseOfPod says where a living Pod is.
func phaseOfPod(o observed, pod *corev1.Pod) phaseStatus {
	for _, condition := range pod.Status.Conditions {
		switch {
		case condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue:
			return phaseStatus{phase: v1alpha1.NotebookReady, reason: ReasonReady, message: "The server answers."}
		case condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse && condition.Reason == corev1.PodReasonUnschedulable:
			return phaseStatus{phase: v1alpha1.NotebookStarting, reason: ReasonUnschedulable, message: unplaced(o, pod, condition.Message)}
		}
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			if v := phaseOfContainer(o, pod, &statuses[i]); v != nil {
				return *v
			}
		}
	}
	if other := podrules.NotReady(pod, map[string]bool{ownContainer(o, pod): true}); other != nil && len(pod.Status.ContainerStatuses) > 1 {
		return phaseStatus{phase: v1alpha1.NotebookStarting, reason: ReasonPodStarting, message: fmt.Sprintf("The server is ready, but the container %s of its Pod is not.", other.Name)}
	}
	return phaseStatus{phase: v1alpha1.NotebookStarting, reason: ReasonPodStarting, message: "The server is starting."}
}

// phaseOfContainer knows the kubelet's waiting reasons (pkg/kubelet/container
// and pkg/kubelet/images of Kubernetes); nil means no trouble.
func phaseOfContainer(o observed, pod *corev1.Pod, status *corev1.ContainerStatus) *phaseStatus {
	waiting := status.State.Waiting
	if waiting == nil {
		return nil
	}
	switch waiting.Reason {
	case "InvalidImageName", "ErrImageNeverPull":
		return &phaseStatus{reason: ReasonImagePullFailed, message: fmt.Sprintf("Image %s cannot be used: %s", status.Image, translated(podtrouble.Unpulled(status.Image, waiting.Message))), trouble: &trouble{}}
	case "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed":
		return &phaseStatus{reason: ReasonImagePullFailed, message: unpulled(status.Image, whyUnpulled(o, pod, waiting.Message)), trouble: &trouble{troubleGrace}}
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError", "PreStartHookError", "PostStartHookError":
		return &phaseStatus{reason: ReasonContainerConfig, message: "The container cannot be started: " + shorten(waiting.Message), trouble: &trouble{troubleGrace}}
	case "CrashLoopBackOff":
		// The kubelet restarts once without a pause: it has ended twice by now.
		reason, message := crash(status, subject(o, pod, status.Name))
		return &phaseStatus{reason: reason, message: message, trouble: &trouble{}}
	default:
		return nil // ContainerCreating, PodInitializing, or new
	}
}

// ownContainer names the server's container. Others may have put theirs before it in a Pod that exists,
// and may have in a Deployment.
func ownContainer(o observed, pod *corev1.Pod) string {
	spec := &pod.Spec
	if o.notebook != nil && o.notebook.Spec.Template != nil {
		spec = &o.notebook.Spec.Template.Spec
	}
	if len(spec.Containers) == 0 {
		return v1alpha1.NotebookContainer
	}
	return notebookContainer(spec).Name
}

// subject is what a container of a server's Pod is called.
func subject(o observed, pod *corev1.Pod, container string) string {
	if container == ownContainer(o, pod) {
		return "The server"
	}
	return "The container " + container + " of the server's Pod"
}

func crash(status *corev1.ContainerStatus, who string) (Reason, string) {
	last := status.LastTerminationState.Terminated
	if last == nil {
		return ReasonCrashed, who + " ended again and again."
	}
	if last.Reason == "OOMKilled" {
		return ReasonOutOfMemory, who + " ended again and again: it used more memory than its limit."
	}
	message := fmt.Sprintf("%s ended again and again, with exit code %d", who, last.ExitCode)
	if text := lastLines(last.Message); text != "" {
		return ReasonCrashed, message + ": " + text
	}
	return ReasonCrashed, message + "."
}

// isUnplaced tells that the scheduler has found no node for a Pod.
func isUnplaced(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable
	})
}

// unplaced tells why no node takes a Pod.
func unplaced(o observed, pod *corev1.Pod, message string) string {
	placement := podtrouble.Placement{Spec: &pod.Spec, Room: o.room}
	if policies := policiesOf(o.notebook); len(policies) > 0 {
		placement.Policy = "the policy " + policies[0] // where servers run is what the first says
	}
	clause, known := podtrouble.Unplaced(message, placement)
	if !known {
		return "Waiting for a node: " + shorten(message)
	}
	return podtrouble.Sentence(clause)
}

func unpulled(image, message string) string {
	return fmt.Sprintf("Image %s cannot be pulled: %s", image, translated(podtrouble.Unpulled(image, message)))
}

// whyUnpulled takes the cause from the last Event where the kubelet, before it tries again,
// does not repeat it.
func whyUnpulled(o observed, pod *corev1.Pod, message string) string {
	if podtrouble.SaysWhy(message) {
		return message
	}
	var last *corev1.Event
	for i := range o.events {
		e := &o.events[i]
		if e.InvolvedObject.UID == pod.UID && e.Reason == "Failed" && failedPull.MatchString(e.Message) && (last == nil || happened(e).After(happened(last))) {
			last = e
		}
	}
	if last == nil {
		return message
	}
	return last.Message
}

// translated shortens what is not ours.
func translated(clause string, known bool) string {
	if known {
		return strings.Join(strings.Fields(clause), " ")
	}
	return shorten(clause)
}

// maxMessageBytes bounds what a status or an event says.
const maxMessageBytes = 512

// shorten keeps the beginning of a message, on one line.
func shorten(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(text) <= maxMessageBytes {
		return text
	}
	cut := maxMessageBytes
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// lastLines keeps the end of a log, where the error is.
func lastLines(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(text) <= maxMessageBytes {
		return text
	}
	cut := len(text) - maxMessageBytes
	for !utf8.RuneStart(text[cut]) {
		cut++
	}
	return "…" + text[cut:]
}
