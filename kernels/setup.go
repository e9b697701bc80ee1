package kernels

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
)

// everything is the one request of the admitter.
var everything = []reconcile.Request{{NamespacedName: types.NamespacedName{Name: "all"}}}

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
	meters, err := newQueueMetrics(registry)
	if err != nil {
		return nil, fmt.Errorf("kernels: metrics: %w", err)
	}
	admit := &admitter{cfg: cfg, client: mgr.GetClient(), live: mgr.GetAPIReader(), now: time.Now, meters: meters, life: life}
	catalogue := &Catalogue{cfg: cfg, reader: mgr.GetClient()}
	var cluster *ClusterCapacity
	if cfg.ClusterCapacity {
		if cluster, err = NewClusterCapacity(mgr.GetConfig(), mgr.GetScheme(), cfg.Namespace); err != nil {
			return nil, err
		}
		if err := mgr.Add(cluster.Cache()); err != nil {
			return nil, fmt.Errorf("kernels: capacity cache: %w", err)
		}
		admit.places, catalogue.places = cluster, cluster
	}
	admit.yields = newYielder(cfg, mgr.GetClient(), mgr.GetAPIReader(), agents, meters)
	for _, setup := range []func() error{
		func() error {
			return lifecycle.SetupWithManager(mgr, cfg.Namespace, cfg.Pods, agents, admit.expect, life)
		},
		func() error { return setupAdmission(mgr, admit, cluster) },
		func() error { return setupGateways(mgr, cfg) },
		func() error { return setupSpecs(mgr, cfg) },
		func() error { return mgr.Add(admit.yields) },
	} {
		if err := setup(); err != nil {
			return nil, fmt.Errorf("kernels: %w", err)
		}
	}
	return catalogue, nil
}

func setupAdmission(mgr manager.Manager, a *admitter, cluster *ClusterCapacity) error {
	always := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request { return everything })
	changed := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	b := ctrl.NewControllerManagedBy(mgr).Named("kernel-admission").
		Watches(&v1alpha1.JupyterKernel{}, always, builder.WithPredicates(predicate.Funcs{UpdateFunc: kernelMatters})).
		Watches(&corev1.Pod{}, always, builder.WithPredicates(predicate.NewPredicateFuncs(isKernelObject), predicate.Funcs{UpdateFunc: podMatters})).
		Watches(&v1alpha1.GroupPolicy{}, always, changed).
		Watches(&v1alpha1.JupyterGateway{}, always, changed).
		Watches(&v1alpha1.JupyterKernelSpec{}, always, changed).
		Watches(&v1alpha1.JupyterKernelTemplate{}, always, changed).
		WithOptions(controller.Options{MaxConcurrentReconciles: 1})
	if cluster != nil {
		typedAlways := handler.TypedEnqueueRequestsFromMapFunc(func(context.Context, *corev1.Pod) []reconcile.Request { return everything })
		nodeAlways := handler.TypedEnqueueRequestsFromMapFunc(func(context.Context, *corev1.Node) []reconcile.Request { return everything })
		b = b.
			WatchesRawSource(source.Kind(cluster.Cache(), &corev1.Pod{}, typedAlways, foreignPodMatters(a.cfg.Namespace))).
			WatchesRawSource(source.Kind(cluster.Cache(), &corev1.Node{}, nodeAlways, predicate.TypedFuncs[*corev1.Node]{
				UpdateFunc: func(e event.TypedUpdateEvent[*corev1.Node]) bool { return nodeMatters(e.ObjectOld, e.ObjectNew) },
			}))
	}
	return b.Complete(a)
}

// kernelMatters tells whether a change of a kernel can change a decision; the
// places in the queue, which the admitter writes itself, cannot.
func kernelMatters(e event.UpdateEvent) bool {
	old, ok1 := e.ObjectOld.(*v1alpha1.JupyterKernel)
	current, ok2 := e.ObjectNew.(*v1alpha1.JupyterKernel)
	if !ok1 || !ok2 {
		return true
	}
	return old.Generation != current.Generation || old.Status.Phase != current.Status.Phase || old.Status.Run != current.Status.Run ||
		(old.DeletionTimestamp == nil) != (current.DeletionTimestamp == nil) ||
		meta.IsStatusConditionFalse(old.Status.Conditions, lifecycle.ConditionResolved) != meta.IsStatusConditionFalse(current.Status.Conditions, lifecycle.ConditionResolved) ||
		!equality.Semantic.DeepEqual(old.Status.Held, current.Status.Held)
}

func isKernelObject(o client.Object) bool {
	pod, ok := o.(*corev1.Pod)
	return ok && podspec.IsKernelPod(pod)
}

func podMatters(e event.UpdateEvent) bool {
	old, ok1 := e.ObjectOld.(*corev1.Pod)
	current, ok2 := e.ObjectNew.(*corev1.Pod)
	if !ok1 || !ok2 {
		return true
	}
	if podspec.IsWarm(old) && (!podspec.IsWarm(current) || podstate.Ready(old) != podstate.Ready(current) || (old.DeletionTimestamp == nil) != (current.DeletionTimestamp == nil)) {
		return true
	}
	return podstate.Alive(old) != podstate.Alive(current) || old.Spec.NodeName != current.Spec.NodeName || podstate.Unschedulable(old) != podstate.Unschedulable(current)
}

// foreignPodMatters lets through Pods of others that hold extended resources.
func foreignPodMatters(namespace string) predicate.TypedPredicate[*corev1.Pod] {
	holds := func(pod *corev1.Pod) bool {
		return !(podspec.IsKernelPod(pod) && pod.Namespace == namespace) && len(podspec.Extended(&pod.Spec)) > 0
	}
	return predicate.TypedFuncs[*corev1.Pod]{
		CreateFunc: func(e event.TypedCreateEvent[*corev1.Pod]) bool { return holds(e.Object) },
		DeleteFunc: func(e event.TypedDeleteEvent[*corev1.Pod]) bool { return holds(e.Object) },
		UpdateFunc: func(e event.TypedUpdateEvent[*corev1.Pod]) bool {
			return holds(e.ObjectNew) && e.ObjectOld.Spec.NodeName != e.ObjectNew.Spec.NodeName
		},
	}
}

func nodeMatters(old, current *corev1.Node) bool {
	return usable(old) != usable(current) ||
		!equality.Semantic.DeepEqual(old.Status.Allocatable, current.Status.Allocatable) ||
		!equality.Semantic.DeepEqual(old.Spec.Taints, current.Spec.Taints) || !equality.Semantic.DeepEqual(old.Labels, current.Labels)
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
