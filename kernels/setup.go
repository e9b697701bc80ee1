package kernels

import (
	"context"
	"fmt"
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

	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/queue"
)

// SetupWithManager adds the controllers of kernels, admission, gateways and
// kernelspecs, and the sweep, to a manager with leader election. The manager's
// cache must cover cfg.Namespace.
func SetupWithManager(mgr manager.Manager, cfg Config, agents Agents, registry prometheus.Registerer) (*Catalogue, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	life, err := lifecycle.NewMetrics(registry)
	if err != nil {
		return nil, fmt.Errorf("kernels: metrics: %w", err)
	}
	admission, err := queue.New(mgr, queue.Config{Namespace: cfg.Namespace, Pods: cfg.Pods, ClusterCapacity: cfg.ClusterCapacity}, agents, life, registry)
	if err != nil {
		return nil, err
	}
	for _, setup := range []func() error{
		func() error {
			return lifecycle.SetupWithManager(mgr, cfg.Namespace, cfg.Pods, agents, admission.Expect, life)
		},
		func() error { return admission.SetupWithManager(mgr) },
		func() error { return setupGateways(mgr, cfg) },
		func() error { return setupSpecs(mgr, cfg) },
	} {
		if err := setup(); err != nil {
			return nil, fmt.Errorf("kernels: %w", err)
		}
	}
	return &Catalogue{cfg: cfg, reader: mgr.GetClient(), cluster: admission.Capacity()}, nil
}

func setupGateways(mgr manager.Manager, cfg Config) error {
	r := &gatewayReconciler{cfg: cfg, client: mgr.GetClient(), live: mgr.GetAPIReader(), now: time.Now}
	all := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, _ client.Object) []reconcile.Request {
		var list v1alpha1.JupyterGatewayList
		if err := r.client.List(ctx, &list, client.InNamespace(cfg.Namespace)); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "cannot list gateways")
			return nil
		}
		requests := make([]reconcile.Request, len(list.Items))
		for i := range list.Items {
			requests[i].NamespacedName = client.ObjectKeyFromObject(&list.Items[i])
		}
		return requests
	})
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
		Complete(r)
}

func setupSpecs(mgr manager.Manager, cfg Config) error {
	r := &specReconciler{cfg: cfg, client: mgr.GetClient(), now: time.Now}
	ofTemplate := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		var list v1alpha1.JupyterKernelSpecList
		if err := r.client.List(ctx, &list, client.InNamespace(cfg.Namespace)); err != nil {
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
		Complete(r)
}
