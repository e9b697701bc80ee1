package kernels

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"golang.org/x/sync/errgroup"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/podspec"
)

const (
	// writesAtOnce bounds the status writes in flight of one pass.
	writesAtOnce = 8
	// writeTimeout bounds each of them.
	writeTimeout = 5 * time.Second
	// expectFor is how long a created Pod may take to appear in the cache.
	expectFor = time.Minute
	// unschedulableAfter is how long the scheduler may look for a node before
	// a Pod no longer counts against the nodes.
	unschedulableAfter = 30 * time.Second
	// refusedReason marks, in the condition Failed, a kernel that a limit refused.
	refusedReason = string(v1alpha1.CauseRefused)
)

// admitter moves kernels from Queued to Starting, or to Dead when a policy
// forbids them, and tells the others where they stand. There is one pass at a
// time, on the leader alone.
type admitter struct {
	cfg    Config
	client client.Client // reads from the cache
	live   client.Reader // reads from the API server
	// places is nil when only the policies limit.
	places capacity
	now    func() time.Time
	meters *queueMetrics
	life   *lifecycle.Metrics

	// yields is told who waits; nil when nobody has to know.
	yields *yielder

	ledger   admission.Ledger
	inOffice bool            // this leader has taken over
	barrier  []client.Object // what the cache has to show before that; nil before it was read

	pool warmPool

	mu       sync.Mutex
	expected map[string]expectation // by Pod name
}

// expectation is a Pod that was created and that the cache may not show yet.
type expectation struct {
	pod   *corev1.Pod
	until time.Time
}

// Reconcile implements reconcile.Reconciler: one pass over all kernels.
func (a *admitter) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	if !a.inOffice {
		ok, err := a.takeOver(ctx)
		if err != nil || !ok {
			return reconcile.Result{RequeueAfter: lifecycle.Shortly}, err
		}
		a.inOffice = true
		log.FromContext(ctx).Info("admission begins")
	}
	return a.pass(ctx)
}

func (a *admitter) pass(ctx context.Context) (reconcile.Result, error) {
	if err := a.clearDoubts(ctx); err != nil {
		return reconcile.Result{}, err
	}
	s, err := a.survey(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	d := admission.Decide(s.input)
	again, err := a.carryOut(ctx, s, d)
	a.measure(s, d)
	if a.yields != nil {
		a.yields.note(s.input, len(d.Starved) > 0)
	}
	if err == nil {
		err = a.tendPool(ctx, s, d)
	}
	if err == nil {
		err = a.reportUse(ctx, s, d)
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if again || len(a.ledger.Doubtful()) > 0 {
		return reconcile.Result{RequeueAfter: lifecycle.Shortly}, nil
	}
	return reconcile.Result{RequeueAfter: s.again}, nil
}

// carryOut writes a decision. again says that something changed meanwhile.
func (a *admitter) carryOut(ctx context.Context, s *survey, d admission.Decision) (again bool, err error) {
	var mu sync.Mutex
	note := func(err error) error {
		if err == nil {
			return nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		again = true
		return nil
	}
	// In the order of admission, and all of them promised before the first write.
	for _, id := range d.Admit {
		a.ledger.Promise(s.promise(id, d.Take[id]))
	}
	outcomes := make([]outcome, len(d.Admit))
	var g errgroup.Group
	g.SetLimit(writesAtOnce)
	for i, id := range d.Admit {
		g.Go(func() error {
			version, err := a.admit(ctx, s.kernels[id], s.wants[id], d.Take[id])
			outcomes[i] = outcome{version, err}
			return nil
		})
	}
	_ = g.Wait() // outcomes hold the errors
	var faults []error
	for i, id := range d.Admit {
		a.settle(id, outcomes[i])
		faults = append(faults, note(outcomes[i].err))
	}
	var rest errgroup.Group
	rest.SetLimit(writesAtOnce)
	for id, reason := range d.Refuse {
		rest.Go(func() error { return note(a.refuse(ctx, s.kernels[id], reason)) })
	}
	for id, place := range d.Wait {
		rest.Go(func() error { return note(a.tell(ctx, s.kernels[id], place)) })
	}
	faults = append(faults, rest.Wait())
	return again, errors.Join(faults...)
}

type outcome struct {
	version string
	err     error
}

// settle books the outcome of an admission. Only an answer that says so proves
// that nothing was written.
func (a *admitter) settle(id string, o outcome) {
	switch {
	case o.err == nil:
		a.ledger.Written(id, o.version)
	case definite(o.err):
		a.ledger.Withdraw(id)
	}
}

// definite tells whether an error says for certain that nothing was written.
func definite(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) ||
		apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsTooManyRequests(err)
}

// admit writes Queued → Starting, with what is held and the warm Pod that is
// claimed, if any, as one conditional write.
func (a *admitter) admit(ctx context.Context, k *v1alpha1.JupyterKernel, wants admission.Resources, warm string) (string, error) {
	now := a.now()
	updated := k.DeepCopy()
	updated.Status.Phase = v1alpha1.KernelStarting
	updated.Status.Held = podspec.ToList(wants)
	updated.Status.Warm, updated.Status.PodName = warm, warm
	updated.Status.Queue, updated.Status.Message, updated.Status.Cause = nil, "", ""
	updated.Status.LastReconcileTime = &metav1.Time{Time: now}
	if err := a.write(ctx, updated); err != nil {
		return "", err
	}
	if since := k.Status.QueuedSince; since != nil {
		a.life.Admitted(now.Sub(since.Time))
	}
	return updated.ResourceVersion, nil
}

func (a *admitter) refuse(ctx context.Context, k *v1alpha1.JupyterKernel, reason string) error {
	updated := k.DeepCopy()
	updated.Status = lifecycle.Refused(k.Status, reason, a.now())
	updated.Status.LastReconcileTime = &metav1.Time{Time: a.now()}
	if err := a.write(ctx, updated); err != nil {
		return err
	}
	a.life.Ended(v1alpha1.CauseRefused)
	return nil
}

// tell writes where a kernel stands, if that has changed.
func (a *admitter) tell(ctx context.Context, k *v1alpha1.JupyterKernel, p admission.Place) error {
	queue := &v1alpha1.QueueStatus{Position: p.Position, Length: p.Length, Reason: p.Reason}
	if equality.Semantic.DeepEqual(k.Status.Queue, queue) {
		return nil
	}
	updated := k.DeepCopy()
	updated.Status.Queue = queue
	updated.Status.LastReconcileTime = &metav1.Time{Time: a.now()}
	return a.write(ctx, updated)
}

func (a *admitter) write(ctx context.Context, k *v1alpha1.JupyterKernel) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return a.client.Status().Update(ctx, k)
}

// clearDoubts finds out what became of admissions whose write got no answer.
// Such a write may still be under way; writing again over the same version
// makes it fail, whichever of the two comes first.
func (a *admitter) clearDoubts(ctx context.Context) error {
	ids := a.ledger.Doubtful()
	if len(ids) == 0 {
		return nil
	}
	var list v1alpha1.JupyterKernelList
	if err := a.live.List(ctx, &list, client.InNamespace(a.cfg.Namespace)); err != nil {
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
			a.ledger.Withdraw(id)
		case k.Status.Phase == v1alpha1.KernelQueued:
			if err := a.fence(ctx, k); err != nil {
				if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
					continue // it has landed, or something else has: look again
				}
				return err
			}
			a.ledger.Withdraw(id)
		default:
			a.ledger.Written(id, k.ResourceVersion)
		}
	}
	return nil
}

