package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/podrules"
)

// errWarmPodLost means that a warm Pod that was promised cannot be had any more.
var errWarmPodLost = errors.New("kernels: the warm Pod cannot be taken")

// resolveClaim brings a claim to its end: joined is true once the Pod is the kernel's
// and its agent knows whose it is. Otherwise the result says when to look
// again; a claim that came to nothing is given back, and the kernel starts from
// nothing. Every step can be repeated, by another leader too.
func (r *kernelReconciler) resolveClaim(ctx context.Context, k *v1alpha1.JupyterKernel, pods []*corev1.Pod) (pod *corev1.Pod, joined bool, result reconcile.Result, err error) {
	in, err := r.pods.Gather(ctx, r.client, k)
	err = lostIfUnbuildable(err)
	if err == nil {
		pod, err = r.join(ctx, k, in, pods)
	}
	if err == nil {
		err = r.tell(ctx, k, pod, in)
	}
	switch {
	case err == nil:
		return pod, true, reconcile.Result{}, nil
	case errors.Is(err, errNotReady):
		return pod, false, reconcile.Result{RequeueAfter: warmPatience}, nil
	case errors.Is(err, errChanged):
		return nil, false, reconcile.Result{RequeueAfter: Shortly}, nil
	case !errors.Is(err, errWarmPodLost):
		return nil, false, reconcile.Result{}, err
	}
	log.FromContext(ctx).Info("a warm Pod is lost, starting from nothing", "pod", k.Status.Warm, "why", err.Error())
	updated := k.DeepCopy()
	updated.Status.Warm, updated.Status.PodName, updated.Status.Node = "", "", ""
	updated.Status.LastReconcileTime = &metav1.Time{Time: r.now()}
	if err := r.client.Status().Patch(ctx, updated, podrules.PatchOver(k)); err != nil {
		if apierrors.IsConflict(err) {
			return nil, false, reconcile.Result{RequeueAfter: Shortly}, nil
		}
		return nil, false, reconcile.Result{}, client.IgnoreNotFound(err)
	}
	r.meters.warmStarts.WithLabelValues(warmLost).Inc()
	return nil, false, reconcile.Result{RequeueAfter: Shortly}, nil
}

// join makes the kernel the owner of the Pod that it was promised. It goes by
// what the API server itself shows, and writes over that version alone.
func (r *kernelReconciler) join(ctx context.Context, k *v1alpha1.JupyterKernel, in podspec.Parts, pods []*corev1.Pod) (*corev1.Pod, error) {
	if i := slices.IndexFunc(pods, func(p *corev1.Pod) bool { return p.Name == k.Status.Warm }); i >= 0 {
		return pods[i], nil // it is done already
	}
	pod := &corev1.Pod{}
	err := r.live.Get(ctx, types.NamespacedName{Namespace: k.Namespace, Name: k.Status.Warm}, pod)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("%w: it is gone", errWarmPodLost)
	}
	if err != nil {
		return nil, fmt.Errorf("kernels: read warm Pod: %w", err)
	}
	if podspec.BelongsTo(pod, k.UID) {
		return pod, nil
	}
	if !podspec.IsWarm(pod) || !podstate.Alive(pod) || pod.DeletionTimestamp != nil {
		return nil, fmt.Errorf("%w: it has ended or is another's", errWarmPodLost)
	}
	if err := r.checkClaim(ctx, k); err != nil {
		return nil, err
	}
	if !metav1.IsControlledBy(pod, in.Gateway) {
		return nil, fmt.Errorf("%w: it is of another gateway", errWarmPodLost)
	}
	built, err := r.pods.BuildFrom(in)
	if err != nil {
		return nil, lostIfUnbuildable(err)
	}
	own := built.Pod
	// What others have added to the Pod since it was made, also of resources, counts for nothing.
	if built.Class() != pod.Annotations[v1alpha1.AnnotationWarm] || !maps.Equal(built.Extended, podspec.FromList(k.Status.Held)) {
		return nil, fmt.Errorf("%w: the kernelspec has changed", errWarmPodLost)
	}
	joined := pod.DeepCopy()
	joined.OwnerReferences = slices.Clone(own.OwnerReferences)
	delete(joined.Labels, v1alpha1.LabelWarmFor)
	maps.Copy(joined.Labels, own.Labels)
	delete(joined.Annotations, v1alpha1.AnnotationWarmWhy)
	maps.Copy(joined.Annotations, own.Annotations)
	// It knows no other yet.
	joined.Annotations[v1alpha1.AnnotationWarm], joined.Annotations[v1alpha1.AnnotationIdle] = pod.Annotations[v1alpha1.AnnotationWarm], pod.Annotations[v1alpha1.AnnotationIdle]
	if d := own.Spec.ActiveDeadlineSeconds; d != nil && pod.Status.StartTime != nil {
		joined.Spec.ActiveDeadlineSeconds = ptr.To(*d + int64(r.now().Sub(pod.Status.StartTime.Time)/time.Second))
	}
	err = r.client.Patch(ctx, joined, podrules.PatchOver(pod))
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("%w: it is gone", errWarmPodLost)
	case apierrors.IsConflict(err):
		return nil, errChanged
	case err != nil:
		return nil, fmt.Errorf("kernels: join warm Pod: %w", err)
	}
	return joined, nil
}

