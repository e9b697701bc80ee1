package podrules

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// StartsAgain reports whether the kubelet starts a container of a Pod again when it has failed:
// those of Pods that want it, and native sidecars in any Pod.
func StartsAgain(pod *corev1.Pod, name string) bool {
	if i := slices.IndexFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == name }); i >= 0 {
		return isSidecar(&pod.Spec.InitContainers[i])
	}
	return pod.Spec.RestartPolicy != corev1.RestartPolicyNever
}

// NotReady is the first container of a Pod that is not ready although all of own are; nil if there is
// none. Others than who made a Pod may have put containers into it.
func NotReady(pod *corev1.Pod, own map[string]bool) *corev1.ContainerStatus {
	var other *corev1.ContainerStatus
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			s := &list[i]
			switch {
			case s.Ready:
			case own[s.Name]:
				return nil
			case other == nil && (isOrdinary(pod, s.Name) || StartsAgain(pod, s.Name)):
				other = s
			}
		}
	}
	return other
}

func isOrdinary(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == name })
}
