package podrules

import corev1 "k8s.io/api/core/v1"

// Container is what a Pod's status says of one of its ordinary containers. The
// zero value is one that nothing is known of yet.
type Container struct {
	// Waiting is why it does not run yet, or again.
	Waiting *corev1.ContainerStateWaiting
	Running bool
	// Terminated is how it ended, perhaps to be started again.
	Terminated *corev1.ContainerStateTerminated
	Restarts   int32
}

// ContainerOf reads the status of a Pod's container of that name.
func ContainerOf(pod *corev1.Pod, name string) Container {
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == name {
			return Container{Waiting: s.State.Waiting, Running: s.State.Running != nil, Terminated: s.State.Terminated, Restarts: s.RestartCount}
		}
	}
	return Container{}
}

// OutOfMemory reports whether it was ended because it needed more memory than it may have.
func (c Container) OutOfMemory() bool {
	return c.Terminated != nil && c.Terminated.Reason == "OOMKilled"
}

// Message is what it left in its termination log.
func (c Container) Message() string {
	if c.Terminated == nil {
		return ""
	}
	return c.Terminated.Message
}
