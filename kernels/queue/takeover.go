package queue

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/namespaces"
)

// confirmAssumed finds out what became of admissions whose write got no answer.
// Such a write may still be under way; writing again over the same version
// makes it fail, whichever of the two comes first.
func (a *admitter) confirmAssumed(ctx context.Context) error {
	ids := a.assumed.Unconfirmed()
	if len(ids) == 0 {
		return nil
	}
	var list v1alpha1.JupyterKernelList
	if err := a.cfg.Scope.List(ctx, a.live, &list); err != nil {
		return fmt.Errorf("kernels: list kernels: %w", err)
	}
	current := map[string]*v1alpha1.JupyterKernel{}
	for i := range list.Items {
		current[string(list.Items[i].UID)] = &list.Items[i]
	}
	for _, id := range ids {
		k, exists := current[id]
		switch {
		case !exists:
			a.assumed.Forget(id)
		case k.Status.Phase == v1alpha1.KernelQueued:
			if err := a.takeover.fence(ctx, k); err != nil {
				if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
					continue // it has landed, or something else has: look again
				}
				return err
			}
			a.assumed.Forget(id)
		default:
			a.assumed.Confirm(id, k.ResourceVersion)
		}
	}
	return nil
}

// takeover is how a new leader begins.
type takeover struct {
	scope  *namespaces.Scope
	client client.Client // reads from the cache
	live   client.Reader // reads from the API server
	now    func() time.Time

	// leaderReady: this leader may decide.
	leaderReady bool
	// barrier is what the cache has to show before that; nil before it was read.
	barrier []client.Object
}

// done makes sure that nothing the former leader has written, or is still
// writing, escapes the first decision. It reads the API server itself; fences
// off every waiting kernel, so that a late admission by the former leader
// fails; and waits until the cache shows all of it. It returns false until
// then.
func (t *takeover) done(ctx context.Context) (bool, error) {
	if t.barrier == nil {
		barrier, err := t.fenceAll(ctx)
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return false, nil // it has changed under our hands: read again
		}
		if err != nil {
			return false, err
		}
		t.barrier = barrier
	}
	ok, err := t.caughtUp(ctx, t.barrier)
	if ok {
		t.leaderReady, t.barrier = true, nil
	}
	return ok, err
}

// fenceAll fences off the waiting kernels and returns everything there is, as
// the cache has to show it at least. The result is not nil.
func (t *takeover) fenceAll(ctx context.Context) ([]client.Object, error) {
	var kernels v1alpha1.JupyterKernelList
	if err := t.scope.List(ctx, t.live, &kernels); err != nil {
		return nil, fmt.Errorf("kernels: list kernels: %w", err)
	}
	barrier := []client.Object{}
	for i := range kernels.Items {
		k := &kernels.Items[i]
		if k.Status.Phase == v1alpha1.KernelQueued {
			if err := t.fence(ctx, k); err != nil {
				return nil, err
			}
		}
		barrier = append(barrier, k)
	}
	var pods corev1.PodList
	if err := t.scope.List(ctx, t.live, &pods, podspec.Selector); err != nil {
		return nil, fmt.Errorf("kernels: list Pods: %w", err)
	}
	for i := range pods.Items {
		barrier = append(barrier, &pods.Items[i])
	}
	return barrier, nil
}

// fence gives a kernel a new version, so that writes over older ones fail.
func (t *takeover) fence(ctx context.Context, k *v1alpha1.JupyterKernel) error {
	now := metav1.Time{Time: t.now()}
	if last := k.Status.LastReconcileTime; last != nil && !now.After(last.Time.Add(time.Second)) {
		now = metav1.Time{Time: last.Add(time.Second)} // a write that changes nothing makes no version
	}
	read := k.DeepCopy()
	k.Status.LastReconcileTime = &now
	return writeStatus(ctx, t.client, read, k)
}

// caughtUp reports whether the cache shows everything that was read, or newer.
func (t *takeover) caughtUp(ctx context.Context, read []client.Object) (bool, error) {
	for _, o := range read {
		cached := o.DeepCopyObject().(client.Object)
		err := t.client.Get(ctx, client.ObjectKeyFromObject(o), cached)
		if apierrors.IsNotFound(err) {
			// gone meanwhile, or not seen yet: the next reading tells
			err = t.live.Get(ctx, client.ObjectKeyFromObject(o), cached)
			if apierrors.IsNotFound(err) {
				continue
			}
			return false, err
		}
		if err != nil {
			return false, fmt.Errorf("kernels: read cache: %w", err)
		}
		if !atLeast(cached, o.GetResourceVersion()) {
			return false, nil
		}
	}
	return true, nil
}

// atLeast reports whether an object is of a version or newer.
func atLeast(o client.Object, version string) bool {
	order, err := resourceversion.CompareResourceVersion(o.GetResourceVersion(), version)
	return err == nil && order >= 0
}
