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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/setaside"
	"github.com/elastichub/elastichub/tracing"
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
	scope  *namespaces.Scope
	pods   *podspec.Builder
	client client.Client // reads from the cache
	live   client.Reader // reads from the API server
	now    func() time.Time
	meters *Metrics
	events health.Recorder
	// expect is told of every Pod that is about to be created.
	expect func(pod *corev1.Pod)
	agents Agents
	// keepSeeds are what the keys of kernels' states follow from; nil: none is kept.
	keepSeeds keys.KeepSeeds
	// backstop knows how the agents are.
	backstop *backstop
	// standings tells how budgets stand; nil: nobody keeps the hours.
	standings Standings
	// tracer is told how runs began; nil: nothing is recorded.
	tracer *tracing.Tracer

	last   sync.Map // types.NamespacedName → *corev1.Pod as the cache saw it last, until its end is taken note of or its kernel is gone
	clocks sync.Map // types.NamespacedName of a kernel → startClock
}

// startClock measures a start; it is lost with the leader.
type startClock struct{ created, addressed time.Time }

// Reconcile implements reconcile.Reconciler; requests name kernels.
func (r *kernelReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	k := &v1alpha1.JupyterKernel{}
	if err := r.client.Get(ctx, req.NamespacedName, k); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("kernels: read kernel: %w", err)
	}
	ctx = tracing.WithObject(ctx, k)
	pods, strangers, err := r.podsOf(ctx, req.NamespacedName, k.UID)
	if err != nil {
		return reconcile.Result{}, err
	}
	if slices.ContainsFunc(strangers, func(pod *corev1.Pod) bool { return pod.DeletionTimestamp == nil }) {
		// on the word of the API server: the cache of kernels may be behind that of Pods. Those
		// that end already are left alone, whoever's they are.
		if same, err := r.isCurrent(ctx, req.NamespacedName, k.UID); err != nil || !same {
			return reconcile.Result{RequeueAfter: Shortly}, err
		}
	}
	if k.UID == "" || k.DeletionTimestamp != nil {
		r.forgetKernel(req.NamespacedName)
		r.pods.Forget(k.UID)
		return reconcile.Result{}, r.removeAll(ctx, append(pods, strangers...))
	}
	for _, step := range []func(context.Context, *v1alpha1.JupyterKernel) (gone bool, err error){r.ensureOwner, r.answer, r.noteRestoreAs} {
		if gone, err := step(ctx, k); gone || err != nil {
			return reconcile.Result{}, err
		}
	}
	return r.advance(ctx, k, pods, strangers)
}

