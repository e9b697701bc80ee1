package namespaces

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

const (
	// LeaseName is the Lease in each namespace that says which release looks after it.
	LeaseName = "elastichub-owner"
	// leaseTime is how long a release that has gone keeps a namespace, and renewAfter
	// when one that is there says so again.
	leaseTime  = 5 * time.Minute
	renewAfter = time.Minute
	// askedFor is how long the API server has for an answer, and askAgain when it is asked
	// again that gave none.
	askedFor = 5 * time.Second
	askAgain = 5 * time.Second
)

// Owner sees to it that no two releases look after one namespace: the first to come takes
// its Lease, and is named there by the namespace that it is in. The leader alone asks.
type Owner struct {
	scope  *Scope
	client client.Client
	live   client.Reader
	now    func() time.Time

	mu sync.Mutex
	// asked is when a namespace was asked about, held until when its Lease is ours.
	asked, held map[string]time.Time
}

// NewOwner is for a scope. live reads from the API server.
func NewOwner(scope *Scope, writer client.Client, live client.Reader, now func() time.Time) *Owner {
	return &Owner{scope: scope, client: writer, live: live, now: now, asked: map[string]time.Time{}, held: map[string]time.Time{}}
}

// NeedLeaderElection makes the leader renew, and nobody else.
func (o *Owner) NeedLeaderElection() bool { return true }

// Start takes the namespaces that are known by name and renews what is held, until the
// context ends.
func (o *Owner) Start(ctx context.Context) error {
	ticker := time.NewTicker(renewAfter)
	defer ticker.Stop()
	for {
		for _, name := range o.known() {
			if _, err := o.Holds(ctx, name); err != nil && ctx.Err() == nil {
				log.FromContext(ctx).Error(err, "cannot tell whose the namespace is", "namespace", name)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (o *Owner) known() []string {
	names := o.scope.Named()
	o.mu.Lock()
	defer o.mu.Unlock()
	for name := range o.asked {
		if name != o.scope.own && o.scope.all {
			names = append(names, name)
		}
	}
	return names
}

// Holds reports whether the release looks after a namespace, and takes it if nobody does.
// An answer is used for a minute; while the API server gives none, what is held stays so
// until the Lease has run out.
func (o *Owner) Holds(ctx context.Context, namespace string) (bool, error) {
	if !o.scope.covers(namespace) {
		return false, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	// A little less than the ticker's period, so that each of its ticks asks.
	if at, asked := o.asked[namespace]; asked && now.Sub(at) < renewAfter-time.Second {
		return o.scope.Elsewhere(namespace) == "", nil
	}
	asking, cancel := context.WithTimeout(ctx, askedFor)
	defer cancel()
	holder, err := o.take(asking, namespace, now)
	switch {
	case err == nil:
	case apierrors.IsNotFound(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		delete(o.asked, namespace) // the namespace goes, and what is in it
		return true, nil
	case now.Before(o.held[namespace]):
		o.asked[namespace] = now.Add(askAgain - renewAfter)
		return true, nil
	default:
		return false, fmt.Errorf("namespaces: Lease %s of %s: %w", LeaseName, namespace, err)
	}
	o.asked[namespace] = now
	if holder == o.scope.own {
		o.held[namespace] = now.Add(leaseTime)
		holder = ""
	} else if o.scope.Elsewhere(namespace) != holder {
		log.FromContext(ctx).Info("another release looks after the namespace: nothing is done there", "namespace", namespace, "release", holder)
	}
	o.scope.refuse(namespace, holder)
	return holder == "", nil
}

// take returns who holds the Lease of a namespace, once it is ours unless somebody is
// there who holds it.
func (o *Owner) take(ctx context.Context, namespace string, now time.Time) (string, error) {
	lease := &coordinationv1.Lease{}
	err := o.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: LeaseName}, lease)
	renewed := metav1.NewMicroTime(now)
	if apierrors.IsNotFound(err) {
		lease.Namespace, lease.Name = namespace, LeaseName
		lease.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
		lease.Spec = coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To(o.scope.own), LeaseDurationSeconds: ptr.To(int32(leaseTime / time.Second)),
			AcquireTime: &renewed, RenewTime: &renewed,
		}
		if err = o.client.Create(ctx, lease); !apierrors.IsAlreadyExists(err) {
			return o.scope.own, err
		}
		err = o.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: LeaseName}, lease)
	}
	if err != nil {
		return "", err
	}
	if holder := HolderOf(lease, now); holder != "" && holder != o.scope.own {
		return holder, nil
	}
	before := lease.DeepCopy()
	if ptr.Deref(lease.Spec.HolderIdentity, "") != o.scope.own {
		lease.Spec.HolderIdentity, lease.Spec.AcquireTime = ptr.To(o.scope.own), &renewed
		lease.Spec.LeaseTransitions = ptr.To(ptr.Deref(lease.Spec.LeaseTransitions, 0) + 1)
	}
	lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = ptr.To(int32(leaseTime/time.Second)), &renewed
	err = o.client.Patch(ctx, lease, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsConflict(err) { // somebody else was faster
		if err := o.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: LeaseName}, lease); err != nil {
			return "", err
		}
		return ptr.Deref(lease.Spec.HolderIdentity, ""), nil
	}
	return o.scope.own, err
}

// HolderOf is the namespace of the release that holds a Lease; empty: it has run out.
func HolderOf(lease *coordinationv1.Lease, now time.Time) string {
	lasts := time.Duration(ptr.Deref(lease.Spec.LeaseDurationSeconds, 0)) * time.Second
	if lease.Spec.RenewTime == nil || !now.Before(lease.Spec.RenewTime.Add(lasts)) {
		return ""
	}
	return ptr.Deref(lease.Spec.HolderIdentity, "")
}

// Guard leaves the objects of namespaces alone that are another release's. Such a request
// comes again when that may have changed.
func (o *Owner) Guard(next reconcile.Reconciler) reconcile.Reconciler {
	if o == nil {
		return next
	}
	return reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		switch holds, err := o.Holds(ctx, req.Namespace); {
		case err != nil:
			return reconcile.Result{}, err
		case !holds:
			return reconcile.Result{RequeueAfter: renewAfter}, nil
		}
		return next.Reconcile(ctx, req)
	})
}
