package imagestate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/podrules"
)

// BinaryContainer is the init container that a Pod begins with.
const BinaryContainer = "binary"

// notPulled are the reasons of the kubelet for a container whose image it does not get.
var notPulled = []string{
	"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed",
}

// NodeOf is the node that a Pod is on or for; empty: nobody knows yet. A DaemonSet's Pod
// names it before it is scheduled.
func NodeOf(pod *corev1.Pod) string {
	if pod.Spec.NodeName != "" {
		return pod.Spec.NodeName
	}
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.NodeAffinity == nil || pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == "metadata.name" && field.Operator == corev1.NodeSelectorOpIn && len(field.Values) == 1 {
				return field.Values[0]
			}
		}
	}
	return ""
}

// IsGated reports whether it is not its node's turn yet.
func IsGated(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.SchedulingGates, func(g corev1.PodSchedulingGate) bool { return g.Name == Gate })
}

// Unscheduled is why the scheduler has no place for a Pod; empty: it has one, or was not asked.
func Unscheduled(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return cmp.Or(c.Message, c.Reason)
		}
	}
	return ""
}

// Settled reports whether the kubelet has tried each of a Pod's images: it has them, or says
// of each that it lacks that it cannot be had.
func Settled(pod *corev1.Pod) bool {
	for i := range pod.Spec.Containers {
		own := func(c *corev1.Container) bool { return c.Name == pod.Spec.Containers[i].Name }
		if s := stateWhere(pod, own).state; s != Present && s != Failing {
			return false
		}
	}
	return true
}

// imageDigits is the length of what tells images apart in the names of containers.
const imageDigits = 10

// ContainerOf names the container that holds an image. By its name it is found again, since a webhook
// may have another image run in it: that of a mirror.
func ContainerOf(image string) string { return "image-" + podrules.Digest(imageDigits, image) }

// stateOf is how far an image is on the node of one Pod. The kubelet gets the images of a
// Pod's containers one after the other, in their order, and goes on where one fails.
func stateOf(pod *corev1.Pod, image string) onNode {
	return stateWhere(pod, func(c *corev1.Container) bool { return c.Image == image || c.Name == ContainerOf(image) })
}

// stateWhere is that of the first container that is so.
func stateWhere(pod *corev1.Pod, is func(*corev1.Container) bool) onNode {
	if why := Unscheduled(pod); why != "" {
		return onNode{Waiting, "There is no room for the Pod that pulls it: " + clip(why)}
	}
	if IsGated(pod) || pod.Spec.NodeName == "" {
		return onNode{state: Waiting}
	}
	if pod.Status.Phase == corev1.PodFailed {
		return onNode{Failing, "The Pod that pulls it has failed: " + clip(cmp.Or(pod.Status.Message, pod.Status.Reason, "nobody says why"))}
	}
	for _, s := range pod.Status.InitContainerStatuses {
		if w := s.State.Waiting; w != nil && slices.Contains(notPulled, w.Reason) {
			what := "The image of the service"
			if s.Name != BinaryContainer {
				what = "The image of the container " + s.Name
			}
			return onNode{Failing, fmt.Sprintf("%s, which the Pod that pulls begins with, cannot be pulled (%s): %s", what, w.Reason, clip(w.Message))}
		}
	}
	pullingBefore := false
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		on := containerState(pod, c.Name)
		if is(c) {
			if on.state == Pulling && pullingBefore {
				on.state = Waiting
			}
			return on
		}
		pullingBefore = pullingBefore || on.state == Pulling
	}
	return onNode{state: Waiting} // the Pod is one of before
}

func containerState(pod *corev1.Pod, name string) onNode {
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name != name {
			continue
		}
		switch w := s.State.Waiting; {
		case s.State.Running != nil:
			return onNode{state: Present}
		case w != nil && slices.Contains(notPulled, w.Reason):
			return onNode{Failing, fmt.Sprintf("It cannot be pulled (%s): %s", w.Reason, clip(w.Message))}
		case w != nil && (w.Reason == "CrashLoopBackOff" || w.Reason == "RunContainerError" || w.Reason == "CreateContainerError"):
			return onNode{Failing, fmt.Sprintf("It is there, but nothing can be started in it (%s): %s", w.Reason, clip(cmp.Or(w.Message, lastEnd(s))))}
		case s.State.Terminated != nil:
			return onNode{state: Present} // it is started again
		}
	}
	return onNode{state: Pulling}
}

func lastEnd(s corev1.ContainerStatus) string {
	if t := s.LastTerminationState.Terminated; t != nil {
		return cmp.Or(t.Message, t.Reason)
	}
	return ""
}

// mostClipped is how much of others' words is shown, in characters.
const mostClipped = 300

func clip(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "�")), " ")
	if runes := []rune(text); len(runes) > mostClipped {
		text = string(runes[:mostClipped]) + "…"
	}
	if text == "" {
		return "nobody says why."
	}
	if strings.HasSuffix(text, ".") || strings.HasSuffix(text, "…") {
		return text
	}
	return text + "."
}

// sentences tells what is wrong on which nodes, what is wrong on most first.
func sentences(whys map[string][]string) []string {
	order := slices.SortedFunc(maps.Keys(whys), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(whys[b]), len(whys[a])), cmp.Compare(a, b))
	})
	told := make([]string, len(order))
	for i, why := range order {
		nodes := whys[why]
		slices.Sort(nodes)
		where := "Node " + nodes[0]
		if len(nodes) > 1 {
			where = fmt.Sprintf("%d nodes, %s among them", len(nodes), nodes[0])
		}
		told[i] = where + ": " + why
	}
	return told
}