func lostIfUnbuildable(err error) error {
	if err != nil && podspec.IgnoreUnbuildable(err) == nil {
		return fmt.Errorf("%w: %w", errWarmPodLost, err)
	}
	return err
}

// checkClaim returns errChanged unless the API server itself shows this very claim.
func (r *kernelReconciler) checkClaim(ctx context.Context, k *v1alpha1.JupyterKernel) error {
	current, err := r.sameRun(ctx, k)
	if err != nil {
		return err
	}
	if !ClaimsWarmPod(current.Status) || current.Status.Warm != k.Status.Warm || !equality.Semantic.DeepEqual(current.Spec, k.Spec) {
		return errChanged
	}
	return nil
}

// tell tells the agent of a Pod that was joined what is different for this kernel: its
// variables, where it runs, when it is idle, and how its state is kept; its idle time begins with that. It returns
// errNotReady while there is no agent yet, and errWarmPodLost if there is not
// going to be one, or the kernel cannot be told.
func (r *kernelReconciler) tell(ctx context.Context, k *v1alpha1.JupyterKernel, pod *corev1.Pod, in podspec.Parts) error {
	if pod.DeletionTimestamp != nil || podstate.EndingOf(pod) != nil {
		return fmt.Errorf("%w: it has ended", errWarmPodLost)
	}
	if t := podstate.TroubleOf(pod); t != nil && t.Cause != "" {
		return fmt.Errorf("%w: %s", errWarmPodLost, t.Message)
	}
	if !podstate.Ready(pod) || pod.Status.PodIP == "" {
		if r.now().Sub(pod.CreationTimestamp.Time) > StartLimit {
			return fmt.Errorf("%w: it does not become ready", errWarmPodLost)
		}
		return errNotReady
	}
	secrets, err := podspec.AgentSecrets(ctx, r.live, k)
	if err != nil {
		return err
	}
	told, err := podspec.Told(ctx, r.live, in)
	if err != nil {
		return err
	}
	rule := r.pods.IdleRule(in)
	ctx, cancel := context.WithTimeout(ctx, 4*protocol.CallTimeout)
	defer cancel()
	if len(told.Variables) > 0 || told.Directory != nil {
		if err := r.agents.SetVariables(ctx, pod.Status.PodIP, secrets, told); err != nil {
			return fmt.Errorf("%w: it cannot be told its variables: %w", errWarmPodLost, err)
		}
	}
	if err := r.agents.SetIdle(ctx, pod.Status.PodIP, secrets, rule.Limits()); err != nil {
		return fmt.Errorf("%w: its agent does not answer: %w", errWarmPodLost, err)
	}
	return r.tellKeep(ctx, k, pod, secrets, in)
}

// tellKeep tells the agent how the kernel's state is kept, if it is, and has it loaded. It
// comes last, and an agent that has given no answer is asked again: one that keeps the
// state would save it when its Pod is given up.
func (r *kernelReconciler) tellKeep(ctx context.Context, k *v1alpha1.JupyterKernel, pod *corev1.Pod, secrets keys.Secrets, in podspec.Parts) error {
	state, is := r.pods.KeepTold(in)
	if !is {
		return nil
	}
	found, err := r.keepSeeds.Derive(k.Namespace, k.StateUID())
	if err != nil {
		return err
	}
	for _, key := range found {
		state.Keys = append(state.Keys, key.Hex())
	}
	told, err := r.agents.SetKeep(ctx, pod.Status.PodIP, secrets, state)
	if err != nil {
		return fmt.Errorf("kernels: tell agent how the state is kept: %w", err)
	}
	if !told {
		return fmt.Errorf("%w: it cannot be told how its state is kept", errWarmPodLost)
	}
	return nil
}
