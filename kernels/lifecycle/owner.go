package lifecycle

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// ensureOwner binds a kernel's life to that of its notebook, or of its gateway
// if it has no notebook. It deletes the kernel, and says so, when its notebook
// is gone or was stopped by its owner, or its gateway is gone. A kernel that never had an owner
// waits for it instead: objects may be applied in any order. One that cannot be
// read is left to the owners that it has.
func (r *kernelReconciler) ensureOwner(ctx context.Context, k *v1alpha1.JupyterKernel) (gone bool, err error) {
	if k.Spec.Notebook == "" && k.Spec.Gateway == "" || k.Malformed() != nil {
		return false, nil //nolint:nilerr // what cannot be read is told in its status
	}
	if k.Spec.Notebook != "" {
		notebook := &v1alpha1.JupyterNotebook{}
		over, owner, err := r.ownerState(ctx, k, types.NamespacedName{Namespace: k.Namespace, Name: k.Spec.Notebook}, "JupyterNotebook", notebook, func() bool { return outcomeOf(serverOf(notebook), requestNone) == ends })
		if err != nil || over {
			return r.deleted(ctx, k, over, "its notebook is gone, or was stopped by its owner", err)
		}
		if owner && !isStranger(k, notebook) {
			if err := r.addOwner(ctx, k, notebook, "JupyterNotebook"); err != nil {
				return false, err
			}
		}
	}
	if k.Spec.Gateway == "" {
		return false, nil
	}
	gateway := &v1alpha1.JupyterGateway{}
	over, owner, err := r.ownerState(ctx, k, k.GatewayKey(), "JupyterGateway", gateway, func() bool { return false })
	if err != nil || over {
		return r.deleted(ctx, k, over, "its gateway is gone", err)
	}
	if owner && k.Spec.Notebook == "" && gateway.Namespace == k.Namespace { // no object has an owner in another namespace
		return false, r.addOwner(ctx, k, gateway, "JupyterGateway")
	}
	return false, nil
}

func (r *kernelReconciler) deleted(ctx context.Context, k *v1alpha1.JupyterKernel, over bool, why string, err error) (bool, error) {
	if err != nil || !over {
		return false, err
	}
	return true, r.deleteKernel(ctx, k, why)
}

// ownerState reads an owner. over means that the kernel's time is up; it is
// never said on the word of the cache alone.
func (r *kernelReconciler) ownerState(ctx context.Context, k *v1alpha1.JupyterKernel, key types.NamespacedName, kind string, owner client.Object, ended func() bool) (over, exists bool, err error) {
	bound := ownerUID(k, kind)
	// a kernel that was admitted once had a gateway, even if another owns it
	had := bound != "" || kind == "JupyterGateway" && k.Status.Phase != "" && k.Status.Phase != v1alpha1.KernelQueued && !awaitsGateway(k)
	for _, reader := range []client.Reader{r.client, r.live} {
		err = reader.Get(ctx, key, owner)
		switch {
		case apierrors.IsNotFound(err) && !had:
			return false, false, nil
		case apierrors.IsNotFound(err):
			over, exists = true, false
		case err != nil:
			return false, false, fmt.Errorf("kernels: read %s: %w", kind, err)
		default:
			over, exists = ended() || bound != "" && bound != owner.GetUID(), true
		}
		if !over {
			return false, exists, nil
		}
	}
	return over, exists, nil
}

func ownerUID(k *v1alpha1.JupyterKernel, kind string) types.UID {
	for _, o := range k.OwnerReferences {
		if o.Kind == kind {
			return o.UID
		}
	}
	return ""
}

func (r *kernelReconciler) addOwner(ctx context.Context, k *v1alpha1.JupyterKernel, owner client.Object, kind string) error {
	if ownerUID(k, kind) != "" {
		return nil
	}
	before := k.DeepCopy()
	k.OwnerReferences = append(k.OwnerReferences, metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: kind, Name: owner.GetName(), UID: owner.GetUID(),
	})
	if err := r.client.Patch(ctx, k, podrules.PatchOver(before)); err != nil {
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			*k = *before
			return nil // the next event brings us back
		}
		return fmt.Errorf("kernels: set owner: %w", err)
	}
	return nil
}
