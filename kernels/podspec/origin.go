package podspec

import (
	"context"
	"path"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Derive returns a kernel as its notebook, or its gateway's list of clients, has
// it: user, policies and idle time. What the gateway wrote about them is not
// believed; what an administrator wrote, in a kernel that no gateway made, is. A
// run that was admitted keeps the policies that it was admitted with.
//
// Errors are a *MissingError, an *InvalidError, or those of the reader.
func Derive(ctx context.Context, reader client.Reader, k *v1alpha1.JupyterKernel) (*v1alpha1.JupyterKernel, error) {
	if !MadeByGateway(k) {
		return k, nil
	}
	derived := *k // shallow: only whole fields are replaced
	spec := &derived.Spec
	if k.Spec.Notebook != "" {
		nb := &v1alpha1.JupyterNotebook{}
		if err := find(ctx, reader, k.Namespace, k.Spec.Notebook, nb, "NotebookMissing", "JupyterNotebook"); err != nil {
			return nil, err
		}
		if nb.GatewayKey() != k.GatewayKey() {
			return nil, invalid("spec.notebook", "%s does not use the gateway %s", nb.Name, path.Join(k.Spec.GatewayNamespace, k.Spec.Gateway)).in(objectName(k))
		}
		spec.User, spec.Policies, spec.IdleTimeoutSeconds = nb.Spec.User, nil, nil
		if o := nb.Spec.KernelOptions; o != nil {
			spec.Policies, spec.IdleTimeoutSeconds = o.Policies, shorterIdle(k.Spec.IdleTimeoutSeconds, o.IdleTimeoutSeconds)
		}
	} else {
		gw := &v1alpha1.JupyterGateway{}
		if err := find(ctx, reader, k.GatewayKey().Namespace, k.Spec.Gateway, gw, "GatewayMissing", "JupyterGateway"); err != nil {
			return nil, err
		}
		i := -1
		if gw.Spec.Auth != nil {
			i = slices.IndexFunc(gw.Spec.Auth.Clients, func(c v1alpha1.GatewayClient) bool { return c.Name == k.Spec.User })
		}
		if i < 0 {
			return nil, invalid("spec.user", "%q is no client of the gateway %s", k.Spec.User, gw.Name).in(objectName(k))
		}
		spec.Policies, spec.IdleTimeoutSeconds = gw.Spec.Auth.Clients[i].Policies, nil
	}
	if p := k.Status.Policies; len(p) > 0 && (k.Status.Phase == v1alpha1.KernelStarting || k.Status.Phase == v1alpha1.KernelReady) {
		spec.Policies = p
	}
	return &derived, nil
}

// shorterIdle is the idle time of a kernel's notebook, or a shorter one that is said at
// the kernel: that gives back earlier, so whoever wrote it may be believed.
func shorterIdle(kernel, notebook *int64) *int64 {
	if kernel == nil || *kernel <= 0 || notebook == nil || *notebook > 0 && *notebook <= *kernel {
		return notebook
	}
	return kernel
}

// MadeByGateway reports whether a gateway made a kernel. The chart's admission
// policy sees to it that no gateway can hide that.
func MadeByGateway(k *v1alpha1.JupyterKernel) bool {
	return k.Spec.Gateway != "" && k.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy
}

// Uses reports whether a notebook's kernels are of a gateway.
func Uses(nb *v1alpha1.JupyterNotebook, gw *v1alpha1.JupyterGateway) bool {
	return nb.Spec.Gateway != nil && nb.GatewayKey() == client.ObjectKeyFromObject(gw)
}
