package podrules

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// EnvNvidiaDevices tells NVIDIA's container runtime which GPUs a container gets.
// The device plugin sets it for a container that was given some. Where that
// runtime is the default, an image or a template that says "all" would have
// every GPU of its node without having asked for one.
const EnvNvidiaDevices = "NVIDIA_VISIBLE_DEVICES"

var noDevices = corev1.EnvVar{Name: EnvNvidiaDevices, Value: "void"}

// IsExtendedResource reports whether a resource is an extended one, such as
// nvidia.com/gpu: of a domain that is not Kubernetes' own.
func IsExtendedResource(name corev1.ResourceName) bool {
	domain, _, qualified := strings.Cut(string(name), "/")
	return qualified && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io")
}

// OnlyOwnDevices lets each container of a Pod see the GPUs that it was given:
// none, where it asks for no extended resource and no claim, and else those
// that the device plugin says, whatever a template, kernelspec or policy wants.
func OnlyOwnDevices(pod *corev1.PodSpec) {
	for _, list := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range list {
			c := &list[i]
			none := slices.Contains(c.Env, noDevices)
			c.Env = slices.DeleteFunc(c.Env, func(v corev1.EnvVar) bool { return v.Name == EnvNvidiaDevices })
			if none || !asksForDevices(c.Resources) {
				c.Env = append(c.Env, noDevices)
			}
		}
	}
}

func asksForDevices(r corev1.ResourceRequirements) bool {
	for _, list := range []corev1.ResourceList{r.Limits, r.Requests} {
		for name, quantity := range list {
			if IsExtendedResource(name) && quantity.Sign() > 0 {
				return true
			}
		}
	}
	return len(r.Claims) > 0
}