// takeOver makes sure that nothing the former leader has written, or is still
// writing, escapes the first decision. It reads the API server itself; fences
// off every waiting kernel, so that a late admission by the former leader
// fails; and waits until the cache shows all of it. It returns false until
// then.
func (a *admitter) takeOver(ctx context.Context) (bool, error) {
	if a.barrier == nil {
		barrier, err := a.fenceAll(ctx)
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return false, nil // it has changed under our hands: read again
		}
		if err != nil {
			return false, err
		}
		a.barrier = barrier
	}
	ok, err := a.caughtUp(ctx, a.barrier)
	if ok {
		a.barrier = nil
	}
	return ok, err
}

// fenceAll fences off the waiting kernels and returns everything there is, as
// the cache has to show it at least. The result is not nil.
func (a *admitter) fenceAll(ctx context.Context) ([]client.Object, error) {
	var kernels v1alpha1.JupyterKernelList
	if err := a.live.List(ctx, &kernels, client.InNamespace(a.cfg.Namespace)); err != nil {
		return nil, fmt.Errorf("kernels: list kernels: %w", err)
	}
	barrier := []client.Object{}
	for i := range kernels.Items {
		k := &kernels.Items[i]
		if k.Status.Phase == v1alpha1.KernelQueued {
			if err := a.fence(ctx, k); err != nil {
				return nil, err
			}
		}
		barrier = append(barrier, k)
	}
	var pods corev1.PodList
	if err := a.live.List(ctx, &pods, client.InNamespace(a.cfg.Namespace), podspec.Selector); err != nil {
		return nil, fmt.Errorf("kernels: list Pods: %w", err)
	}
	for i := range pods.Items {
		barrier = append(barrier, &pods.Items[i])
	}
	return barrier, nil
}

// fence gives a kernel a new version, so that writes over older ones fail.
func (a *admitter) fence(ctx context.Context, k *v1alpha1.JupyterKernel) error {
	now := metav1.Time{Time: a.now()}
	if last := k.Status.LastReconcileTime; last != nil && !now.After(last.Time.Add(time.Second)) {
		now = metav1.Time{Time: last.Add(time.Second)} // a write that changes nothing makes no version
	}
	k.Status.LastReconcileTime = &now
	return a.write(ctx, k)
}

// caughtUp tells whether the cache shows everything that was read, or newer.
func (a *admitter) caughtUp(ctx context.Context, read []client.Object) (bool, error) {
	for _, o := range read {
		cached := o.DeepCopyObject().(client.Object)
		err := a.client.Get(ctx, client.ObjectKeyFromObject(o), cached)
		if apierrors.IsNotFound(err) {
			// gone meanwhile, or not seen yet: the next reading tells
			err = a.live.Get(ctx, client.ObjectKeyFromObject(o), cached)
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

// atLeast tells whether an object is of a version or newer.
func atLeast(o client.Object, version string) bool {
	order, err := resourceversion.CompareResourceVersion(o.GetResourceVersion(), version)
	return err == nil && order >= 0
}

// expect tells the admitter of a Pod that is about to be created: should its
// kernel be deleted before the cache shows the Pod, it is counted all the same.
func (a *admitter) expect(pod *corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.expected == nil {
		a.expected = map[string]expectation{}
	}
	a.expected[pod.Name] = expectation{pod: pod.DeepCopy(), until: a.now().Add(expectFor)}
}

// unexpect forgets a Pod that was not created after all.
func (a *admitter) unexpect(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.expected, name)
}

// stillExpected lists Pods that were created lately and are not among seen.
func (a *admitter) stillExpected(seen map[string]bool) []*corev1.Pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	var pods []*corev1.Pod
	for name, e := range a.expected {
		if seen[name] || a.now().After(e.until) {
			delete(a.expected, name)
			continue
		}
		pods = append(pods, e.pod)
	}
	return pods
}
