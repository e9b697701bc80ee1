package gateways

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/podrules"
)

// Conditions of a JupyterKernelSpec; ConditionReady is shared with gateways.
const (
	// ConditionCommandReplaced: the command is a launcher of Enterprise
	// Gateway, and the standard command of the language runs in its place.
	ConditionCommandReplaced = "CommandReplaced"
)

// specReconciler says of each JupyterKernelSpec whether a Pod can be made from it.
type specReconciler struct {
	cfg    Config
	client client.Client
	now    func() time.Time
}

// Reconcile implements reconcile.Reconciler; requests name kernelspecs.
func (r *specReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	ks := &v1alpha1.JupyterKernelSpec{}
	if err := r.client.Get(ctx, req.NamespacedName, ks); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	problem := podspec.Trial(ctx, r.cfg.Pods, r.client, ks)
	var missing *podspec.MissingError
	var invalid *podspec.InvalidError
	status := *ks.Status.DeepCopy()
	switch {
	case problem == nil:
		r.condition(&status, ks, ConditionReady, true, "Usable", "")
	case errors.As(problem, &missing):
		r.condition(&status, ks, ConditionReady, false, missing.Reason, missing.Error())
	case errors.As(problem, &invalid):
		r.condition(&status, ks, ConditionReady, false, "Invalid", invalid.Error())
	default:
		return reconcile.Result{}, problem
	}
	if podspec.IsLauncher(ks.Spec.Command) {
		r.condition(&status, ks, ConditionCommandReplaced, true, "EnterpriseGatewayLauncher", "The standard command of the language is used.")
	} else {
		meta.RemoveStatusCondition(&status.Conditions, ConditionCommandReplaced)
	}
	if equality.Semantic.DeepEqual(ks.Status, status) {
		return reconcile.Result{}, nil
	}
	ks.Status = status
	if err := r.client.Status().Update(ctx, ks); apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: soon}, nil
	} else if err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	return reconcile.Result{}, nil
}

func (r *specReconciler) condition(status *v1alpha1.JupyterKernelSpecStatus, ks *v1alpha1.JupyterKernelSpec, kind string, is bool, reason, message string) {
	podrules.SetCondition(&status.Conditions, ks.Generation, r.now(), kind, is, reason, message)
}
