package gateways

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/recheck"
	"github.com/elastichub/elastichub/tracing"
)

// Config is what the controllers of gateways and kernelspecs need to know.
type Config struct {
	// Scope is the namespaces of the release; policies are in its own.
	Scope *namespaces.Scope
	// Owner keeps other releases away from them; nil: there are none.
	Owner *namespaces.Owner
	// Pods says how kernels are made; gateways run the same image.
	Pods podspec.Config
	// Tokens tells by which keys tokens of notebooks count.
	Tokens TokenKeys
	// MetricsToken names the Secret with the token for the metrics, key token; empty: none.
	MetricsToken string
	// Tracing is where gateways send what they record.
	Tracing tracing.Config
	// PullSecrets names the Secrets, each in the gateway's namespace, with which its image is pulled. One that is
	// not there keeps no Pod from starting.
	PullSecrets []string
}

// TokenKeys are the public keys of notebooks' tokens, as tokens.Issuer has them.
type TokenKeys interface {
	// PublicKey is that of the key that signs.
	PublicKey() string
	// PublicKeys are all that count, a line each.
	PublicKeys() string
	// Mark changes with them.
	Mark() string
	// Changed gives a channel on which something comes after they have changed.
	Changed() <-chan struct{}
}

// soon is when to look again at something that changed under our hands:
// the event that tells of the change is on its way.
const soon = 20 * time.Millisecond

// SetupWithManager adds the controllers of gateways and kernelspecs to a manager.
func SetupWithManager(mgr manager.Manager, cfg Config) error {
	if err := setupGateways(mgr, cfg); err != nil {
		return err
	}
	if err := setupTemplates(mgr, cfg); err != nil {
		return err
	}
	return setupSpecs(mgr, cfg)
}

func setupGateways(mgr manager.Manager, cfg Config) error {
	r := &gatewayReconciler{cfg: cfg, client: mgr.GetClient(), live: mgr.GetAPIReader(), events: health.NewRecorder(mgr), now: time.Now}
	all := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		var list v1alpha1.JupyterGatewayList
		if err := r.client.List(ctx, &list, client.InNamespace(o.GetNamespace())); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "cannot list gateways")
			return nil
		}
		requests := make([]reconcile.Request, len(list.Items))
		for i := range list.Items {
			requests[i].NamespacedName = client.ObjectKeyFromObject(&list.Items[i])
		}
		return requests
	})
	listAll := func(ctx context.Context) []reconcile.Request {
		var list v1alpha1.JupyterGatewayList
		if err := cfg.Scope.List(ctx, r.client, &list); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "cannot list gateways")
			return nil
		}
		requests := make([]reconcile.Request, len(list.Items))
		for i := range list.Items {
			requests[i].NamespacedName = client.ObjectKeyFromObject(&list.Items[i])
		}
		return requests
	}
	ofAll := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, _ client.Object) []reconcile.Request { return listAll(ctx) })
	existence := builder.WithPredicates(predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }})
	return ctrl.NewControllerManagedBy(mgr).Named("kernel-gateway").
		For(&v1alpha1.JupyterGateway{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&appsv1.Deployment{}).
		Owns(&corev1.Service{}).
		Owns(&corev1.ServiceAccount{}).
		Owns(&corev1.ConfigMap{}).
		Owns(&rbacv1.Role{}).
		Owns(&rbacv1.RoleBinding{}).
		Watches(&v1alpha1.JupyterKernelSpec{}, all, existence).
		Watches(&v1alpha1.GroupPolicy{}, ofAll, existence).
		Watches(&rbacv1.Role{}, handler.EnqueueRequestsFromMapFunc(byRoleElsewhere)).
		Watches(&rbacv1.RoleBinding{}, handler.EnqueueRequestsFromMapFunc(byRoleElsewhere)).
		WatchesRawSource(recheck.On(cfg.Tokens.Changed(), listAll)).
		Complete(cfg.Owner.Guard(r))
}

func setupSpecs(mgr manager.Manager, cfg Config) error {
	r := &specReconciler{cfg: cfg, client: mgr.GetClient(), events: health.NewRecorder(mgr), now: time.Now}
	ofTemplate := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		var list v1alpha1.JupyterKernelSpecList
		if err := r.client.List(ctx, &list, client.InNamespace(o.GetNamespace())); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "cannot list kernelspecs")
			return nil
		}
		var requests []reconcile.Request
		for i := range list.Items {
			if ref := list.Items[i].Spec.Template; ref != nil && ref.Name == o.GetName() {
				requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
			}
		}
		return requests
	})
	return ctrl.NewControllerManagedBy(mgr).Named("kernelspec").
		For(&v1alpha1.JupyterKernelSpec{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.JupyterKernelTemplate{}, ofTemplate, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(cfg.Owner.Guard(r))
}
