package podspec

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Specimen makes the Pod of a kernel that nobody has, under one policy or, with nil, under
// none: for its images, and for where it may run. Errors are an *InvalidError.
func Specimen(cfg Config, ks *v1alpha1.JupyterKernelSpec, template *v1alpha1.JupyterKernelTemplate, policy *v1alpha1.GroupPolicy) (*corev1.Pod, error) {
	k := &v1alpha1.JupyterKernel{}
	k.Name, k.Namespace = "specimen", ks.Namespace
	in := Parts{Kernel: k, Spec: ks, Template: template, Gateway: &v1alpha1.JupyterGateway{}}
	if policy != nil {
		in.Policies = []v1alpha1.GroupPolicy{*policy}
	}
	return Build(cfg, in)
}

// TemplateOf is the name of the JupyterKernelTemplate that a kernelspec starts from; empty if
// it has none. Errors are an *InvalidError.
func TemplateOf(ks *v1alpha1.JupyterKernelSpec) (string, error) { return templateRef(ks) }

// BuiltIn is the kernelspec python_kubernetes, used unless an object of that name exists.
func BuiltIn(cfg Config, namespace string) *v1alpha1.JupyterKernelSpec {
	return builtinSpec(cfg, namespace)
}
