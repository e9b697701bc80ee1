package podstate

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

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
			return &Trouble{Reason: c.Reason, Message: Sentence("No node can take the kernel's Pod", Clip(c.Message))}
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
					Message: Sentence(fmt.Sprintf("The image %s cannot be had (%s)", images[s.Name], w.Reason), Clip(w.Message))}
			case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff":
				if w.Reason == "CrashLoopBackOff" && pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
					continue // the template wants it restarted
				}
				return &Trouble{Reason: w.Reason, Cause: v1alpha1.CauseStartFailed, Grace: ContainerGrace,
					Message: Sentence("The kernel's container cannot be created", Clip(w.Message))}
			}
		}
	}
	return nil
}
