package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"golang.org/x/sync/errgroup"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/podtrouble"
	"github.com/elastichub/elastichub/recheck"
)

// errChanged means that an object is no longer what the cache showed.
var errChanged = errors.New("kernels: changed meanwhile")

// create makes the Pod of an admitted run. It reads the kernel anew: a stale
// cache must not bring a Pod back that has already lived.
func (r *kernelReconciler) create(ctx context.Context, k *v1alpha1.JupyterKernel, p *plan) error {
	built, err := r.pods.Build(ctx, r.client, k)
	if err != nil {
		return r.noteUnbuildable(k, p, err)
	}
	if !maps.Equal(built.Extended, podspec.FromList(k.Status.Held)) {
		// the kernelspec has changed since admission: ask again
		p.status.Phase, p.status.Held = v1alpha1.KernelQueued, nil
		return nil
	}
	var secret *corev1.Secret
	var agent agentKey
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.unchanged(gctx, k) })
	if built.Gateway != nil {
		g.Go(func() (err error) {
			secret, agent, err = r.runSecret(gctx, k, built)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		var missing *podspec.MissingError
		if errors.As(err, &missing) {
			return r.noteUnbuildable(k, p, err)
		}
		return err
	}
	pod := built.Pod.DeepCopy()
	if secret != nil {
		if err := r.client.Create(ctx, secret); err != nil && !apierrors.IsAlreadyExists(err) {
			if p.notTaken(r.now(), err) || p.refusedByCluster(k, r.now(), "Secret", err) {
				return nil
			}
			return fmt.Errorf("kernels: create Secret: %w", err)
		}
		podspec.IntroduceKubelet(pod, agent.secret, agent.id)
	}
	return r.createPod(ctx, k, pod, p)
}

// notTaken takes an admitted run back to the queue, in its old place, if the cluster may take its Pod
// later. It reports whether that is so.
func (p *plan) notTaken(now time.Time, err error) bool {
	reason := podtrouble.Passing(err.Error())
	if reason == "" {
		return false
	}
	clause, _ := podtrouble.Unmade(err.Error())
	p.status.Phase, p.status.Held, p.status.Queue, p.status.Warm = v1alpha1.KernelQueued, nil, nil, ""
	p.status.Message = podstate.Sentence("Waiting", podstate.Clip(clause))
	p.setCondition(now, ConditionTaken, false, reason, podstate.Clip(clause))
	again := askAgain
	if reason == podtrouble.PassingWebhook { // each question may wait as long as the webhook may take
		since := now.Sub(meta.FindStatusCondition(p.status.Conditions, ConditionTaken).LastTransitionTime.Time)
		again = min(max(since, askAgain), askAgainLater)
	}
	p.lookAgain = recheck.Sooner(p.lookAgain, again)
	return true
}

// refusedByCluster ends a run whose Pod, or what goes with it, the cluster does not take, and will not.
// It reports whether that is so.
func (p *plan) refusedByCluster(k *v1alpha1.JupyterKernel, now time.Time, what string, err error) bool {
	if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) && !apierrors.IsForbidden(err) && !podtrouble.Denied(err.Error()) {
		return false
	}
	clause, _ := podtrouble.Unmade(err.Error())
	p.end(observed{kernel: k, now: now}, podstate.Ending{Cause: v1alpha1.CauseInvalid, Message: podstate.Sentence("The cluster refused the kernel's "+what, podstate.Clip(clause))})
	return true
}

// askWhetherTaken asks the cluster whether it would take the Pod that it has not taken, and makes nothing.
func (r *kernelReconciler) askWhetherTaken(ctx context.Context, k *v1alpha1.JupyterKernel, built *podspec.Built, p *plan) error {
	if !meta.IsStatusConditionFalse(p.status.Conditions, ConditionTaken) {
		return nil
	}
	made := []client.Object{built.Pod.DeepCopy()}
	if built.Gateway != nil {
		secret, _, err := r.runSecret(ctx, k, built)
		if err != nil {
			return err
		}
		made = append(made, secret)
	}
	for _, o := range made {
		err := r.client.Create(ctx, o, client.DryRunAll)
		switch {
		case err == nil || apierrors.IsAlreadyExists(err):
		case p.notTaken(r.now(), err):
			return nil
		case apierrors.ReasonForError(err) == metav1.StatusReasonUnknown:
			return fmt.Errorf("kernels: ask whether a Pod is taken: %w", err)
		}
	}
	p.status.Message = ""
	p.setCondition(r.now(), ConditionTaken, true, "Room", "")
	return nil
}

// agentKey is the secret of an agent, and the ID of the gateway's key from which it follows.
type agentKey struct {
	secret keys.Secret
	id     string
}

// runSecret is the Secret that the Pod of a run mounts, and the agent's secret in it.
func (r *kernelReconciler) runSecret(ctx context.Context, k *v1alpha1.JupyterKernel, built *podspec.Built) (*corev1.Secret, agentKey, error) {
	key, secrets, err := podspec.AgentKey(ctx, r.live, k)
	if err != nil {
		return nil, agentKey{}, err
	}
	agent := agentKey{secrets[0], key.ID()}
	keep, err := r.keepKeys(k, built)
	return podspec.RunSecret(k, agent.secret, keep...), agent, err
}