// advance gathers, decides and carries out one step of a kernel that is to live on.
func (r *kernelReconciler) advance(ctx context.Context, k *v1alpha1.JupyterKernel, pods, strangers []*corev1.Pod) (reconcile.Result, error) {
	if ClaimsWarmPod(k.Status) && k.WantedRun() == k.Status.Run {
		pod, joined, result, err := r.resolveClaim(ctx, k, pods)
		if err != nil || !joined {
			return result, err
		}
		pods = append(slices.DeleteFunc(pods, func(p *corev1.Pod) bool { return p.Name == pod.Name }), pod)
	}
	o, err := r.observe(ctx, k, pods)
	if errors.Is(err, errChanged) {
		return reconcile.Result{RequeueAfter: Shortly}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if err := r.restoreSecret(ctx, k, o.pod); err != nil {
		return reconcile.Result{}, err
	}
	p := next(o)
	r.tellBudget(ctx, k, &p, o.budget)
	if givesBack(k.Status, p.status) || len(pods) == 0 && k.Status.PodName != "" {
		// what is held is given back on the word of the API server, not of a cache
		behind, err := r.cacheIsBehind(ctx, k, pods)
		if err != nil || behind {
			return reconcile.Result{RequeueAfter: Shortly}, err
		}
	}
	err = r.carryOut(ctx, k, &p, strangers)
	if errors.Is(err, errChanged) {
		return reconcile.Result{RequeueAfter: Shortly}, nil
	}
	return reconcile.Result{RequeueAfter: p.lookAgain}, err
}

// carryOut does what was planned: first the Pod that is to be made, then the
// status, and last what is to be removed. It returns errChanged, and has done
// nothing that matters, if the kernel is no longer as it was.
func (r *kernelReconciler) carryOut(ctx context.Context, k *v1alpha1.JupyterKernel, p *plan, strangers []*corev1.Pod) (err error) {
	switch {
	case p.status.Phase == v1alpha1.KernelQueued:
		err = r.checkBuildable(ctx, k, p)
	case p.create && len(strangers) == 0: // a Pod of a former kernel of this name has to go first
		err = r.create(ctx, k, p)
	}
	if err != nil {
		return err
	}
	if !awaitsPod(p.status) {
		r.pods.Forget(k.UID)
	}
	if p.deleteKernel {
		r.countEnd(k, *p)
		if err := r.deleteKernel(ctx, k, "idle"); err != nil {
			return err
		}
		r.events.Tell(k, health.Normal(reasonDeleted, p.ended.Message+" Its gateway deletes idle kernels."))
		return nil
	}
	if err := r.write(ctx, k, *p); err != nil {
		if apierrors.IsConflict(err) {
			return errChanged
		}
		return client.IgnoreNotFound(err)
	}
	if err := r.removeAll(ctx, append(p.remove, strangers...)); err != nil {
		return err
	}
	if p.kernelSpec != "" {
		if err := r.nameAgain(ctx, k, p.kernelSpec); err != nil {
			return err
		}
	}
	for _, pod := range p.force {
		log.FromContext(ctx).Info("taking a Pod by force whose node does not answer", "pod", pod.Name, "node", pod.Spec.NodeName)
		if err := r.remove(ctx, pod, client.GracePeriodSeconds(0)); err != nil {
			return err
		}
	}
	return nil
}

// nameAgain has spec name the kernelspec that the kernel ran as last.
func (r *kernelReconciler) nameAgain(ctx context.Context, k *v1alpha1.JupyterKernel, kernelSpec string) error {
	changed := k.DeepCopy()
	changed.Spec.KernelSpec = kernelSpec
	err := r.client.Patch(ctx, changed, podrules.PatchOver(k))
	switch {
	case err == nil:
		log.FromContext(ctx).Info("the kernel stays what it was", "kernelSpec", kernelSpec, "not", k.Spec.KernelSpec)
		return nil
	case apierrors.IsConflict(err): // also if the status has just been written
		return errChanged
	case apierrors.IsNotFound(err):
		return nil
	}
	return fmt.Errorf("kernels: name the kernelspec again: %w", err)
}

// write writes the status if it has changed, and counts what happened.
func (r *kernelReconciler) write(ctx context.Context, k *v1alpha1.JupyterKernel, p plan) error {
	p.status.Conditions = slices.Clone(p.status.Conditions)
	Summarize(&p.status, k, r.now())
	if equality.Semantic.DeepEqual(k.Status, p.status) {
		return nil
	}
	former := k.Status
	updated := k.DeepCopy()
	updated.Status = p.status
	updated.Status.LastReconcileTime = &metav1.Time{Time: r.now()}
	if err := r.client.Status().Patch(ctx, updated, podrules.PatchOver(k)); err != nil {
		return setaside.Tell(ctx, r.client, k, err)
	}
	r.events.Tell(k, EventsOf(former, updated.Status)...)
	r.trace(k, former, updated.Status)
	r.measure(k, former, updated.Status)
	if ClaimsWarmPod(former) && !ClaimsWarmPod(updated.Status) && updated.Status.StartTime != nil {
		r.meters.warmStarts.WithLabelValues(warmJoined).Inc()
	}
	if p.ended != nil {
		r.countEnd(k, p)
		log.FromContext(ctx).Info("kernel ended", "run", p.status.Run, "cause", p.ended.Cause)
	}
	return nil
}

func (r *kernelReconciler) measure(k *v1alpha1.JupyterKernel, former, current v1alpha1.JupyterKernelStatus) {
	value, ok := r.clocks.Load(client.ObjectKeyFromObject(k))
	if !ok {
		return
	}
	clock, now := value.(startClock), r.now()
	if former.PodIP == "" && current.PodIP != "" {
		clock.addressed = now
		r.meters.startSeconds.WithLabelValues(startPod).Observe(now.Sub(clock.created).Seconds())
		r.clocks.Store(client.ObjectKeyFromObject(k), clock)
	}
	if former.Phase != v1alpha1.KernelReady && current.Phase == v1alpha1.KernelReady && !clock.addressed.IsZero() {
		r.meters.startSeconds.WithLabelValues(startAgent).Observe(now.Sub(clock.addressed).Seconds())
	}
	if current.Phase != v1alpha1.KernelStarting {
		r.clocks.Delete(client.ObjectKeyFromObject(k))
	}
}

func (r *kernelReconciler) countEnd(k *v1alpha1.JupyterKernel, p plan) {
	r.clocks.Delete(client.ObjectKeyFromObject(k))
	if p.ended != nil {
		r.meters.Ended(p.ended.Cause)
		r.meters.kept(p.ended.Kept)
	}
}

func (r *kernelReconciler) deleteKernel(ctx context.Context, k *v1alpha1.JupyterKernel, why string) error {
	log.FromContext(ctx).Info("deleting kernel", "why", why)
	if err := r.discardState(ctx, k); err != nil { // then it stays until its time is over
		log.FromContext(ctx).Info("the state of the kernel is not removed", "error", err.Error())
	}
	err := r.client.Delete(ctx, k, client.Preconditions{UID: ptr.To(k.UID)}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if apierrors.IsConflict(err) {
		return nil
	}
	return client.IgnoreNotFound(err)
}

func (r *kernelReconciler) removeAll(ctx context.Context, pods []*corev1.Pod) error {
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil {
			continue
		}
		if err := r.remove(ctx, pod); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes a Pod and the Secret of its name.
func (r *kernelReconciler) remove(ctx context.Context, pod *corev1.Pod, opts ...client.DeleteOption) error {
	opts = append(opts, client.Preconditions{UID: ptr.To(pod.UID)})
	if err := r.client.Delete(ctx, pod, opts...); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("kernels: delete Pod: %w", err)
	}
	secret := &corev1.Secret{}
	secret.Name, secret.Namespace = pod.Name, pod.Namespace
	if err := r.client.Delete(ctx, secret); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("kernels: delete Secret: %w", err)
	}
	return nil
}
