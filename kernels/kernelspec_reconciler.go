package kernels

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
	problem := r.try(ctx, ks)
	var missing *MissingError
	var invalid *InvalidError
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
	if isLauncher(ks.Spec.Command) {
		r.condition(&status, ks, ConditionCommandReplaced, true, "EnterpriseGatewayLauncher", "The standard command of the language is used.")
	} else {
		meta.RemoveStatusCondition(&status.Conditions, ConditionCommandReplaced)
	}
	if equality.Semantic.DeepEqual(ks.Status, status) {
		return reconcile.Result{}, nil
	}
	ks.Status = status
	if err := r.client.Status().Update(ctx, ks); apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: shortly}, nil
	} else if err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	return reconcile.Result{}, nil
}

// try builds a Pod for a kernel that nobody has.
func (r *specReconciler) try(ctx context.Context, ks *v1alpha1.JupyterKernelSpec) error {
	k := &v1alpha1.JupyterKernel{}
	k.Name, k.Namespace = "trial", ks.Namespace
	in := parts{Kernel: k, Spec: ks, Gateway: &v1alpha1.JupyterGateway{}}
	template, err := templateRef(ks)
	if err != nil {
		return err
	}
	if template != "" {
		in.Template = &v1alpha1.JupyterKernelTemplate{}
		if err := find(ctx, r.client, ks.Namespace, template, in.Template, "TemplateMissing", "JupyterKernelTemplate"); err != nil {
			return err
		}
	}
	_, err = buildPod(r.cfg, in)
	return err
}

func (r *specReconciler) condition(status *v1alpha1.JupyterKernelSpecStatus, ks *v1alpha1.JupyterKernelSpec, kind string, is bool, reason, message string) {
	podrules.SetCondition(&status.Conditions, ks.Generation, r.now(), kind, is, reason, message)
}
