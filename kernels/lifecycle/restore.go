package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/podrules"
)

// A kernel that is restored from a backup is another object: it has no status, another UID,
// and no owner. What it keeps in AnnotationRestoreAs makes it the kernel that it was:
//
//	no status, annotation ─▶ Parked, whatever it was: nobody has asked for its Pod since
//	annotation.uid        ─▶ status.keptAs, if its seal is right: the key and the directory of
//	                         what is kept in the home follow from that UID
//
// The seal is of the keep seed, which no gateway has, over name, notebook, user and UID: nobody
// can have the state of another kernel loaded into one of his own. The notebook is its owner
// as soon as both are there, if it is of the same user; see owner.go.

// restored is what is known of a kernel that may be a copy of another.
type restored struct {
	// is: it has the annotation.
	is bool
	// keptAs is the UID of the former kernel, whose state is this one's; empty: its own.
	keptAs string
	// unsealed: the annotation names another UID, and nothing shows that it may.
	unsealed bool
	kept     *v1alpha1.KeptState
	// stranger is the user of its notebook, if that is another one's.
	stranger string
}

// restoredOf reads what a kernel may be a copy of.
func (r *kernelReconciler) restoredOf(ctx context.Context, k *v1alpha1.JupyterKernel) (restored, error) {
	as, is := k.RestoreAs()
	found := restored{is: is, keptAs: k.Status.KeptAs, kept: as.Kept}
	if as.UID != "" && as.UID != k.StateUID() {
		found.unsealed = !r.keepSeeds.IsSealOf(keptAs(k, as.UID), as.Seal)
		if !found.unsealed {
			found.keptAs = as.UID
		}
	}
	if found.keptAs == string(k.UID) {
		found.keptAs = ""
	}
	if !is || k.Spec.Notebook == "" {
		return found, nil
	}
	nb := &v1alpha1.JupyterNotebook{}
	err := r.client.Get(ctx, client.ObjectKey{Namespace: k.Namespace, Name: k.Spec.Notebook}, nb)
	if client.IgnoreNotFound(err) != nil {
		return restored{}, fmt.Errorf("kernels: read JupyterNotebook: %w", err)
	}
	if err == nil && isStranger(k, nb) {
		found.stranger = nb.Spec.User
	}
	return found, nil
}

// isStranger reports whether a copy names a notebook of another user than its own.
func isStranger(k *v1alpha1.JupyterKernel, nb *v1alpha1.JupyterNotebook) bool {
	_, is := k.RestoreAs()
	return is && ownerUID(k, "JupyterNotebook") == "" && k.Spec.User != "" && nb.Spec.User != "" && k.Spec.User != nb.Spec.User
}

func keptAs(k *v1alpha1.JupyterKernel, uid string) keys.Kept {
	return keys.Kept{Namespace: k.Namespace, Name: k.Name, Notebook: k.Spec.Notebook, User: k.Spec.User, UID: uid}
}

// restore makes a kernel parked that is a copy of one.
func (p *plan) restore(v observed) {
	r := v.restored
	p.status.Phase, p.status.Cause, p.status.Run = v1alpha1.KernelParked, v1alpha1.CauseIdle, v.kernel.WantedRun()
	p.status.CompletionTime = &metav1.Time{Time: v.now}
	p.status.Kept, p.status.Message = r.kept, "The kernel was restored from a backup. It comes back when it is used."
	switch {
	case r.stranger != "":
		p.status.Phase, p.status.Cause, p.status.Kept = v1alpha1.KernelDead, v1alpha1.CauseRefused, nil
		p.status.Message = fmt.Sprintf("The kernel was restored from a backup, and its notebook %s is that of another user.", v.kernel.Spec.Notebook)
	case r.unsealed:
		p.status.Kept = nil
		p.status.Message = "The kernel was restored from a backup. It comes back when it is used, without its variables: " +
			"the Secret that they were sealed with is not there, or this is not the kernel that they are of."
	}
	if v.kernel.Spec.Gateway != "" && v.gatewayMade.IsZero() { // it is restored later, or never
		p.setCondition(v.now, ConditionResolved, false, "GatewayMissing", "JupyterGateway "+v.kernel.Spec.Gateway)
	}
}

// awaitsGateway reports whether a kernel was restored before its gateway.
func awaitsGateway(k *v1alpha1.JupyterKernel) bool {
	_, is := k.RestoreAs()
	return is && k.Status.Phase.IsOver() && meta.IsStatusConditionFalse(k.Status.Conditions, ConditionResolved)
}

// noteGateway takes note of a gateway that was restored after its kernel.
func (p *plan) noteGateway(v observed) {
	if awaitsGateway(v.kernel) && !v.gatewayMade.IsZero() {
		p.setCondition(v.now, ConditionResolved, true, "Found", "")
	}
}

func hasHadPod(k *v1alpha1.JupyterKernel) bool {
	return k.Spec.KernelSpec != "" && k.Malformed() == nil && (k.Status.Phase == v1alpha1.KernelReady || k.Status.Phase.IsOver())
}

// noteRestoreAs has a kernel that has had a Pod keep what a copy of it needs.
func (r *kernelReconciler) noteRestoreAs(ctx context.Context, k *v1alpha1.JupyterKernel) (gone bool, err error) {
	if !hasHadPod(k) {
		return false, nil
	}
	had, _ := k.RestoreAs()
	as, err := r.restoreAs(k, had, k.Status.Phase == v1alpha1.KernelReady)
	if err != nil {
		return false, err
	}
	text, err := json.Marshal(as)
	if err != nil {
		return false, fmt.Errorf("kernels: %w", err)
	}
	if k.Annotations[v1alpha1.AnnotationRestoreAs] == string(text) {
		return false, nil
	}
	before := k.DeepCopy()
	metav1.SetMetaDataAnnotation(&k.ObjectMeta, v1alpha1.AnnotationRestoreAs, string(text))
	switch err := r.client.Patch(ctx, k, podrules.PatchOver(before)); {
	case err == nil:
		return false, nil
	case apierrors.IsConflict(err), apierrors.IsNotFound(err): // the next event brings us back
		*k = *before
		return false, nil
	default:
		return false, fmt.Errorf("kernels: note what a copy of the kernel needs: %w", err)
	}
}

// restoreAs is what a copy of a kernel needs. A UID that cannot be believed stays while the
// kernel rests: the seed that it is sealed with may come back.
func (r *kernelReconciler) restoreAs(k *v1alpha1.JupyterKernel, had v1alpha1.RestoreAs, ready bool) (v1alpha1.RestoreAs, error) {
	as := v1alpha1.RestoreAs{Kept: k.Status.Kept}
	if r.keepSeeds == nil {
		as.UID, as.Seal = had.UID, had.Seal
		return as, nil
	}
	as.UID = k.StateUID()
	if had.UID != "" && had.UID != as.UID {
		switch sealed := r.keepSeeds.IsSealOf(keptAs(k, had.UID), had.Seal); {
		case sealed:
			as.UID = had.UID
		case !ready:
			as.UID, as.Seal, as.Kept = had.UID, had.Seal, had.Kept
			return as, nil
		}
	}
	seal, err := r.keepSeeds.SealKept(keptAs(k, as.UID))
	as.Seal = seal
	return as, err
}
