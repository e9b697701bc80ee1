package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/namespaces"
)

const (
	// sweepEvery is how often the caches are looked through, and everything is read if they
	// have an orphan; it is read in any case once in so many times, since Secrets are in no cache.
	sweepEvery = time.Minute
	sweepAll   = 10
	// sweepAge spares what is just being made.
	sweepAge = 30 * time.Second
)

// sweeper removes Pods and Secrets of kernels that are gone. Owner references
// and the reconciler leave nothing for it; it is for what neither foresaw.
type sweeper struct {
	// scope are the namespaces that are swept.
	scope  *namespaces.Scope
	client client.Client
	live   client.Reader
	now    func() time.Time
	meters *Metrics
}

// NeedLeaderElection makes the leader sweep, and nobody else.
func (s *sweeper) NeedLeaderElection() bool { return true }

// Start sweeps until the context ends.
func (s *sweeper) Start(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for turn := 0; ; turn++ {
		suspicious, err := s.suspects(ctx)
		if err == nil && (suspicious || turn%sweepAll == 0) {
			err = s.sweep(ctx)
		}
		if err != nil && ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "sweep failed")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// suspects reports whether the caches have a Pod without a kernel.
func (s *sweeper) suspects(ctx context.Context) (bool, error) {
	var pods corev1.PodList
	if err := s.scope.List(ctx, s.client, &pods, podspec.Selector, client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("kernels: list Pods: %w", err)
	}
	var kernels v1alpha1.JupyterKernelList
	if err := s.scope.List(ctx, s.client, &kernels, client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("kernels: list kernels: %w", err)
	}
	uids := uidsOf(kernels.Items)
	return slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool { return s.isOrphan(&pod, uids) }), nil
}

func uidsOf(kernels []v1alpha1.JupyterKernel) map[types.UID]bool {
	uids := map[types.UID]bool{}
	for i := range kernels {
		uids[kernels[i].UID] = true
	}
	return uids
}

// sweep reads everything from the API server itself, kernels last: whatever
// has no kernel then never gets one.
func (s *sweeper) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepEvery)
	defer cancel()
	var pods corev1.PodList
	if err := s.scope.List(ctx, s.live, &pods, podspec.Selector); err != nil {
		return fmt.Errorf("kernels: list Pods: %w", err)
	}
	secrets := metav1.PartialObjectMetadataList{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	// Secrets of a whole cluster may not be listed: outside of the release's own namespace
	// the garbage collector has to do then.
	listed := s.scope
	if s.scope.All() {
		listed = namespaces.Only(s.scope.Own())
	}
	if err := listed.List(ctx, s.live, &secrets, podspec.Selector); err != nil {
		return fmt.Errorf("kernels: list Secrets: %w", err)
	}
	var kernels v1alpha1.JupyterKernelList
	if err := s.scope.List(ctx, s.live, &kernels); err != nil {
		return fmt.Errorf("kernels: list kernels: %w", err)
	}
	uids := uidsOf(kernels.Items)
	for i := range pods.Items {
		if err := s.remove(ctx, &pods.Items[i], "Pod", uids); err != nil {
			return err
		}
	}
	for i := range secrets.Items {
		secrets.Items[i].SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
		if err := s.remove(ctx, &secrets.Items[i], "Secret", uids); err != nil {
			return err
		}
	}
	return nil
}

// isOrphan reports whether an object of a kernel has none, and will have none.
func (s *sweeper) isOrphan(o client.Object, kernels map[types.UID]bool) bool {
	owner := metav1.GetControllerOf(o)
	return (owner == nil || owner.Kind == "JupyterKernel" && !kernels[owner.UID]) &&
		o.GetDeletionTimestamp() == nil && s.now().Sub(o.GetCreationTimestamp().Time) >= sweepAge
}

func (s *sweeper) remove(ctx context.Context, o client.Object, kind string, kernels map[types.UID]bool) error {
	if !s.isOrphan(o, kernels) {
		return nil
	}
	log.FromContext(ctx).Info("removing an orphan", "kind", kind, "name", o.GetName())
	err := s.client.Delete(ctx, o, client.Preconditions{UID: ptr.To(o.GetUID())})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kernels: remove orphan: %w", err)
	}
	s.meters.orphans.WithLabelValues(kind).Inc()
	return nil
}
