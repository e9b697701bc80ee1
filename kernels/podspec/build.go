package podspec

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/podrules"
)

const (
	agentDir    = "/opt/elastichub"
	agentBinary = agentDir + "/elastichub"
	agentVolume = "elastichub-agent"
	keyDir      = "/var/run/elastichub/agent"
	keyVolume   = "elastichub-agent-key"

	graceSeconds = 10
	// defaultParkNotice is in seconds, as spec.parkNoticeSeconds of a gateway.
	defaultParkNotice = 60
)

// Build makes the Pod of the run that status.run (or, before there is one,
// spec.run) speaks of. Every error is an *InvalidError.
func Build(cfg Config, in Parts) (*corev1.Pod, error) {
	if in.Spec == nil {
		return buildFromTemplate(cfg, in)
	}
	template, object, err := in.template()
	if err != nil {
		return nil, err
	}
	if err := checkTemplate(in.Kernel.Namespace, template); err != nil {
		return nil, err.in(object)
	}
	pod := newPod(cfg, in, template)
	main := KernelContainer(&pod.Spec)
	if main.Image == "" {
		main.Image = in.Spec.Spec.Image
	}
	if main.Image == "" {
		return nil, invalid("spec.image", "neither the kernelspec nor its template names an image").in("JupyterKernelSpec " + in.Spec.Name)
	}
	main.Resources = overlay(main.Resources, in.Spec.Spec.Resources)
	argv, err := kernelArgv(in.Spec.Spec, in.Kernel.Name)
	if err != nil {
		return nil, within(err, "JupyterKernelSpec "+in.Spec.Name)
	}
	if err := mountNotebook(&pod.Spec, main, in); err != nil {
		return nil, err
	}
	injectAgent(cfg, pod, main, argv)
	env, err := in.environment(cfg, main.Env, units(Extended(&pod.Spec)))
	if err != nil {
		return nil, err
	}
	main.Env = env
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	finish(cfg, pod, in)
	return pod, nil
}

func checkTemplate(namespace string, t *corev1.PodTemplateSpec) *InvalidError {
	if t.Namespace != "" && t.Namespace != namespace {
		return invalid("spec.template.metadata.namespace", "must be %s", namespace)
	}
	if fault := podrules.TemplateFault(t); fault != nil {
		return invalid("spec.template."+fault.Path, "%s", fault.Problem)
	}
	return nil
}

// CheckTemplate tells why no kernel may have such a Pod, by an *InvalidError.
func CheckTemplate(t *v1alpha1.JupyterKernelTemplate) error {
	if err := readable(t, "JupyterKernelTemplate "+t.Name); err != nil {
		return err
	}
	if t.Spec.Template == nil {
		return nil
	}
	if err := checkTemplate(t.Namespace, &t.Spec.Template.PodTemplateSpec); err != nil {
		return err.in("JupyterKernelTemplate " + t.Name)
	}
	return nil
}

// buildFromTemplate runs a complete template as it is, apart from what Pod
// Security demands.
func buildFromTemplate(cfg Config, in Parts) (*corev1.Pod, error) {
	if in.Kernel.Spec.Template == nil {
		return nil, invalid("spec.kernelSpec", "one of kernelSpec and template is required").in(objectName(in.Kernel))
	}
	template := &in.Kernel.Spec.Template.PodTemplateSpec
	if err := checkTemplate(in.Kernel.Namespace, template); err != nil {
		return nil, err.in(objectName(in.Kernel))
	}
	if len(template.Spec.Containers) == 0 {
		return nil, invalid("spec.template.spec.containers", "must not be empty").in(objectName(in.Kernel))
	}
	pod := newPod(cfg, in, template)
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Image == "" {
			return nil, invalid(fmt.Sprintf("spec.template.spec.containers[%d].image", i), "must be set").in(objectName(in.Kernel))
		}
	}
	finish(cfg, pod, in)
	return pod, nil
}

func objectName(k *v1alpha1.JupyterKernel) string { return "JupyterKernel " + k.Name }

// template is the Pod to start from, and what to call it in messages.
func (in Parts) template() (*corev1.PodTemplateSpec, string, error) {
	if in.Kernel.Spec.Template != nil {
		return nil, "", invalid("spec.template", "cannot be given together with spec.kernelSpec").in(objectName(in.Kernel))
	}
	if in.Template == nil || in.Template.Spec.Template == nil {
		return &corev1.PodTemplateSpec{}, "JupyterKernelSpec " + in.Spec.Name, nil
	}
	return &in.Template.Spec.Template.PodTemplateSpec, "JupyterKernelTemplate " + in.Template.Name, nil
}

func newPod(cfg Config, in Parts, template *corev1.PodTemplateSpec) *corev1.Pod {
	k := in.Kernel
	run := runOf(k)
	pod := &corev1.Pod{Spec: *template.Spec.DeepCopy()}
	pod.Name, pod.Namespace = PodName(k.Name, run), k.Namespace
	pod.Labels, pod.Annotations = map[string]string{}, map[string]string{}
	maps.Copy(pod.Labels, template.Labels)
	maps.Copy(pod.Annotations, template.Annotations)
	maps.Copy(pod.Labels, KernelLabels(k, run))
	if k.Spec.User != "" {
		pod.Annotations[v1alpha1.LabelHubUsername] = k.Spec.User
	} else {
		delete(pod.Annotations, v1alpha1.LabelHubUsername)
	}
	delete(pod.Annotations, v1alpha1.AnnotationPolicies)
	if len(k.Spec.Policies) > 0 {
		names, _ := json.Marshal(k.Spec.Policies) // strings always encode
		pod.Annotations[v1alpha1.AnnotationPolicies] = string(names)
	}
	pod.OwnerReferences = []metav1.OwnerReference{ownerReference(k)}
	if in.Warm {
		pod.Name = k.Name
		pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(in.Gateway, v1alpha1.GroupVersion.WithKind("JupyterGateway"))}
	}
	delete(pod.Annotations, v1alpha1.AnnotationWarm)
	delete(pod.Annotations, v1alpha1.AnnotationIdle)
	if in.Spec != nil {
		pod.Annotations[v1alpha1.AnnotationIdle] = IdleRuleOf(cfg, in).String()
	}
	return pod
}