// restoreSecret makes the Secret anew that a Pod waits for which does not start, if that
// is gone.
func (r *kernelReconciler) restoreSecret(ctx context.Context, k *v1alpha1.JupyterKernel, pod *corev1.Pod) error {
	if pod == nil || !r.hangs(k, pod) || k.Spec.KernelSpec == "" || k.Status.Warm != "" {
		return nil
	}
	err := r.live.Get(ctx, client.ObjectKeyFromObject(pod), &corev1.Secret{})
	if err == nil || !apierrors.IsNotFound(err) {
		return err
	}
	built, err := r.pods.Build(ctx, r.client, k)
	if err != nil {
		return podspec.IgnoreUnbuildable(err)
	}
	secret, _, err := r.runSecret(ctx, k, built)
	if err != nil {
		return podspec.IgnoreUnbuildable(err)
	}
	log.FromContext(ctx).Info("the Secret of a Pod that does not start is made anew", "pod", pod.Name)
	if err := r.client.Create(ctx, secret); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("kernels: create Secret: %w", err)
	}
	return nil
}

func (r *kernelReconciler) createPod(ctx context.Context, k *v1alpha1.JupyterKernel, pod *corev1.Pod, p *plan) error {
	r.expect(pod)
	err := r.client.Create(ctx, pod)
	switch {
	case err == nil:
		r.clocks.Store(client.ObjectKeyFromObject(k), startClock{created: r.now()})
	case apierrors.IsAlreadyExists(err) && !podtrouble.Denied(err.Error()):
		var existing corev1.Pod
		if err := r.live.Get(ctx, client.ObjectKeyFromObject(pod), &existing); err != nil {
			return errChanged
		}
		if !podspec.BelongsTo(&existing, k.UID) {
			if !existing.DeletionTimestamp.IsZero() {
				return errChanged // it is on its way out
			}
			p.end(observed{kernel: k, now: r.now()}, podstate.Ending{Cause: v1alpha1.CauseInvalid, Message: fmt.Sprintf("The name %s is taken by a Pod that is not this kernel's.", pod.Name)})
			return nil
		}
		pod = &existing
	case p.notTaken(r.now(), err), p.refusedByCluster(k, r.now(), "Pod", err):
		return nil
	default:
		return fmt.Errorf("kernels: create Pod: %w", err)
	}
	p.status.PodName = pod.Name
	p.status.StartTime = ptrTo(pod.CreationTimestamp)
	return nil
}

// sameRun reads a kernel from the API server itself. It returns errChanged
// unless that is the same kernel, in the same run, and no other is asked for.
func (r *kernelReconciler) sameRun(ctx context.Context, k *v1alpha1.JupyterKernel) (*v1alpha1.JupyterKernel, error) {
	var current v1alpha1.JupyterKernel
	err := r.live.Get(ctx, client.ObjectKeyFromObject(k), &current)
	if apierrors.IsNotFound(err) {
		return nil, errChanged
	}
	if err != nil {
		return nil, fmt.Errorf("kernels: read kernel: %w", err)
	}
	run := current.Status.Run
	if current.UID != k.UID || current.DeletionTimestamp != nil || run != k.Status.Run || current.WantedRun() > run {
		return nil, errChanged
	}
	return &current, nil
}

// unchanged returns errChanged unless the kernel still waits for this very Pod.
func (r *kernelReconciler) unchanged(ctx context.Context, k *v1alpha1.JupyterKernel) error {
	current, err := r.sameRun(ctx, k)
	if err != nil {
		return err
	}
	if current.Status.Phase != v1alpha1.KernelStarting || current.Status.PodName != "" {
		return errChanged
	}
	return nil
}

// checkBuildable tells a waiting kernel what it waits for besides admission, or that
// it waits in vain.
func (r *kernelReconciler) checkBuildable(ctx context.Context, k *v1alpha1.JupyterKernel, p *plan) error {
	queued := k.DeepCopy()
	queued.Status = p.status
	built, err := r.pods.Build(ctx, r.client, queued)
	if err == nil {
		if err := podspec.IgnoreUnbuildable(r.askWhetherTaken(ctx, queued, built, p)); err != nil {
			return err
		}
	}
	if t := k.Spec.Template; t != nil && k.Spec.KernelSpec == "" { // of a kernelspec that says so itself
		if told := r.pods.Config().Images.Told(podrules.Images(&t.Spec)...); told != "" {
			p.setCondition(r.now(), podrules.ConditionImageReplaced, true, podrules.ReasonImageMap, told)
		}
	}
	return r.noteUnbuildable(k, p, err)
}

// noteUnbuildable takes note of an error of gather or buildPod; others it returns.
func (r *kernelReconciler) noteUnbuildable(k *v1alpha1.JupyterKernel, p *plan, err error) error {
	var missing *podspec.MissingError
	var invalid *podspec.InvalidError
	now := r.now()
	switch {
	case err == nil:
		if meta.IsStatusConditionFalse(p.status.Conditions, ConditionResolved) {
			p.status.Message = ""
			p.setCondition(now, ConditionResolved, true, "Found", "")
		}
	case errors.As(err, &missing):
		if p.status.Phase != v1alpha1.KernelQueued { // admitted, and now it cannot be built: give back what it holds
			p.status.Phase, p.status.Held = v1alpha1.KernelQueued, nil
		}
		p.status.Queue = nil
		p.status.Message = podstate.Sentence("Waiting", missing.Error())
		p.setCondition(now, ConditionResolved, false, missing.Reason, missing.Error())
	case errors.As(err, &invalid):
		p.status.Queue = nil
		p.end(observed{kernel: k, now: now}, podstate.Ending{Cause: v1alpha1.CauseInvalid, Message: invalid.Error()})
	default:
		return err
	}
	return nil
}
