package podspec

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// GatherRunning reads what holds for a kernel that has a Pod. Its kernelspec may be gone
// since, with its template: then what the Pod remembers of it holds, and for the rest what
// policies and gateway say now. Errors are those of Gather.
func (b *Builder) GatherRunning(ctx context.Context, reader client.Reader, k *v1alpha1.JupyterKernel, pod *corev1.Pod) (Parts, error) {
	in, err := Gather(ctx, b.cfg, reader, k)
	if !errors.As(err, new(*MissingError)) || k.Spec.KernelSpec == "" {
		return in, err
	}
	derived, err := Derive(ctx, reader, k)
	if err != nil {
		return Parts{}, err
	}
	in = Parts{Kernel: derived, HubEnvironment: b.cfg.HubEnvironment, Proxy: b.cfg.Proxy, Gateway: &v1alpha1.JupyterGateway{}}
	if err := gatherPolicies(ctx, b.cfg, reader, derived, &in); err != nil {
		return Parts{}, err
	}
	if err := find(ctx, reader, k.GatewayKey().Namespace, k.Spec.Gateway, in.Gateway, "GatewayMissing", "JupyterGateway"); err != nil {
		return Parts{}, err
	}
	if k.Spec.Notebook != "" {
		in.Notebook = &v1alpha1.JupyterNotebook{}
		if err := find(ctx, reader, k.Namespace, k.Spec.Notebook, in.Notebook, "NotebookMissing", "JupyterNotebook"); err != nil {
			return Parts{}, err
		}
	}
	in.Spec = &v1alpha1.JupyterKernelSpec{}
	err = reader.Get(ctx, types.NamespacedName{Namespace: k.GatewayKey().Namespace, Name: k.Spec.KernelSpec}, in.Spec)
	if client.IgnoreNotFound(err) != nil {
		return Parts{}, err
	}
	if err != nil {
		in.Spec = remembered(k, pod)
	}
	return in, nil
}

// remembered is a kernelspec that is gone, as far as a Pod of it knows.
func remembered(k *v1alpha1.JupyterKernel, pod *corev1.Pod) *v1alpha1.JupyterKernelSpec {
	ks := &v1alpha1.JupyterKernelSpec{}
	ks.Name, ks.Namespace = k.Spec.KernelSpec, k.GatewayKey().Namespace
	var rule IdleRule
	if json.Unmarshal([]byte(pod.Annotations[v1alpha1.AnnotationIdle]), &rule) == nil && rule.ByKernelSpec {
		ks.Spec.IdleTimeoutSeconds = ptr.To(rule.TimeoutSeconds)
	}
	if len(pod.Spec.Containers) > 0 {
		ks.Spec.Keep = ptr.To(slices.Contains(KernelContainerOf(pod).Command, stateFlag))
	}
	return ks
}
