package gateways

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/setaside"
)

// templateReconciler says of each JupyterKernelTemplate whether kernels may have
// such a Pod.
type templateReconciler struct {
	client client.Client
	events health.Recorder
	now    func() time.Time
}

func setupTemplates(mgr manager.Manager, cfg Config) error {
	return ctrl.NewControllerManagedBy(mgr).Named("kerneltemplate").
		For(&v1alpha1.JupyterKernelTemplate{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(cfg.Owner.Guard(&templateReconciler{client: mgr.GetClient(), events: health.NewRecorder(mgr), now: time.Now}))
}

// Reconcile implements reconcile.Reconciler; requests name templates.
func (r *templateReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	t := &v1alpha1.JupyterKernelTemplate{}
	if err := r.client.Get(ctx, req.NamespacedName, t); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	status := *t.Status.DeepCopy()
	standing, reason, message := health.Ready, v1alpha1.ReasonUsable, ""
	if err := t.Malformed(); err != nil {
		standing, reason, message = health.Stalled, v1alpha1.ReasonMalformed, err.Error()
	} else if err := podspec.CheckTemplate(t); err != nil {
		standing, reason, message = health.Stalled, v1alpha1.ReasonInvalid, err.Error()
	}
	health.Set(&status.Conditions, t.Generation, r.now(), standing, string(reason), message)
	status.ObservedGeneration = t.Generation
	if equality.Semantic.DeepEqual(t.Status, status) {
		return reconcile.Result{}, nil
	}
	updated := t.DeepCopy()
	updated.Status = status
	err := r.client.Status().Patch(ctx, updated, podrules.PatchOver(t))
	if err == nil {
		r.events.Tell(t, health.Changes(t.Status.Conditions, status.Conditions, nil)...)
	}
	return written(setaside.Tell(ctx, r.client, t, err))
}
