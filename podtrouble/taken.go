package podtrouble

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Taking is by whom a Pod was taken away that others had made.
type Taking string

// The reasons of a Pod's condition DisruptionTarget and of its status, in one word each.
const (
	TakenByPressure   Taking = "NodePressure" // the kubelet ended it, short of something, or for what it used itself
	TakenByPreemption Taking = "Preempted"    // for a Pod of higher priority
	TakenByEviction   Taking = "Drained"      // by the eviction API: a drain, as a rule
	TakenByTaint      Taking = "Tainted"      // a taint NoExecute; those of nodes that do not answer are some, too
	TakenByShutdown   Taking = "NodeShutdown" // the node shuts down
	TakenWithNode     Taking = "NodeGone"     // the node is no more
	TakenByOthers     Taking = "Disrupted"    // a word of a newer Kubernetes
)

// Texts of the kubelet (pkg/kubelet/eviction/helpers.go, Kubernetes 1.30 to 1.35).
var (
	lowOn          = regexp.MustCompile(`^The node was low on resource: (\S+)\. (?:Threshold quantity: (\S+), available: (\S+)\. )?`)
	usedMore       = regexp.MustCompile(`Container (\S+) was using (\S+), request is (\S+), has larger consumption of \S+\. ?`)
	volumeTooLarge = regexp.MustCompile(`^Usage of EmptyDir volume "([^"]+)" exceeds the limit "([^"]+)"\.`)
	diskTooMuch    = regexp.MustCompile(`^Container (\S+) exceeded its local ephemeral storage limit "([^"]+)"\.`)
	podDiskTooMuch = regexp.MustCompile(`^Pod ephemeral local storage usage exceeds the total limit of containers (\S+)\. ?$`)
)

var shortOfWhat = map[string]string{
	"memory": "memory", "ephemeral-storage": "disk", "inodes": "files that its disk can hold (inodes)", "pids": "processes that it can run",
}

// TakenAway tells why a Pod was, or is being, taken away by somebody else than who made it; no
// Taking: nobody has said so.
func TakenAway(pod *corev1.Pod) (by Taking, clause string) {
	node := "its node"
	if pod.Spec.NodeName != "" {
		node = "the node " + pod.Spec.NodeName
	}
	switch pod.Status.Reason {
	case "Evicted":
		return TakenByPressure, evicted(node, pod.Status.Message)
	case "Preempting":
		return TakenByPreemption, fmt.Sprintf("%s needed its place for a Pod that the cluster cannot do without.", node)
	case "NodeShutdown", "Terminated", "Shutdown":
		return TakenByShutdown, fmt.Sprintf("%s shuts down.", node)
	case "NodeLost":
		return TakenWithNode, fmt.Sprintf("%s is gone.", node)
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return disrupted(pod, node, &c)
		}
	}
	return "", ""
}

func disrupted(pod *corev1.Pod, node string, c *corev1.PodCondition) (Taking, string) {
	switch c.Reason {
	case corev1.PodReasonPreemptionByScheduler:
		own := int32(0)
		if pod.Spec.Priority != nil {
			own = *pod.Spec.Priority
		}
		return TakenByPreemption, fmt.Sprintf("a Pod of higher priority needed its place on %s (preemption; its own priority is %d).", node, own)
	case corev1.PodReasonTerminationByKubelet:
		return TakenByPressure, evicted(node, c.Message)
	case "EvictionByEvictionAPI":
		return TakenByEviction, fmt.Sprintf("%s is being emptied (drain), or somebody asked for its eviction.", node)
	case "DeletionByTaintManager":
		return TakenByTaint, fmt.Sprintf("%s does not answer, or takes no such Pods any more (a taint NoExecute).", node)
	case "DeletionByDeviceTaintManager":
		return TakenByTaint, fmt.Sprintf("a device that it used on %s is taken out of use (a taint NoExecute of the device).", node)
	case "DeletionByPodGC":
		return TakenWithNode, fmt.Sprintf("%s is gone.", node)
	}
	return TakenByOthers, stop(strings.Join(strings.Fields(c.Reason+": "+c.Message), " "))
}

// evicted translates what the kubelet says of a Pod that it ends.
func evicted(node, message string) string {
	switch {
	case strings.HasPrefix(message, "Pod was terminated in response to imminent node shutdown"):
		return node + " shuts down."
	case strings.HasPrefix(message, "Preempted in order to admit critical pod"):
		return node + " needed its place for a Pod that the cluster cannot do without."
	}
	if m := volumeTooLarge.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("its volume %s held more than %s, which is its limit.", m[1], m[2])
	}
	if m := diskTooMuch.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("its container %s wrote more than %s to the node's disk, which is its limit. Large files belong in the home.", m[1], m[2])
	}
	if m := podDiskTooMuch.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("it wrote more than %s to the node's disk, which is its limit. Large files belong in the home.", m[1])
	}
	m := lowOn.FindStringSubmatch(message)
	if m == nil {
		return stop(strings.Join(strings.Fields("the node ended it: "+message), " "))
	}
	what, known := shortOfWhat[m[1]]
	if !known {
		what = m[1]
	}
	text := fmt.Sprintf("%s ran short of %s", node, what)
	if m[2] != "" {
		text += fmt.Sprintf(" (%s were left, and it keeps %s free)", m[3], m[2])
	}
	text += "."
	for _, used := range usedMore.FindAllStringSubmatch(message, -1) {
		text += fmt.Sprintf(" Its container %s used %s and had asked for %s.", used[1], used[2], used[3])
	}
	return text
}
