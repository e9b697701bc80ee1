package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
)

// Shortly is when to look again at something that changed under our hands:
// the event that tells of the change is on its way.
const Shortly = 20 * time.Millisecond

// warmPatience is how often a warm Pod that is not ready yet is looked at
// without an event.
const warmPatience = 5 * time.Second

// errNotReady means that a Pod's agent does not answer yet.
var errNotReady = errors.New("kernels: the agent does not answer yet")

// kernelReconciler brings one kernel after the other to where it should be.
type kernelReconciler struct {
	pods   *podspec.Builder
	client client.Client // reads from the cache
	live   client.Reader // reads from the API server
	now    func() time.Time
	meters *Metrics
	// expect is told of every Pod that is about to be created.
	expect func(pod *corev1.Pod)
	agents Agents

	last   sync.Map // Pod UID → *corev1.Pod as the cache saw it last, until its end is taken note of
	clocks sync.Map // kernel UID → startClock
}

// startClock measures a start; it is lost with the leader.
type startClock struct{ created, addressed time.Time }

// Reconcile implements reconcile.Reconciler; requests name kernels.
func (r *kernelReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	k := &v1alpha1.JupyterKernel{}
	if err := r.client.Get(ctx, req.NamespacedName, k); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("kernels: read kernel: %w", err)
	}
	pods, strangers, err := r.podsOf(ctx, req.NamespacedName, k.UID)
	if err != nil {
		return reconcile.Result{}, err
	}
	if len(strangers) > 0 {
		// on the word of the API server: the cache of kernels may be behind that of Pods
		if same, err := r.isCurrent(ctx, req.NamespacedName, k.UID); err != nil || !same {
			return reconcile.Result{RequeueAfter: Shortly}, err
		}
	}
	if k.UID == "" || k.DeletionTimestamp != nil {
		r.clocks.Delete(k.UID)
		r.pods.Forget(k.UID)
		return reconcile.Result{}, r.removeAll(ctx, append(pods, strangers...))
	}
	gone, err := r.ensureOwner(ctx, k)
	if gone || err != nil {
		return reconcile.Result{}, err
	}
	return r.advance(ctx, k, pods, strangers)
}

// isCurrent tells whether the kernel of that name has that UID; the empty UID
// stands for there being none.
func (r *kernelReconciler) isCurrent(ctx context.Context, name types.NamespacedName, uid types.UID) (bool, error) {
	var k v1alpha1.JupyterKernel
	if err := r.live.Get(ctx, name, &k); client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("kernels: read kernel: %w", err)
	}
	return k.UID == uid, nil
}

