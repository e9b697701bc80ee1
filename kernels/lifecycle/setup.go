package lifecycle

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
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

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/tracing"
)

// kernelsAtOnce bounds how many kernels are reconciled at a time.
const kernelsAtOnce = 16

// SetupWithManager adds the controllers of kernels' lives in the namespaces of a scope that
// are owner's, and the sweep of those, to a manager. expect is told of every Pod that is about to be created. keepSeeds are
// what the keys of kernels' states follow from, if states are kept. metered is told what
// agents count, and standings tells how budgets stand. tracer is told how runs begin.
func SetupWithManager(mgr manager.Manager, scope *namespaces.Scope, owner *namespaces.Owner, pods *podspec.Builder, keepSeeds keys.KeepSeeds, agents Agents, expect func(*corev1.Pod), metered Metered, standings Standings, meters *Metrics, tracer *tracing.Tracer) error {
	kernels := &kernelReconciler{scope: scope, pods: pods, client: mgr.GetClient(), live: mgr.GetAPIReader(), now: time.Now, meters: meters, expect: expect, agents: agents, keepSeeds: keepSeeds, standings: standings, events: health.NewRecorder(mgr), tracer: tracer}
	kernels.backstop = newBackstop(pods, mgr.GetClient(), mgr.GetAPIReader(), agents)
	kernels.backstop.metered = metered
	if err := mgr.Add(kernels.backstop); err != nil {
		return err
	}
	watch := &budgetWatch{scope: scope, client: mgr.GetClient(), standings: standings, changed: kernels.backstop.changed}
	if err := mgr.Add(watch); err != nil {
		return err
	}
	if err := setupKernels(mgr, owner, kernels); err != nil {
		return err
	}
	if err := setupIdle(mgr, owner, &idleReconciler{pods: pods, client: mgr.GetClient(), live: mgr.GetAPIReader(), agents: agents}, kernels.kernelsWhere); err != nil {
		return err
	}
	return mgr.Add(&sweeper{scope: scope, client: mgr.GetClient(), live: mgr.GetAPIReader(), now: time.Now, meters: meters})
}

func setupKernels(mgr manager.Manager, owner *namespaces.Owner, r *kernelReconciler) error {
	waiting := func(ctx context.Context, _ client.Object) []reconcile.Request {
		return r.kernelsWhere(ctx, func(k *v1alpha1.JupyterKernel) bool {
			return k.Status.Phase == v1alpha1.KernelQueued || k.Status.Phase == ""
		})
	}
	ofNotebook := func(ctx context.Context, o client.Object) []reconcile.Request {
		return r.kernelsWhere(ctx, func(k *v1alpha1.JupyterKernel) bool {
			return k.Spec.Notebook == o.GetName() && k.Namespace == o.GetNamespace()
		})
	}
	ofGateway := func(ctx context.Context, o client.Object) []reconcile.Request {
		return r.kernelsWhere(ctx, func(k *v1alpha1.JupyterKernel) bool { return k.GatewayKey() == client.ObjectKeyFromObject(o) })
	}
	changed := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	return ctrl.NewControllerManagedBy(mgr).Named("kernel").
		For(&v1alpha1.JupyterKernel{}).
		Watches(&corev1.Pod{}, r.podEvents()).
		WatchesRawSource(source.Channel(r.backstop.changed, &handler.EnqueueRequestForObject{})).
		Watches(&v1alpha1.JupyterKernelSpec{}, handler.EnqueueRequestsFromMapFunc(waiting), changed).
		Watches(&v1alpha1.JupyterKernelTemplate{}, handler.EnqueueRequestsFromMapFunc(waiting), changed).
		Watches(&v1alpha1.JupyterGateway{}, handler.EnqueueRequestsFromMapFunc(ofGateway), builder.WithPredicates(
			predicate.Or(predicate.GenerationChangedPredicate{}, predicate.Funcs{UpdateFunc: keyChanged}))).
		Watches(&v1alpha1.JupyterNotebook{}, handler.EnqueueRequestsFromMapFunc(ofNotebook), changed).
		Watches(&corev1.ServiceAccount{}, handler.EnqueueRequestsFromMapFunc(waiting), builder.WithPredicates(predicate.AnnotationChangedPredicate{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: kernelsAtOnce}).
		Complete(owner.Guard(r))
}

// keyChanged: a gateway's key was made anew, or rotated.
func keyChanged(e event.UpdateEvent) bool {
	old, ok1 := e.ObjectOld.(*v1alpha1.JupyterGateway)
	current, ok2 := e.ObjectNew.(*v1alpha1.JupyterGateway)
	return ok1 && ok2 && (old.Status.KeySecret != current.Status.KeySecret || old.Status.KeyID != current.Status.KeyID)
}

// podEvents enqueues the kernel of a Pod, and keeps how deleted Pods looked last.
func (r *kernelReconciler) podEvents() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	enqueue := func(o client.Object, q queue) {
		if owner := metav1.GetControllerOf(o); owner != nil && owner.Kind == "JupyterKernel" {
			q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: owner.Name}})
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { enqueue(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { enqueue(e.ObjectNew, q) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			if pod, ok := e.Object.(*corev1.Pod); ok && podspec.IsKernelPod(pod) {
				r.last.Store(client.ObjectKeyFromObject(pod), pod)
			}
			enqueue(e.Object, q)
		},
	}
}

// kernelsWhere asks for those kernels of all namespaces that something which has changed
// is about: a gateway and its kernelspecs may be in another namespace than a kernel.
func (r *kernelReconciler) kernelsWhere(ctx context.Context, is func(*v1alpha1.JupyterKernel) bool) []reconcile.Request {
	var list v1alpha1.JupyterKernelList
	if err := r.scope.List(ctx, r.client, &list, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list kernels")
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if is(&list.Items[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return requests
}
