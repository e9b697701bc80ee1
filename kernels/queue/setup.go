package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
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
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/namespaces"
)

// Queue is the admission of kernels on the leader, and what goes with it.
type Queue struct {
	admitter *admitter
	watch    *warmWatch
	cluster  *ClusterCapacity // nil without Config.ClusterCapacity
}

// New makes the queue of a manager. agents is asked to park kernels for those who
// wait; life is told of what becomes of kernels here.
func New(mgr manager.Manager, cfg Config, agents Agents, life *lifecycle.Metrics, registry prometheus.Registerer) (*Queue, error) {
	meters, err := newMetrics(registry)
	if err != nil {
		return nil, fmt.Errorf("kernels: metrics of the queue: %w", err)
	}
	a := newAdmitter(cfg, mgr.GetClient(), mgr.GetAPIReader(), time.Now, meters, life)
	a.events = health.NewRecorder(mgr)
	if cfg.Allowances != nil {
		a.memberships = newMemberships(cfg.Allowances, time.Now)
	}
	a.yields = newYielder(cfg, mgr.GetClient(), mgr.GetAPIReader(), agents, meters)
	q := &Queue{admitter: a, watch: &warmWatch{
		cfg: cfg, client: mgr.GetClient(), live: mgr.GetAPIReader(), agents: agents, now: time.Now, memory: &a.memory,
	}}
	if cfg.ClusterCapacity {
		if q.cluster, err = NewClusterCapacity(mgr.GetConfig(), mgr.GetScheme(), cfg.Scope, cfg.NodePools); err != nil {
			return nil, err
		}
		a.capacity = q.cluster
	}
	return q, nil
}

// Expect tells the queue of a Pod that is about to be created: should its kernel
// be deleted before the cache shows the Pod, it is counted all the same.
func (q *Queue) Expect(pod *corev1.Pod) { q.admitter.expected.add(pod) }

// Capacity is what the cluster's nodes offer; nil where only the policies limit.
func (q *Queue) Capacity() Capacity {
	if q.cluster == nil {
		return nil
	}
	return q.cluster
}

// SetupWithManager adds the queue to its manager.
func (q *Queue) SetupWithManager(mgr manager.Manager) error {
	if q.cluster != nil {
		if err := mgr.Add(q.cluster.Cache()); err != nil {
			return fmt.Errorf("kernels: capacity cache: %w", err)
		}
	}
	if err := setupAdmission(mgr, q.admitter, q.cluster); err != nil {
		return err
	}
	if q.admitter.memberships != nil {
		if err := mgr.Add(q.admitter.memberships); err != nil {
			return fmt.Errorf("kernels: memberships: %w", err)
		}
	}
	if err := mgr.Add(q.watch); err != nil {
		return fmt.Errorf("kernels: watch of warm Pods: %w", err)
	}
	return mgr.Add(q.admitter.yields)
}

func setupAdmission(mgr manager.Manager, a *admitter, cluster *ClusterCapacity) error {
	always := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request { return everything })
	changed := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	b := ctrl.NewControllerManagedBy(mgr).Named("kernel-admission").
		Watches(&v1alpha1.JupyterKernel{}, always, builder.WithPredicates(predicate.Funcs{UpdateFunc: kernelMatters})).
		Watches(&corev1.Pod{}, always, builder.WithPredicates(predicate.NewPredicateFuncs(isKernelObject), predicate.Funcs{UpdateFunc: podMatters})).
		Watches(&v1alpha1.GroupPolicy{}, always, changed).
		Watches(&v1alpha1.JupyterNotebook{}, always, builder.WithPredicates(predicate.Funcs{UpdateFunc: notebookMatters})).
		Watches(&v1alpha1.JupyterGateway{}, always, changed).
		Watches(&v1alpha1.JupyterKernelSpec{}, always, changed).
		Watches(&v1alpha1.JupyterKernelTemplate{}, always, changed).
		WithOptions(controller.Options{MaxConcurrentReconciles: 1})
	if a.memberships != nil {
		b = b.WatchesRawSource(source.Channel(a.memberships.came, always))
	}
	if cluster != nil {
		typedAlways := handler.TypedEnqueueRequestsFromMapFunc(func(context.Context, *corev1.Pod) []reconcile.Request { return everything })
		nodeAlways := handler.TypedEnqueueRequestsFromMapFunc(func(context.Context, *corev1.Node) []reconcile.Request { return everything })
		b = b.
			WatchesRawSource(source.Kind(cluster.Cache(), &corev1.Pod{}, typedAlways, foreignPodMatters(a.cfg.Scope))).
			WatchesRawSource(source.Kind(cluster.Cache(), &corev1.Node{}, nodeAlways, predicate.TypedFuncs[*corev1.Node]{
				UpdateFunc: func(e event.TypedUpdateEvent[*corev1.Node]) bool { return nodeMatters(e.ObjectOld, e.ObjectNew) },
			}))
		if cluster.devices != nil {
			b = watchDevices(b, cluster.Cache())
		}
	}
	return b.Complete(a)
}

