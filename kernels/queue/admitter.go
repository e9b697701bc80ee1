package queue

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"golang.org/x/sync/errgroup"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/podrules"
)

const (
	// writesAtOnce bounds the status writes in flight of one pass.
	writesAtOnce = 8
	// writeTimeout bounds each of them.
	writeTimeout = 5 * time.Second
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
	// capacity is nil when only the policies limit.
	capacity Capacity
	now      func() time.Time
	meters   *metrics
	life     *lifecycle.Metrics
	events   health.Recorder

	// memberships is nil where no source of groups can be asked at any time.
	memberships *memberships
	// yields is told who waits; nil when nobody has to know.
	yields *yielder

	assumed  admission.Assumed
	takeover takeover

	memory poolMemory

	expected expectations
}

// Reconcile implements reconcile.Reconciler: one pass over all kernels.
func (a *admitter) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	if !a.takeover.leaderReady {
		ok, err := a.takeover.done(ctx)
		if err != nil || !ok {
			return reconcile.Result{RequeueAfter: lifecycle.Shortly}, err
		}
		log.FromContext(ctx).Info("admission begins")
	}
	return a.pass(ctx)
}

func (a *admitter) pass(ctx context.Context) (reconcile.Result, error) {
	if err := a.confirmAssumed(ctx); err != nil {
		return reconcile.Result{}, err
	}
	s, err := a.survey(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	d := admission.Decide(s.input)
	a.askFirst(s, &d)
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
	if again || len(a.assumed.Unconfirmed()) > 0 {
		return reconcile.Result{RequeueAfter: lifecycle.Shortly}, nil
	}
	return reconcile.Result{RequeueAfter: s.again}, nil
}

// askFirst takes those out of a decision of whose users nothing is known: they
// keep what was found for them until the next pass, which the answer makes.
func (a *admitter) askFirst(s *survey, d *admission.Decision) {
	if a.memberships == nil {
		return
	}
	for _, user := range s.unasked {
		a.memberships.want(user)
	}
	isUnasked := func(id string) bool { return s.unasked[id] != "" }
	d.Admit = slices.DeleteFunc(d.Admit, isUnasked)
	for id, reason := range d.Refuse {
		switch before, known := s.before[id]; {
		case isUnasked(id):
			delete(d.Refuse, id) // other groups may allow it
		case known && !s.gone[id]:
			reason.Before, reason.Now = strings.Join(before, ", "), strings.Join(s.kernels[id].Spec.Policies, ", ")
			d.Refuse[id] = reason
		}
	}
	a.memberships.keep(s.members)
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
		a.assumed.Assume(s.holderOf(id, d.AssignWarm[id]))
	}
	outcomes := make([]outcome, len(d.Admit))
	var g errgroup.Group
	g.SetLimit(writesAtOnce)
	for i, id := range d.Admit {
		g.Go(func() error {
			version, err := a.admit(ctx, s.kernels[id], s.wants[id], s.nameOfWarmPod(d.AssignWarm[id]))
			if err == nil && d.AssignWarm[id] == "" && s.keepsReady(s.kernels[id]) {
				a.life.MissedWarm()
			}
			outcomes[i] = outcome{version, err}
			return nil
		})
	}
	_ = g.Wait() // outcomes hold the errors
	var faults []error
	for i, id := range d.Admit {
		a.noteWritten(id, outcomes[i])
		faults = append(faults, note(outcomes[i].err))
	}
	var rest errgroup.Group
	rest.SetLimit(writesAtOnce)
	for id, reason := range d.Refuse {
		rest.Go(func() error { return note(a.refuse(ctx, s.kernels[id], reason)) })
	}
	for id, position := range d.Wait {
		rest.Go(func() error { return note(a.showPosition(ctx, s.kernels[id], position)) })
	}
	faults = append(faults, rest.Wait())
	return again, errors.Join(faults...)
}

type outcome struct {
	version string
	err     error
}

// noteWritten books the outcome of an admission. Only an answer that says so proves
// that nothing was written.
func (a *admitter) noteWritten(id string, o outcome) {
	switch {
	case o.err == nil:
		a.assumed.Confirm(id, o.version)
	case definite(o.err):
		a.assumed.Forget(id)
	}
}

// definite reports whether an error says for certain that nothing was written.
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
	updated.Status.Held, updated.Status.Policies = podspec.ToList(wants), k.Spec.Policies
	updated.Status.Warm, updated.Status.PodName = warm, warm
	updated.Status.Queue, updated.Status.Message, updated.Status.Cause = nil, "", ""
	updated.Status.LastReconcileTime = &metav1.Time{Time: now}
	lifecycle.Summarize(&updated.Status, k, now)
	if err := writeStatus(ctx, a.client, k, updated); err != nil {
		return "", err
	}
	a.events.Tell(k, lifecycle.EventsOf(k.Status, updated.Status)...)
	if since := k.Status.QueuedSince; since != nil {
		a.life.Admitted(now.Sub(since.Time))
	}
	return updated.ResourceVersion, nil
}

func (a *admitter) refuse(ctx context.Context, k *v1alpha1.JupyterKernel, reason admission.Reason) error {
	updated := k.DeepCopy()
	cause := v1alpha1.CauseRefused
	if reason.Code == admission.BudgetSpent && returning(k) {
		cause = v1alpha1.CauseBudget
	}
	updated.Status = lifecycle.Refused(k, cause, reason.String(), a.now())
	updated.Status.LastReconcileTime = &metav1.Time{Time: a.now()}
	lifecycle.Summarize(&updated.Status, k, a.now())
	if err := writeStatus(ctx, a.client, k, updated); err != nil {
		return err
	}
	a.events.Tell(k, lifecycle.EventsOf(k.Status, updated.Status)...)
	a.life.Ended(cause)
	return nil
}

// showPosition writes where a kernel stands, if that has changed.
func (a *admitter) showPosition(ctx context.Context, k *v1alpha1.JupyterKernel, p admission.QueuePosition) error {
	queue := &v1alpha1.QueueStatus{Position: p.Position, Length: p.Length, Reason: p.Reason.String()}
	if equality.Semantic.DeepEqual(k.Status.Queue, queue) {
		return nil
	}
	updated := k.DeepCopy()
	updated.Status.Queue = queue
	updated.Status.LastReconcileTime = &metav1.Time{Time: a.now()}
	if err := writeStatus(ctx, a.client, k, updated); err != nil {
		return err
	}
	a.events.Tell(k, lifecycle.EventsOf(k.Status, updated.Status)...)
	return nil
}

// writeStatus writes the status of a kernel over the version that was read.
func writeStatus(ctx context.Context, c client.Client, read, k *v1alpha1.JupyterKernel) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return c.Status().Patch(ctx, k, podrules.PatchOver(read))
}

func newAdmitter(cfg Config, c client.Client, live client.Reader, now func() time.Time, meters *metrics, life *lifecycle.Metrics) *admitter {
	return &admitter{cfg: cfg, client: c, live: live, now: now, meters: meters, life: life, expected: expectations{now: now},
		takeover: takeover{scope: cfg.Scope, client: c, live: live, now: now},
	}
}
