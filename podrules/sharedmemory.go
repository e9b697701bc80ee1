package podrules

import (
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	sharedMemoryPath = "/dev/shm"
	// SharedMemoryVolume is the volume's name.
	SharedMemoryVolume = "elastichub-shared-memory"
)

// ShareMemory gives a container a /dev/shm of its own in place of the 64 MiB
// that container runtimes give, which the workers of a PyTorch DataLoader fill.
// What is in it counts as memory of the container, whose limit bounds it; size
// bounds it further, and nil does not. A container that mounts something there keeps that.
func ShareMemory(pod *corev1.PodSpec, c *corev1.Container, size *resource.Quantity) {
	if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return path.Clean(m.MountPath) == sharedMemoryPath }) {
		return
	}
	if limit, ok := c.Resources.Limits[corev1.ResourceMemory]; ok && (size == nil || limit.Cmp(*size) < 0) {
		size = &limit
	}
	if size != nil {
		size = new(size.DeepCopy())
	}
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: SharedMemoryVolume, MountPath: sharedMemoryPath})
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: SharedMemoryVolume, VolumeSource: corev1.VolumeSource{
		EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: size},
	}})
}
