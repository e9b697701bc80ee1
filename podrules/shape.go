package podrules

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// BesideResources are the limits and requests of a container that a policy puts beside a
// server: what it says, and the defaults where it says nothing.
func BesideResources(r corev1.ResourceRequirements) corev1.ResourceRequirements {
	full := *r.DeepCopy()
	if full.Limits == nil {
		full.Limits = corev1.ResourceList{}
	}
	if full.Requests == nil {
		full.Requests = corev1.ResourceList{}
	}
	for name, limit := range DefaultBeside {
		if _, said := full.Limits[name]; said {
			continue
		}
		if request := full.Requests[name]; request.Cmp(limit) > 0 {
			limit = request
		}
		full.Limits[name] = limit.DeepCopy()
	}
	if _, said := full.Requests[corev1.ResourceCPU]; !said {
		request := BesideRequest.DeepCopy()
		if limit := full.Limits[corev1.ResourceCPU]; limit.Cmp(request) < 0 {
			request = limit.DeepCopy()
		}
		full.Requests[corev1.ResourceCPU] = request
	}
	if _, said := full.Requests[corev1.ResourceMemory]; !said {
		full.Requests[corev1.ResourceMemory] = full.Limits[corev1.ResourceMemory].DeepCopy()
	}
	return full
}

// Shape puts what a policy says of Pods into the template of a server, whose container is
// the first. It has no faults by PolicyPodFaults.
func Shape(t *corev1.PodTemplateSpec, pod *v1alpha1.PolicyPod, who Person) {
	if pod == nil {
		return
	}
	pod = pod.DeepCopy()
	t.Labels, t.Annotations = WriteOut(pod.Labels, pod.Annotations, who)
	server := &t.Spec.Containers[0]
	server.SecurityContext, server.Lifecycle = pod.SecurityContext, pod.Lifecycle
	t.Spec.SecurityContext = pod.PodSecurityContext
	shapeLifecycle(server.Lifecycle, who)
	server.VolumeMounts = shapeMounts(pod.VolumeMounts, who)
	if len(pod.ExtraResources) > 0 { // none of which is a GPU, as OnlyOwnDevices cannot know
		server.Env = append(slices.Clone(server.Env), noDevices)
	}
	for name, q := range pod.ExtraResources {
		server.Resources.Limits[name] = q
		server.Resources.Requests[name] = q
	}
	for i := range pod.Volumes {
		shapeVolume(&pod.Volumes[i].VolumeSource, who)
	}
	t.Spec.Volumes = pod.Volumes
	for _, list := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range list {
			shapeContainer(&list[i], who)
		}
	}
	t.Spec.InitContainers = pod.InitContainers
	t.Spec.Containers = append(t.Spec.Containers, pod.Containers...)
}

// WriteOut puts a person's names into the values of labels and annotations.
func WriteOut(labels, annotations map[string]string, who Person) (map[string]string, map[string]string) {
	labels, annotations = maps.Clone(labels), maps.Clone(annotations)
	for key, value := range labels {
		labels[key] = who.slugged(value)
	}
	for key, value := range annotations {
		annotations[key] = who.raw(value)
	}
	return labels, annotations
}

func shapeVolume(s *corev1.VolumeSource, who Person) {
	if (*s == corev1.VolumeSource{}) { // which the API server makes one
		s.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if s.EmptyDir != nil && s.EmptyDir.SizeLimit == nil {
		s.EmptyDir.SizeLimit = ptr.To(DefaultScratch.DeepCopy())
	}
	for _, name := range volumeObjects(s) {
		*name = who.slugged(*name)
	}
}

func shapeMounts(mounts []corev1.VolumeMount, who Person) []corev1.VolumeMount {
	for i := range mounts {
		mounts[i].SubPath = who.slugged(mounts[i].SubPath)
	}
	return mounts
}

func shapeContainer(c *corev1.Container, who Person) {
	c.Resources = BesideResources(c.Resources)
	c.VolumeMounts = shapeMounts(c.VolumeMounts, who)
	shapeWords(c.Command, who)
	shapeWords(c.Args, who)
	c.WorkingDir = who.slugged(c.WorkingDir)
	shapeLifecycle(c.Lifecycle, who)
	for i := range c.Env {
		c.Env[i].Value = who.value(c.Env[i].Value)
	}
	for _, name := range variableSources(c) {
		*name = who.slugged(*name)
	}
	if c.TerminationMessagePolicy == "" { // the last lines of its log tell the user why it ended
		c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	}
}

func shapeWords(words []string, who Person) {
	for i := range words {
		words[i] = who.slugged(words[i])
	}
}

func shapeLifecycle(hooks *corev1.Lifecycle, who Person) {
	if hooks == nil {
		return
	}
	for _, hook := range []*corev1.LifecycleHandler{hooks.PostStart, hooks.PreStop} {
		if hook != nil && hook.Exec != nil {
			shapeWords(hook.Exec.Command, who)
		}
	}
}