// KernelContainer is the one named "kernel", else the first, else a new one.
func KernelContainer(spec *corev1.PodSpec) *corev1.Container {
	if len(spec.Containers) == 0 {
		spec.Containers = []corev1.Container{{Name: v1alpha1.KernelContainer}}
	}
	i := slices.IndexFunc(spec.Containers, func(c corev1.Container) bool { return c.Name == v1alpha1.KernelContainer })
	return &spec.Containers[max(i, 0)]
}

func injectAgent(cfg Config, pod *corev1.Pod, main *corev1.Container, argv []string) {
	main.Command = append([]string{agentBinary, "agent", "--"}, argv...)
	main.Args = nil
	// the agent reports its end here and nowhere else
	main.TerminationMessagePath, main.TerminationMessagePolicy = corev1.TerminationMessagePathDefault, corev1.TerminationMessageReadFile
	main.StartupProbe, main.LivenessProbe, main.Lifecycle = nil, nil, nil
	main.ReadinessProbe = &corev1.Probe{
		ProbeHandler:     corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Scheme: corev1.URISchemeHTTPS, Path: protocol.PathReady, Port: intstr.FromInt32(protocol.Port)}},
		PeriodSeconds:    1,
		TimeoutSeconds:   2,
		FailureThreshold: 3,
	}
	main.Ports = append(slices.DeleteFunc(main.Ports, func(p corev1.ContainerPort) bool { return p.ContainerPort == protocol.Port }),
		corev1.ContainerPort{Name: "agent", ContainerPort: protocol.Port})
	main.VolumeMounts = append(main.VolumeMounts,
		corev1.VolumeMount{Name: agentVolume, MountPath: agentDir, ReadOnly: true},
		corev1.VolumeMount{Name: keyVolume, MountPath: keyDir, ReadOnly: true})
	pod.Spec.Volumes = append(pod.Spec.Volumes,
		corev1.Volume{Name: agentVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		corev1.Volume{Name: keyVolume, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: pod.Name, DefaultMode: ptr.To[int32](0o440), Items: []corev1.KeyToPath{{Key: KeyName, Path: KeyName}},
		}}})
	install := corev1.Container{
		Name: "agent", Image: cfg.Image, ImagePullPolicy: cfg.ImagePullPolicy,
		Command:      []string{"/elastichub", "install-agent", agentDir},
		VolumeMounts: []corev1.VolumeMount{{Name: agentVolume, MountPath: agentDir}},
		Resources:    agentResources(),
	}
	pod.Spec.InitContainers = append([]corev1.Container{install}, pod.Spec.InitContainers...)
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](graceSeconds)
}

// longestRun is how many seconds a Pod may run under the most generous of the
// policies; zero means for ever. A policy that says nothing, or none at all, means
// what the configuration says, but a complete template is nobody's business.
func longestRun(cfg Config, in Parts) int64 {
	if in.Spec == nil && len(in.Policies) == 0 {
		return 0
	}
	longest := int64(0)
	if len(in.Policies) == 0 {
		longest = max(cfg.MaxRunSeconds, 0)
	}
	for i := range in.Policies {
		limit := ptr.Deref(in.Policies[i].Spec.Kernels.MaxRunSeconds, cfg.MaxRunSeconds)
		if limit <= 0 {
			return 0
		}
		longest = max(longest, limit)
	}
	return longest
}

// finish applies what holds for every Pod of ours.
func finish(cfg Config, pod *corev1.Pod, in Parts) {
	if len(in.Policies) > 0 {
		p := &in.Policies[0].Spec
		if len(p.NodeSelector) > 0 && pod.Spec.NodeSelector == nil {
			pod.Spec.NodeSelector = map[string]string{}
		}
		maps.Copy(pod.Spec.NodeSelector, p.NodeSelector)
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, p.Tolerations...)
		if p.PriorityClassName != "" {
			pod.Spec.PriorityClassName = p.PriorityClassName
		}
		if p.Affinity != nil {
			pod.Spec.Affinity = p.Affinity.DeepCopy()
		}
		for _, secret := range p.ImagePullSecrets {
			pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: secret.Name})
		}
	}
	if longest := longestRun(cfg, in); longest > 0 && (pod.Spec.ActiveDeadlineSeconds == nil || *pod.Spec.ActiveDeadlineSeconds > longest) {
		pod.Spec.ActiveDeadlineSeconds = ptr.To(longest)
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].ImagePullPolicy == "" {
				list[i].ImagePullPolicy = cfg.ImagePullPolicy
			}
		}
	}
	podrules.Harden(&pod.Spec)
	podrules.OnlyOwnDevices(&pod.Spec)
	podrules.OnlyOwnDevices(&pod.Spec)
}

func runOf(k *v1alpha1.JupyterKernel) int64 { return max(k.Status.Run, k.WantedRun()) }

// within names the object that an InvalidError is about.
func within(err error, object string) error {
	if e := new(InvalidError); errors.As(err, &e) {
		return e.in(object)
	}
	return err
}

// agentResources are what copying the agent takes; the file it writes counts as cache.
func agentResources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("128Mi")},
	}
}
