package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/tracing"
)

const (
	// rulesAtOnce bounds how many agents are told at a time.
	rulesAtOnce = 8
	// The pauses between attempts to tell an agent that does not answer.
	firstRulePause = time.Second
	mostRulePause  = time.Minute
)

// idleReconciler makes the agents of running kernels follow the idle times that
// hold now. It is apart from the kernelReconciler so that agents that do not
// answer hold up nothing else.
type idleReconciler struct {
	pods   *podspec.Builder
	client client.Client // reads from the cache
	live   client.Reader // reads from the API server
	agents Agents
}

// Reconcile implements reconcile.Reconciler; requests name kernels.
func (r *idleReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	k := &v1alpha1.JupyterKernel{}
	if err := r.client.Get(ctx, req.NamespacedName, k); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	ctx = tracing.WithObject(ctx, k)
	if !HasAgent(k) || k.Spec.KernelSpec == "" {
		return reconcile.Result{}, nil
	}
	pod := &corev1.Pod{}
	if err := r.client.Get(ctx, types.NamespacedName{Namespace: k.Namespace, Name: k.Status.PodName}, pod); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err) // its end is the kernel's matter
	}
	if !podspec.BelongsTo(pod, k.UID) || pod.Status.PodIP != k.Status.PodIP || pod.DeletionTimestamp != nil || !podstate.Alive(pod) {
		return reconcile.Result{}, nil
	}
	in, err := r.pods.GatherRunning(ctx, r.client, k, pod)
	if err != nil {
		return reconcile.Result{}, podspec.IgnoreUnbuildable(err) // what it started with still holds
	}
	rule := r.pods.IdleRule(in)
	if rule.Obeyed(pod) {
		return reconcile.Result{}, nil
	}
	secrets, err := podspec.AgentSecrets(ctx, r.live, k)
	if err != nil {
		return reconcile.Result{}, err
	}
	calling, cancel := context.WithTimeout(ctx, protocol.CallTimeout)
	defer cancel()
	if err := r.agents.SetIdle(calling, k.Status.PodIP, secrets, rule.Limits()); err != nil {
		return reconcile.Result{}, fmt.Errorf("kernels: tell agent its idle time: %w", err)
	}
	noted := pod.DeepCopy()
	noted.Annotations[v1alpha1.AnnotationIdle] = rule.String()
	if err := r.client.Patch(ctx, noted, client.MergeFrom(pod)); err != nil && !apierrors.IsNotFound(err) {
		return reconcile.Result{}, fmt.Errorf("kernels: note idle time: %w", err)
	}
	log.FromContext(ctx).Info("idle time changed", "seconds", rule.TimeoutSeconds, "shortSeconds", rule.ShortSeconds, "atLeastSeconds", rule.AtLeastSeconds, "decidedBy", rule.DecidedBy, "cullConnected", rule.CullConnected)
	return reconcile.Result{}, nil
}

func setupIdle(mgr manager.Manager, owner *namespaces.Owner, r *idleReconciler, where func(context.Context, func(*v1alpha1.JupyterKernel) bool) []reconcile.Request) error {
	each := func(is func(k *v1alpha1.JupyterKernel, changed types.NamespacedName) bool) handler.EventHandler {
		return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
			return where(ctx, func(k *v1alpha1.JupyterKernel) bool { return HasAgent(k) && is(k, client.ObjectKeyFromObject(o)) })
		})
	}
	changed := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	return ctrl.NewControllerManagedBy(mgr).Named("kernel-idle").
		For(&v1alpha1.JupyterKernel{}, builder.WithPredicates(predicate.Funcs{
			UpdateFunc: func(e event.UpdateEvent) bool {
				old, ok1 := e.ObjectOld.(*v1alpha1.JupyterKernel)
				current, ok2 := e.ObjectNew.(*v1alpha1.JupyterKernel)
				return !ok1 || !ok2 || old.Generation != current.Generation || HasAgent(old) != HasAgent(current) ||
					!old.Status.SnoozedUntil.Equal(current.Status.SnoozedUntil)
			},
			DeleteFunc: func(event.DeleteEvent) bool { return false },
		})).
		Watches(&v1alpha1.JupyterGateway{}, each(func(k *v1alpha1.JupyterKernel, gateway types.NamespacedName) bool { return k.GatewayKey() == gateway }), changed).
		Watches(&v1alpha1.JupyterKernelSpec{}, each(func(k *v1alpha1.JupyterKernel, ks types.NamespacedName) bool {
			return k.Spec.KernelSpec == ks.Name && k.GatewayKey().Namespace == ks.Namespace
		}), changed).
		Watches(&v1alpha1.GroupPolicy{}, each(func(k *v1alpha1.JupyterKernel, policy types.NamespacedName) bool {
			return r.pods.Config().PoliciesOf(k) == policy.Namespace && (slices.Contains(k.Spec.Policies, policy.Name) || slices.Contains(k.Status.Policies, policy.Name))
		}), changed).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: rulesAtOnce,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRulePause, mostRulePause),
		}).
		Complete(owner.Guard(r))
}

// Agents reaches the agents of running kernels, by address and secret. An
// error means that the call may or may not have been obeyed; it can be repeated.
type Agents interface {
	// SetIdle sets when the kernel is parked. It may take two calls.
	SetIdle(ctx context.Context, ip string, secrets keys.Secrets, limits protocol.IdleLimits) error
	// SetVariables sets what the kernel has in its environment over what its Pod says,
	// and where it runs.
	SetVariables(ctx context.Context, ip string, secrets keys.Secrets, told protocol.Variables) error
	// SetKeep tells how the kernel's state is kept, once, before anybody speaks to it, and
	// reports whether the agent agreed.
	SetKeep(ctx context.Context, ip string, secrets keys.Secrets, state protocol.KeepState) (bool, error)
	// Shutdown ends the kernel, as its owner does: nothing is kept of it.
	Shutdown(ctx context.Context, ip string, secrets keys.Secrets) error
	// Report tells how the kernel is.
	Report(ctx context.Context, ip string, secrets keys.Secrets) (protocol.Report, error)
	// ParkByHand ends the kernel as its idle time would, if it has been idle for so
	// long; false: it was not.
	ParkByHand(ctx context.Context, ip string, secrets keys.Secrets, idle time.Duration) (bool, error)
	// ParkForBudget does so, also while clients hold the kernel, for a budget that is spent;
	// with whole only if all of its variables are kept.
	ParkForBudget(ctx context.Context, ip string, secrets keys.Secrets, idle time.Duration, whole bool) (bool, error)
	// Notify has people read a notice in their cells.
	Notify(ctx context.Context, ip string, secrets keys.Secrets, notice protocol.Notice) error
}
