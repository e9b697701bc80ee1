package prepull

import (
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/prepull/imagestate"
)

const (
	// component is that of the DaemonSets and their Pods.
	component = "prepull"
	// labelImages is, on such a Pod, which images it was made for: another value than its
	// DaemonSet's, and it is one of before.
	labelImages = "elastichub.io/prepull-images"

	binaryVolume = "elastichub"
	// binaryDirectory is where the service's image puts the binary that runs in all others.
	binaryDirectory = protocol.AgentDirectory
)

// selector is what the labels of all DaemonSets and Pods here have.
func selector() map[string]string {
	return map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelComponent: component}
}

func daemonSetName(cfg Config, p Placement) string { return cfg.Name + "-" + component + "-" + p.Key }

// daemonSet is that of a placement. Its Pods have one container for each image, which the
// kubelet starts in their order and goes on where one fails. Nothing is updated by the
// DaemonSet's own controller: whose turn it is, NextTurn says.
func daemonSet(cfg Config, p Placement, owner *metav1.OwnerReference) *appsv1.DaemonSet {
	labels := selector()
	labels[v1alpha1.LabelName], labels[imagestate.LabelPlacement] = v1alpha1.ManagedBy, p.Key
	d := &appsv1.DaemonSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "DaemonSet"},
		ObjectMeta: metav1.ObjectMeta{Namespace: cfg.Namespace, Name: daemonSetName(cfg, p), Labels: labels},
		Spec: appsv1.DaemonSetSpec{
			Selector:       &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelComponent: component, imagestate.LabelPlacement: p.Key}},
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType},
			Template:       podTemplate(cfg, p, labels),
		},
	}
	if owner != nil {
		d.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	return d
}

func podTemplate(cfg Config, p Placement, labels map[string]string) corev1.PodTemplateSpec {
	spec := corev1.PodSpec{
		InitContainers:                []corev1.Container{serviceContainer(cfg)},
		NodeSelector:                  p.NodeSelector,
		Tolerations:                   p.Tolerations,
		PriorityClassName:             cfg.PriorityClassName,
		TerminationGracePeriodSeconds: ptr.To[int64](1),
		SchedulingGates:               []corev1.PodSchedulingGate{{Name: imagestate.Gate}},
		Volumes: []corev1.Volume{{Name: binaryVolume, VolumeSource: corev1.VolumeSource{
			EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: ptr.To(resource.MustParse("256Mi"))},
		}}},
	}
	for _, image := range p.Images {
		spec.Containers = append(spec.Containers, holder(image))
	}
	secrets := slices.Concat(cfg.PullSecrets, p.PullSecrets)
	slices.Sort(secrets)
	for _, name := range slices.Compact(secrets) {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	podrules.Harden(&spec)
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: maps.Clone(labels)}, Spec: spec}
	template.Labels[labelImages] = podrules.Digest(keyDigits, string(encoded(template)))
	// After the digest: when nodes come and go, the others' Pods stay.
	if p.Nodes != nil {
		template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: p.Nodes}}
	}
	return template
}

// serviceContainer copies the binary that runs in all images, which need to have nothing.
func serviceContainer(cfg Config) corev1.Container {
	return corev1.Container{
		Name: imagestate.BinaryContainer, Image: cfg.Pods.Image, ImagePullPolicy: corev1.PullIfNotPresent,
		Command:         []string{"/elastichub", "install-agent", binaryDirectory},
		SecurityContext: &corev1.SecurityContext{ReadOnlyRootFilesystem: ptr.To(true)},
		Resources:       little("10m", "32Mi", "1", "256Mi"),
		VolumeMounts:    []corev1.VolumeMount{{Name: binaryVolume, MountPath: binaryDirectory}},
	}
}

// holder runs next to nothing in an image: while it does, the kubelet does not remove that.
func holder(image string) corev1.Container {
	return corev1.Container{
		Name: imagestate.ContainerOf(image), Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
		Command:         []string{binaryDirectory + "/elastichub", "hold"},
		Env:             []corev1.EnvVar{{Name: "GOMAXPROCS", Value: "1"}},
		SecurityContext: &corev1.SecurityContext{ReadOnlyRootFilesystem: ptr.To(true)},
		Resources:       little("1m", "16Mi", "100m", "64Mi"),
		VolumeMounts:    []corev1.VolumeMount{{Name: binaryVolume, MountPath: binaryDirectory, ReadOnly: true}},
	}
}

func little(cpu, memory, mostCPU, mostMemory string) corev1.ResourceRequirements {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	return corev1.ResourceRequirements{Requests: list(cpu, memory), Limits: list(mostCPU, mostMemory)}
}
