package podspec

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// stateFlag is in the command of a kernel whose state is kept, before where.
const stateFlag = "--state"

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
	if err := checkReserved(template); err != nil {
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
	cfg.Images.Replace(&pod.Spec)
	main.Resources = overlay(main.Resources, in.Spec.Spec.Resources)
	argv, environment, err := in.command(main)
	if err != nil {
		return nil, err
	}
	runKernel, err := mountNotebook(&pod.Spec, main, in)
	if err != nil {
		return nil, err
	}
	if in.Notebook != nil {
		podrules.KeepTogether(in.Notebook, pod.Labels, &pod.Spec)
	}
	runKernel = append(runKernel, environment...)
	keep := keepOf(cfg, in)
	if keep.Enabled {
		runKernel = append(runKernel, stateFlag, podrules.Literal(keep.Home))
	}
	main.Command = append(append(append([]string{agentBinary, "run-kernel"}, runKernel...), "--"), argv...)
	podrules.ShareMemory(&pod.Spec, main, in.Spec.Spec.ShmSize)
	gpus := units(Extended(&pod.Spec))
	if main.Env, err = in.environment(main, gpus); err != nil {
		return nil, err
	}
	addAgent(cfg, pod, main, in.agentEnvironment(cfg, gpus), keep.Enabled)
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

// ReplacedImages tells which images other ones run for, of a kernel that is made from a
// kernelspec and its template, if it has any; empty: none.
func ReplacedImages(cfg Config, ks *v1alpha1.JupyterKernelSpec, template *v1alpha1.JupyterKernelTemplate) string {
	pod := &corev1.PodSpec{}
	if template != nil && template.Spec.Template != nil {
		pod = template.Spec.Template.Spec.DeepCopy()
	}
	if len(pod.Containers) == 0 {
		pod.Containers = []corev1.Container{{}}
	}
	if main := KernelContainer(pod); main.Image == "" {
		main.Image = ks.Spec.Image
	}
	return cfg.Images.Told(podrules.Images(pod)...)
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
		if pod.Spec.Containers[i].TerminationMessagePolicy == "" {
			// The kubelet keeps the last lines of what failed, which status.message shows when the Pod is gone.
			pod.Spec.Containers[i].TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
		}
	}
	cfg.Images.Replace(&pod.Spec)
	if len(Extended(&pod.Spec)) > 0 {
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever // what crashes again and again keeps no GPU
	}
	if _, said := pod.Annotations[annotationDefaultContainer]; !said {
		pod.Annotations[annotationDefaultContainer] = KernelContainer(&pod.Spec).Name
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
	protect(cfg, pod)
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

// protect marks the Pod of a kernel that somebody has, for the chart's
// PodDisruptionBudget and for autoscalers. What a template says to those counts.
func protect(cfg Config, pod *corev1.Pod) {
	pod.Labels[v1alpha1.LabelTaken] = "true"
	if !cfg.DoNotDisrupt {
		return
	}
	for key, value := range map[string]string{v1alpha1.AnnotationSafeToEvict: "false", v1alpha1.AnnotationDoNotDisrupt: "true"} {
		if _, said := pod.Annotations[key]; !said {
			pod.Annotations[key] = value
		}
	}
}

// runLimit is how many seconds a Pod may run under the most generous of the
// policies; zero means for ever. A policy that says nothing, or none at all, means
// what the configuration says, but a complete template is nobody's business.
func runLimit(cfg Config, in Parts) int64 {
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
		if p.SchedulerName != "" {
			pod.Spec.SchedulerName = p.SchedulerName
		}
		if p.Affinity != nil {
			pod.Spec.Affinity = p.Affinity.DeepCopy()
		}
		for _, secret := range p.ImagePullSecrets {
			pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: secret.Name})
		}
	}
	if longest := runLimit(cfg, in); longest > 0 && (pod.Spec.ActiveDeadlineSeconds == nil || *pod.Spec.ActiveDeadlineSeconds > longest) {
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
	podrules.RunAs(&pod.Spec, in.Account)
	podrules.MountAccountTokens(&pod.Spec, KernelContainer(&pod.Spec), in.AccountTokens)
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