// watchDevices has the admitter look again when devices come, go, or change hands.
func watchDevices(b *builder.Builder, informers cache.Cache) *builder.Builder {
	class := handler.TypedEnqueueRequestsFromMapFunc(func(context.Context, *resourcev1.DeviceClass) []reconcile.Request { return everything })
	slice := handler.TypedEnqueueRequestsFromMapFunc(func(context.Context, *resourcev1.ResourceSlice) []reconcile.Request { return everything })
	claim := handler.TypedEnqueueRequestsFromMapFunc(func(context.Context, *resourcev1.ResourceClaim) []reconcile.Request { return everything })
	return b.
		WatchesRawSource(source.Kind(informers, &resourcev1.DeviceClass{}, class)).
		WatchesRawSource(source.Kind(informers, &resourcev1.ResourceSlice{}, slice)).
		WatchesRawSource(source.Kind(informers, &resourcev1.ResourceClaim{}, claim, predicate.TypedFuncs[*resourcev1.ResourceClaim]{
			UpdateFunc: func(e event.TypedUpdateEvent[*resourcev1.ResourceClaim]) bool {
				return claimMatters(e.ObjectOld, e.ObjectNew)
			},
		}))
}

// kernelMatters reports whether a change of a kernel can change a decision; the
// places in the queue, which the admitter writes itself, cannot.
func kernelMatters(e event.UpdateEvent) bool {
	old, ok1 := e.ObjectOld.(*v1alpha1.JupyterKernel)
	current, ok2 := e.ObjectNew.(*v1alpha1.JupyterKernel)
	if !ok1 || !ok2 {
		return true
	}
	return old.Generation != current.Generation || old.Status.Phase != current.Status.Phase || old.Status.Run != current.Status.Run ||
		(old.DeletionTimestamp == nil) != (current.DeletionTimestamp == nil) ||
		old.Annotations[v1alpha1.AnnotationPageOpen] != current.Annotations[v1alpha1.AnnotationPageOpen] ||
		held(old) != held(current) ||
		!equality.Semantic.DeepEqual(old.Status.Held, current.Status.Held)
}

// held reports whether a waiting kernel is kept from admission by what is not there, or by the cluster.
func held(k *v1alpha1.JupyterKernel) bool {
	return meta.IsStatusConditionFalse(k.Status.Conditions, lifecycle.ConditionResolved) || meta.IsStatusConditionFalse(k.Status.Conditions, lifecycle.ConditionTaken)
}

// notebookMatters reports whether a change of a notebook can change for whom kernels
// are kept ready.
func notebookMatters(e event.UpdateEvent) bool {
	old, ok1 := e.ObjectOld.(*v1alpha1.JupyterNotebook)
	current, ok2 := e.ObjectNew.(*v1alpha1.JupyterNotebook)
	if !ok1 || !ok2 {
		return true
	}
	return old.Generation != current.Generation || old.Status.Phase != current.Status.Phase || old.Status.Reason != current.Status.Reason ||
		!old.Status.StartTime.Equal(current.Status.StartTime) || (old.DeletionTimestamp == nil) != (current.DeletionTimestamp == nil)
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
func foreignPodMatters(scope *namespaces.Scope) predicate.TypedPredicate[*corev1.Pod] {
	holds := func(pod *corev1.Pod) bool {
		return !(podspec.IsKernelPod(pod) && scope.Has(pod.Namespace)) && len(podspec.Extended(&pod.Spec)) > 0
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
	return takesPods(old) != takesPods(current) ||
		!equality.Semantic.DeepEqual(old.Status.Allocatable, current.Status.Allocatable) ||
		!equality.Semantic.DeepEqual(old.Spec.Taints, current.Spec.Taints) || !equality.Semantic.DeepEqual(old.Labels, current.Labels)
}

// everything is the one request of the admitter.
var everything = []reconcile.Request{{NamespacedName: types.NamespacedName{Name: "all"}}}
