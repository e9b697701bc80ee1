package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"golang.org/x/sync/errgroup"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
)

// errChanged means that an object is no longer what the cache showed.
var errChanged = errors.New("kernels: changed meanwhile")

// podsOf returns a kernel's own Pods, and those of former kernels of its name.
func (r *kernelReconciler) podsOf(ctx context.Context, name types.NamespacedName, uid types.UID) (own, strangers []*corev1.Pod, err error) {
	var list corev1.PodList
	if err := r.client.List(ctx, &list, client.InNamespace(name.Namespace), podspec.SelectorOf(name.Name)); err != nil {
		return nil, nil, fmt.Errorf("kernels: list Pods: %w", err)
	}
	for i := range list.Items {
		pod := &list.Items[i]
		owner := metav1.GetControllerOf(pod)
		switch {
		case owner == nil || owner.Kind != "JupyterKernel" || owner.Name != name.Name:
			// not made for this kernel: the sweep sees to it
		case uid != "" && owner.UID == uid:
			own = append(own, pod)
		default:
			strangers = append(strangers, pod)
		}
	}
	return own, strangers, nil
}

// lastOf returns how the Pod of the current run looked before it vanished.
func (r *kernelReconciler) lastOf(k *v1alpha1.JupyterKernel) *corev1.Pod {
	name := podspec.CurrentPodName(k.Name, k.Status)
	value, ok := r.last.LoadAndDelete(name)
	if !ok {
		return nil
	}
	pod := value.(*corev1.Pod)
	if !podspec.BelongsTo(pod, k.UID) {
		return nil
	}
	return pod
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

// create makes the Pod of an admitted run. It reads the kernel anew: a stale
// cache must not bring a Pod back that has already lived.
func (r *kernelReconciler) create(ctx context.Context, k *v1alpha1.JupyterKernel, s *plan) error {
	built, err := r.pods.Build(ctx, r.client, k)
	if err != nil {
		return r.noteUnbuildable(s, err)
	}
	if !maps.Equal(built.Extended, podspec.FromList(k.Status.Held)) {
		// the kernelspec has changed since admission: ask again
		s.status.Phase, s.status.Held = v1alpha1.KernelQueued, nil
		return nil
	}
	var secret *corev1.Secret
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.unchanged(gctx, k) })
	if built.Gateway != nil {
		g.Go(func() (err error) {
			secret, err = r.agentSecret(gctx, k)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		var missing *podspec.MissingError
		if errors.As(err, &missing) {
			return r.noteUnbuildable(s, err)
		}
		return err
	}
	if secret != nil {
		if err := r.client.Create(ctx, secret); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("kernels: create Secret: %w", err)
		}
	}
	return r.createPod(ctx, k, built.Pod.DeepCopy(), s)
}

func (r *kernelReconciler) createPod(ctx context.Context, k *v1alpha1.JupyterKernel, pod *corev1.Pod, s *plan) error {
	r.expect(pod)
	err := r.client.Create(ctx, pod)
	switch {
	case err == nil:
		r.clocks.Store(k.UID, startClock{created: r.now()})
	case apierrors.IsAlreadyExists(err):
		var existing corev1.Pod
		if err := r.live.Get(ctx, client.ObjectKeyFromObject(pod), &existing); err != nil {
			return errChanged
		}
		if !podspec.BelongsTo(&existing, k.UID) {
			if !existing.DeletionTimestamp.IsZero() {
				return errChanged // it is on its way out
			}
			s.end(observed{now: r.now()}, podstate.Ending{Cause: v1alpha1.CauseInvalid, Message: fmt.Sprintf("The name %s is taken by a Pod that is not this kernel's.", pod.Name)})
			return nil
		}
		pod = &existing
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsForbidden(err):
		s.end(observed{now: r.now()}, podstate.Ending{Cause: v1alpha1.CauseInvalid, Message: podstate.Sentence("The cluster refused the kernel's Pod", podstate.Clip(err.Error()))})
		return nil
	default:
		return fmt.Errorf("kernels: create Pod: %w", err)
	}
	s.status.PodName = pod.Name
	s.status.StartTime = ptrTo(pod.CreationTimestamp)
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

// agentSecret is the Secret of the present run.
func (r *kernelReconciler) agentSecret(ctx context.Context, k *v1alpha1.JupyterKernel) (*corev1.Secret, error) {
	agent, err := podspec.AgentSecret(ctx, r.live, k)
	if err != nil {
		return nil, err
	}
	return podspec.RunSecret(k, agent), nil
}
