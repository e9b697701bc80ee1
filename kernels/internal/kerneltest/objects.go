// Package kerneltest makes the objects that tests of several rooms of kernels need.
package kerneltest

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Kernel is a kernel of the user ann, in its first run.
func Kernel(name, gateway, spec string, change ...func(*v1alpha1.JupyterKernel)) *v1alpha1.JupyterKernel {
	k := &v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Name: name}}
	k.Spec = v1alpha1.JupyterKernelCRDSpec{Gateway: gateway, KernelSpec: spec, User: "ann", Run: 1}
	for _, f := range change {
		f(k)
	}
	return k
}

// GPUSpec is a kernelspec whose kernels take so many GPUs.
func GPUSpec(name string, gpus int64) *v1alpha1.JupyterKernelSpec {
	ks := &v1alpha1.JupyterKernelSpec{ObjectMeta: metav1.ObjectMeta{Name: name}}
	ks.Spec = v1alpha1.JupyterKernelSpecSpec{Language: "python", DisplayName: name, Image: "gpu:test"}
	if gpus > 0 {
		ks.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": *resource.NewQuantity(gpus, resource.DecimalSI)}}
	}
	return ks
}

// Policy is a valid policy of the group of its name, which lends what change says.
func Policy(name string, change func(*v1alpha1.PolicyKernels)) *v1alpha1.GroupPolicy {
	p := &v1alpha1.GroupPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.Groups = []string{strings.ToLower(name)}
	p.Spec.CPU.Min, p.Spec.Memory.Min = resource.MustParse("1"), resource.MustParse("1Gi")
	p.Spec.CPU.Max, p.Spec.Memory.Max = resource.MustParse("1"), resource.MustParse("1Gi")
	p.Spec.Images = []v1alpha1.ImageChannel{{ID: "stable", Image: "notebook:test"}}
	change(&p.Spec.Kernels)
	return p
}

// Owned makes a kernel that of a user with policies.
func Owned(user string, policies ...string) func(*v1alpha1.JupyterKernel) {
	return func(k *v1alpha1.JupyterKernel) { k.Spec.User, k.Spec.Policies = user, policies }
}

// Running is the status of a Pod that runs at an address.
func Running(ip string, ready bool) func(*corev1.PodStatus) {
	return func(s *corev1.PodStatus) {
		s.Phase, s.PodIP, s.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
		value := corev1.ConditionFalse
		if ready {
			value = corev1.ConditionTrue
		}
		s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: value}}
		s.ContainerStatuses = containers(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
	}
}

func containers(agent, kernel corev1.ContainerState) []corev1.ContainerStatus {
	return []corev1.ContainerStatus{{Name: v1alpha1.AgentContainer, Image: "i", State: agent}, {Name: v1alpha1.KernelContainer, Image: "i", State: kernel}}
}

// Exited is the status of a Pod whose kernel has ended; its agent left the message.
func Exited(code int32, reason, message string) func(*corev1.PodStatus) {
	return func(s *corev1.PodStatus) {
		s.Phase = corev1.PodFailed
		if code == 0 {
			s.Phase = corev1.PodSucceeded
		}
		said := &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}
		if reason == "OOMKilled" { // that was the kernel
			said.Reason = "Error"
		}
		s.ContainerStatuses = containers(corev1.ContainerState{Terminated: said},
			corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}})
	}
}
