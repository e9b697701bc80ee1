package spawner

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// trouble becomes a failure when it has lasted for grace; 0 means at once.
type trouble struct{ grace time.Duration }

// phaseOfPod says where a living Pod is.
func phaseOfPod(pod *corev1.Pod) phaseStatus {
	for _, condition := range pod.Status.Conditions {
		switch {
		case condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue:
			return phaseStatus{phase: v1alpha1.NotebookReady, reason: ReasonReady, message: "The server answers."}
		case condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse && condition.Reason == corev1.PodReasonUnschedulable:
			return phaseStatus{phase: v1alpha1.NotebookStarting, reason: ReasonUnschedulable, message: "Waiting for a node: " + shorten(condition.Message)}
		}
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			if v := phaseOfContainer(&statuses[i], subject(pod, statuses[i].Name)); v != nil {
				return *v
			}
		}
	}
	return phaseStatus{phase: v1alpha1.NotebookStarting, reason: ReasonPodStarting, message: "The server is starting."}
}

// phaseOfContainer knows the kubelet's waiting reasons (pkg/kubelet/container
// and pkg/kubelet/images of Kubernetes); nil means no trouble.
func phaseOfContainer(status *corev1.ContainerStatus, who string) *phaseStatus {
	waiting := status.State.Waiting
	if waiting == nil {
		return nil
	}
	switch waiting.Reason {
	case "InvalidImageName", "ErrImageNeverPull":
		return &phaseStatus{reason: ReasonImagePullFailed, message: fmt.Sprintf("Image %s cannot be used: %s", status.Image, shorten(waiting.Message)), trouble: &trouble{}}
	case "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed":
		return &phaseStatus{reason: ReasonImagePullFailed, message: fmt.Sprintf("Image %s cannot be pulled: %s", status.Image, shorten(waiting.Message)), trouble: &trouble{troubleGrace}}
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError", "PreStartHookError", "PostStartHookError":
		return &phaseStatus{reason: ReasonContainerConfig, message: "The container cannot be started: " + shorten(waiting.Message), trouble: &trouble{troubleGrace}}
	case "CrashLoopBackOff":
		// The kubelet restarts once without a pause: it has ended twice by now.
		reason, message := crash(status, who)
		return &phaseStatus{reason: reason, message: message, trouble: &trouble{}}
	default:
		return nil // ContainerCreating, PodInitializing, or new
	}
}

// subject is what a container of a server's Pod is called.
func subject(pod *corev1.Pod, container string) string {
	if len(pod.Spec.Containers) == 0 || container == notebookContainer(&pod.Spec).Name {
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
