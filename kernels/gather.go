package kernels

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// builtinSpec is the kernelspec python_kubernetes of gateways that name none,
// used unless an object of that name exists.
func builtinSpec(cfg Config) *v1alpha1.JupyterKernelSpec {
	ks := &v1alpha1.JupyterKernelSpec{}
	ks.Name, ks.Namespace = v1alpha1.DefaultKernelName, cfg.Namespace
	ks.Spec = v1alpha1.JupyterKernelSpecSpec{Language: "python", DisplayName: "Python 3", Image: cfg.KernelImage}
	return ks
}

// gather reads everything a kernel's Pod is made from. Errors are a
// *MissingError, an *InvalidError, or those of the reader.
func gather(ctx context.Context, cfg Config, reader client.Reader, k *v1alpha1.JupyterKernel) (parts, error) {
	in := parts{Kernel: k}
	if err := gatherPolicies(ctx, reader, k, &in); err != nil {
		return parts{}, err
	}
	if k.Spec.KernelSpec == "" {
		return in, nil // a complete template, or refused by buildPod
	}
	if k.Spec.Gateway == "" {
		return parts{}, invalid("spec.gateway", "must be set with spec.kernelSpec").in(objectName(k))
	}
	in.Gateway = &v1alpha1.JupyterGateway{}
	if err := find(ctx, reader, k.Namespace, k.Spec.Gateway, in.Gateway, "GatewayMissing", "JupyterGateway"); err != nil {
		return parts{}, err
	}
	in.Spec = &v1alpha1.JupyterKernelSpec{}
	err := find(ctx, reader, k.Namespace, k.Spec.KernelSpec, in.Spec, "KernelSpecMissing", "JupyterKernelSpec")
	if _, missing := err.(*MissingError); missing && k.Spec.KernelSpec == v1alpha1.DefaultKernelName {
		in.Spec, err = builtinSpec(cfg), nil
	}
	if err != nil {
		return parts{}, err
	}
	template, err := templateRef(in.Spec)
	if err != nil {
		return parts{}, err
	}
	if template != "" {
		in.Template = &v1alpha1.JupyterKernelTemplate{}
		if err := find(ctx, reader, k.Namespace, template, in.Template, "TemplateMissing", "JupyterKernelTemplate"); err != nil {
			return parts{}, err
		}
	}
	if k.Spec.Notebook != "" {
		in.Notebook = &v1alpha1.JupyterNotebook{}
		if err := find(ctx, reader, k.Namespace, k.Spec.Notebook, in.Notebook, "NotebookMissing", "JupyterNotebook"); err != nil {
			return parts{}, err
		}
	}
	return in, nil
}

// gatherPolicies takes those that exist; whether they suffice is admission's matter.
func gatherPolicies(ctx context.Context, reader client.Reader, k *v1alpha1.JupyterKernel, in *parts) error {
	for _, name := range k.Spec.Policies {
		var p v1alpha1.GroupPolicy
		err := reader.Get(ctx, types.NamespacedName{Namespace: k.Namespace, Name: name}, &p)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("kernels: policy %s: %w", name, err)
		}
		in.Policies = append(in.Policies, p)
	}
	return nil
}

func find(ctx context.Context, reader client.Reader, namespace, name string, into client.Object, reason, kind string) error {
	err := reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, into)
	if apierrors.IsNotFound(err) {
		return &MissingError{Reason: reason, Object: kind + " " + name}
	}
	if err != nil {
		return fmt.Errorf("kernels: %s %s: %w", kind, name, err)
	}
	return nil
}
