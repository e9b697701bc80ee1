package gateways

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
	"github.com/elastichub/elastichub/kernels/languages"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/setaside"
)

// Conditions of a JupyterKernelSpec; ConditionReady is shared with gateways.
const (
	// ConditionCommandReplaced: the command is a launcher of Enterprise
	// Gateway, and the standard command of the language runs in its place.
	ConditionCommandReplaced = "CommandReplaced"
	// ReasonLauncher is its reason.
	ReasonLauncher v1alpha1.Reason = "EnterpriseGatewayLauncher"
)

// specReconciler says of each JupyterKernelSpec whether a Pod can be made from it.
type specReconciler struct {
	cfg    Config
	client client.Client
	events health.Recorder
	now    func() time.Time
}

// Reconcile implements reconcile.Reconciler; requests name kernelspecs.
func (r *specReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	ks := &v1alpha1.JupyterKernelSpec{}
	if err := r.client.Get(ctx, req.NamespacedName, ks); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	problem, replaced := ks.Malformed(), ""
	if problem == nil {
		replaced, problem = podspec.Trial(ctx, r.cfg.Pods, r.client, ks)
	}
	var missing *podspec.MissingError
	var invalid *podspec.InvalidError
	status := *ks.Status.DeepCopy()
	switch {
	case ks.Malformed() != nil:
		r.standing(&status, ks, health.Stalled, v1alpha1.ReasonMalformed, problem.Error())
	case problem == nil:
		r.standing(&status, ks, health.Ready, v1alpha1.ReasonUsable, "")
	case errors.As(problem, &missing):
		r.standing(&status, ks, health.Coming, v1alpha1.Reason(missing.Reason), missing.Error())
	case errors.As(problem, &invalid):
		r.standing(&status, ks, health.Stalled, v1alpha1.ReasonInvalid, invalid.Error())
	default:
		return reconcile.Result{}, problem
	}
	if languages.IsLauncher(ks.Spec.Command) {
		podrules.SetCondition(&status.Conditions, ks.Generation, r.now(), ConditionCommandReplaced, true, string(ReasonLauncher), "The standard command of the language is used.")
	} else {
		meta.RemoveStatusCondition(&status.Conditions, ConditionCommandReplaced)
	}
	if replaced != "" {
		podrules.SetCondition(&status.Conditions, ks.Generation, r.now(), podrules.ConditionImageReplaced, true, podrules.ReasonImageMap, replaced)
	} else {
		meta.RemoveStatusCondition(&status.Conditions, podrules.ConditionImageReplaced)
	}
	status.ObservedGeneration = ks.Generation
	if equality.Semantic.DeepEqual(ks.Status, status) {
		return reconcile.Result{}, nil
	}
	updated := ks.DeepCopy()
	updated.Status = status
	err := r.client.Status().Patch(ctx, updated, podrules.PatchOver(ks))
	if err == nil {
		r.events.Tell(ks, health.Changes(ks.Status.Conditions, status.Conditions, map[string]metav1.ConditionStatus{ConditionCommandReplaced: metav1.ConditionTrue, podrules.ConditionImageReplaced: metav1.ConditionTrue})...)
	}
	return written(setaside.Tell(ctx, r.client, ks, err))
}

// written is the end of a pass that wrote a status: one that had changed is
// looked at again, one that is gone needs nothing more.
func written(err error) (reconcile.Result, error) {
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	return reconcile.Result{}, client.IgnoreNotFound(err)
}

func (r *specReconciler) standing(status *v1alpha1.JupyterKernelSpecStatus, ks *v1alpha1.JupyterKernelSpec, is health.Standing, reason v1alpha1.Reason, message string) {
	health.Set(&status.Conditions, ks.Generation, r.now(), is, string(reason), message)
}