func (r *kernelReconciler) advance(ctx context.Context, k *v1alpha1.JupyterKernel, pods, strangers []*corev1.Pod) (reconcile.Result, error) {
	onIdle, err := r.onIdle(ctx, k)
	if err != nil {
		return reconcile.Result{}, err
	}
	now := r.now()
	if ClaimsWarmPod(k.Status) && k.WantedRun() == k.Status.Run {
		pod, told, result, err := r.resolveClaim(ctx, k, pods)
		if err != nil || !told {
			return result, err
		}
		pods = append(slices.DeleteFunc(pods, func(p *corev1.Pod) bool { return p.Name == pod.Name }), pod)
	}
	s := next(observed{kernel: k, pods: pods, vanished: r.lastOf(k), hint: r.hintOf(ctx, k, pods), onIdle: onIdle, now: now})
	if s.create && len(strangers) > 0 {
		s.create = false // a Pod of a former kernel of this name has to go first
	}
	if Counted(k.Status) && (!Counted(s.status) || len(k.Status.Held) > len(s.status.Held)) || len(pods) == 0 && k.Status.PodName != "" {
		// what is held is given back on the word of the API server, not of a cache
		behind, err := r.cacheIsBehind(ctx, k, pods)
		if err != nil || behind {
			return reconcile.Result{RequeueAfter: Shortly}, err
		}
	}
	switch {
	case s.status.Phase == v1alpha1.KernelQueued:
		err = r.checkBuildable(ctx, k, &s)
	case s.create:
		err = r.create(ctx, k, &s)
	}
	if errors.Is(err, errChanged) {
		return reconcile.Result{RequeueAfter: Shortly}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if !awaitsPod(s.status) {
		r.pods.Forget(k.UID)
	}
	if s.deleteKernel {
		r.countEnd(k, s)
		return reconcile.Result{}, r.deleteKernel(ctx, k, "idle")
	}
	if err := r.write(ctx, k, s); err != nil {
		if apierrors.IsConflict(err) {
			return reconcile.Result{RequeueAfter: Shortly}, nil
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if err := r.removeAll(ctx, append(s.remove, strangers...)); err != nil {
		return reconcile.Result{}, err
	}
	for _, pod := range s.force {
		log.FromContext(ctx).Info("taking a Pod by force whose node does not answer", "pod", pod.Name, "node", pod.Spec.NodeName)
		if err := r.remove(ctx, pod, client.GracePeriodSeconds(0)); err != nil {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{RequeueAfter: s.lookAgain}, nil
}

// hintOf is the last warning about the Pod of a kernel that does not start, for
// people; empty if there is none, or if it cannot be read.
func (r *kernelReconciler) hintOf(ctx context.Context, k *v1alpha1.JupyterKernel, pods []*corev1.Pod) string {
	pod, _ := splitByName(pods, podspec.CurrentPodName(k.Name, k.Status))
	if pod == nil || k.Status.Phase != v1alpha1.KernelStarting || pod.Spec.NodeName == "" || pod.DeletionTimestamp != nil ||
		k.Status.StartTime == nil || r.now().Sub(k.Status.StartTime.Time) < hintAfter || podstate.Ready(pod) || !podstate.Alive(pod) {
		return ""
	}
	var events corev1.EventList
	err := r.live.List(ctx, &events, client.InNamespace(pod.Namespace), client.Limit(mostEvents),
		client.MatchingFields{"involvedObject.uid": string(pod.UID), "type": corev1.EventTypeWarning})
	if err != nil {
		log.FromContext(ctx).Error(err, "cannot read the events of a Pod", "pod", pod.Name)
		return ""
	}
	var last *corev1.Event
	for i := range events.Items {
		if e := &events.Items[i]; last == nil || happened(e).After(happened(last)) {
			last = e
		}
	}
	if last == nil {
		return ""
	}
	return podstate.Clip(last.Reason + ": " + last.Message)
}

// mostEvents bounds what is read of one Pod's events.
const mostEvents = 64

func happened(e *corev1.Event) time.Time {
	switch {
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}

// cacheIsBehind tells whether the API server has a living Pod of the kernel that the
// cache does not show as alive.
func (r *kernelReconciler) cacheIsBehind(ctx context.Context, k *v1alpha1.JupyterKernel, cached []*corev1.Pod) (bool, error) {
	var list corev1.PodList
	if err := r.live.List(ctx, &list, client.InNamespace(k.Namespace), podspec.SelectorOf(k.Name)); err != nil {
		return false, fmt.Errorf("kernels: list Pods: %w", err)
	}
	seen := map[types.UID]bool{}
	for _, pod := range cached {
		seen[pod.UID] = true // as it is; a newer state of it will be an event of its own
	}
	for i := range list.Items {
		if pod := &list.Items[i]; podspec.BelongsTo(pod, k.UID) && podstate.Alive(pod) && !seen[pod.UID] {
			return true, nil
		}
	}
	return false, nil
}

// checkBuildable tells a waiting kernel what it waits for besides admission, or that
// it waits in vain.
func (r *kernelReconciler) checkBuildable(ctx context.Context, k *v1alpha1.JupyterKernel, s *plan) error {
	queued := k.DeepCopy()
	queued.Status = s.status
	_, err := r.pods.Build(ctx, r.client, queued)
	return r.noteUnbuildable(s, err)
}

// noteUnbuildable takes note of an error of gather or buildPod; others it returns.
func (r *kernelReconciler) noteUnbuildable(s *plan, err error) error {
	var missing *podspec.MissingError
	var invalid *podspec.InvalidError
	now := r.now()
	switch {
	case err == nil:
		if meta.IsStatusConditionFalse(s.status.Conditions, ConditionResolved) {
			s.status.Message = ""
			s.setCondition(now, ConditionResolved, true, "Found", "")
		}
	case errors.As(err, &missing):
		if s.status.Phase != v1alpha1.KernelQueued { // admitted, and now it cannot be built: give back what it holds
			s.status.Phase, s.status.Held = v1alpha1.KernelQueued, nil
		}
		s.status.Queue = nil
		s.status.Message = podstate.Sentence("Waiting", missing.Error())
		s.setCondition(now, ConditionResolved, false, missing.Reason, missing.Error())
	case errors.As(err, &invalid):
		s.status.Queue = nil
		s.end(observed{now: now}, podstate.Ending{Cause: v1alpha1.CauseInvalid, Message: invalid.Error()})
	default:
		return err
	}
	return nil
}

// write writes the status if it has changed, and counts what happened.
func (r *kernelReconciler) write(ctx context.Context, k *v1alpha1.JupyterKernel, s plan) error {
	if equality.Semantic.DeepEqual(k.Status, s.status) {
		return nil
	}
	former := k.Status
	updated := k.DeepCopy()
	updated.Status = s.status
	updated.Status.LastReconcileTime = &metav1.Time{Time: r.now()}
	if err := r.client.Status().Update(ctx, updated); err != nil {
		return err
	}
	r.measure(k, former, updated.Status)
	if ClaimsWarmPod(former) && !ClaimsWarmPod(updated.Status) && updated.Status.StartTime != nil {
		r.meters.warmStarts.WithLabelValues(warmJoined).Inc()
	}
	if s.ended != nil {
		r.countEnd(k, s)
		log.FromContext(ctx).Info("kernel ended", "run", s.status.Run, "cause", s.ended.Cause)
	}
	return nil
}

func (r *kernelReconciler) measure(k *v1alpha1.JupyterKernel, former, current v1alpha1.JupyterKernelStatus) {
	value, ok := r.clocks.Load(k.UID)
	if !ok {
		return
	}
	clock, now := value.(startClock), r.now()
	if former.PodIP == "" && current.PodIP != "" {
		clock.addressed = now
		r.meters.startSeconds.WithLabelValues(startPod).Observe(now.Sub(clock.created).Seconds())
		r.clocks.Store(k.UID, clock)
	}
	if former.Phase != v1alpha1.KernelReady && current.Phase == v1alpha1.KernelReady && !clock.addressed.IsZero() {
		r.meters.startSeconds.WithLabelValues(startAgent).Observe(now.Sub(clock.addressed).Seconds())
	}
	if current.Phase != v1alpha1.KernelStarting {
		r.clocks.Delete(k.UID)
	}
}

func (r *kernelReconciler) countEnd(k *v1alpha1.JupyterKernel, s plan) {
	r.clocks.Delete(k.UID)
	if s.ended != nil {
		r.meters.Ended(s.ended.Cause)
	}
}

func (r *kernelReconciler) onIdle(ctx context.Context, k *v1alpha1.JupyterKernel) (v1alpha1.OnIdle, error) {
	if k.Spec.Gateway == "" {
		return v1alpha1.OnIdlePark, nil
	}
	var gw v1alpha1.JupyterGateway
	err := r.client.Get(ctx, types.NamespacedName{Namespace: k.Namespace, Name: k.Spec.Gateway}, &gw)
	if client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("kernels: read gateway: %w", err)
	}
	return gw.Spec.OnIdle, nil
}

func (r *kernelReconciler) deleteKernel(ctx context.Context, k *v1alpha1.JupyterKernel, why string) error {
	log.FromContext(ctx).Info("deleting kernel", "why", why)
	err := r.client.Delete(ctx, k, client.Preconditions{UID: ptr.To(k.UID)}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if apierrors.IsConflict(err) {
		return nil
	}
	return client.IgnoreNotFound(err)
}
