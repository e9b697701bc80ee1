package lifecycle

import (
	"context"
	"fmt"
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
	sweepEvery = time.Minute
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
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "sweep failed")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
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
	uids := map[types.UID]bool{}
	for i := range kernels.Items {
		uids[kernels.Items[i].UID] = true
	}
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

func (s *sweeper) remove(ctx context.Context, o client.Object, kind string, kernels map[types.UID]bool) error {
	owner := metav1.GetControllerOf(o)
	if owner != nil && (owner.Kind != "JupyterKernel" || kernels[owner.UID]) || o.GetDeletionTimestamp() != nil || s.now().Sub(o.GetCreationTimestamp().Time) < sweepAge {
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
