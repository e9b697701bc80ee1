package spawner

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// Servers are stopped by themselves for two reasons: spec.idleStop and
// spec.maxRunSeconds. The first takes a fresh answer of the server itself: it
// is asked when its time seems to have come, and not stopped when it does not
// answer. A server is not idle while one of its kernels has a Pod or waits for
// one, whatever the kernel does: kernels have an idle time of their own.

const (
	// askAgain is when a server that did not answer, or was busy, is asked again.
	askAgain = time.Minute
	// askTimeout bounds one question.
	askTimeout = 10 * time.Second
	// questions are asked this many at a time, so that servers that do not
	// answer hold up no starts; the others are asked askSoon.
	questions = 2
	askSoon   = 5 * time.Second

	// envToken and envPrefix are JupyterHub's names in a server's environment.
	envToken  = "JUPYTERHUB_API_TOKEN"
	envPrefix = "JUPYTERHUB_SERVICE_PREFIX"
)

// Activity is what a notebook server says of itself.
type Activity struct {
	// Last is when somebody or something last used it.
	Last time.Time
	// Busy: a kernel that the server lists computes, its own or its gateway's.
	Busy bool
	// KeepUntil is until when somebody wants it kept although it is idle, as one of its
	// pages has said; zero if nobody does.
	KeepUntil time.Time
}

// Asker asks notebook servers. No conclusion is drawn from an error.
type Asker interface {
	// Ask gets the address of the server's API, ending in a slash, and a token
	// that the server takes.
	Ask(ctx context.Context, address, token string) (Activity, error)
	// Forewarn tells a server when it will be stopped.
	Forewarn(ctx context.Context, address, token string, warning Forewarning) error
}

// deadline is what the clocks of a running server say.
type deadline struct {
	at    time.Time
	cause v1alpha1.StopCause
	// idleSince is the latest sign of life known.
	idleSince time.Time
}

// deadlineOf is when a server is to be stopped; zero means never, as far as is
// known. What it knows of activity may be old.
func deadlineOf(nb *v1alpha1.JupyterNotebook, status v1alpha1.JupyterNotebookStatus, kernels []v1alpha1.JupyterKernel) deadline {
	var d deadline
	if limit := nb.Spec.MaxRunSeconds; limit > 0 && status.StartTime != nil {
		d.at, d.cause = status.StartTime.Add(time.Duration(limit)*time.Second), v1alpha1.StopMaxRun
	}
	if nb.Spec.IdleStop == nil || nb.Spec.IdleStop.Seconds <= 0 || status.Phase != v1alpha1.NotebookReady {
		return d
	}
	if ready := apimeta.FindStatusCondition(status.Conditions, ConditionReady); ready != nil {
		d.idleSince = ready.LastTransitionTime.Time
	}
	if last := status.LastActivity; last != nil && last.After(d.idleSince) {
		d.idleSince = last.Time
	}
	for i := range kernels {
		k := &kernels[i]
		if k.HasPodOrWaits() {
			return d // whatever the clock says
		}
		if end := k.Status.CompletionTime; end != nil && end.After(d.idleSince) {
			d.idleSince = end.Time
		}
	}
	idle := d.idleSince.Add(time.Duration(nb.Spec.IdleStop.Seconds) * time.Second)
	if until := status.SnoozedUntil; until != nil && until.After(idle) {
		idle = until.Time
	}
	if d.at.IsZero() || idle.Before(d.at) {
		d.at, d.cause = idle, v1alpha1.StopIdle
	}
	return d
}

// watchTime completes a status by the time of the next automatic stop, and
// carries the stop out when it is due. It returns when time alone will change
// something; zero means never.
func (c *controller) watchTime(ctx context.Context, nb *v1alpha1.JupyterNotebook, next *v1alpha1.JupyterNotebookStatus) (time.Duration, *v1alpha1.StopCause, error) {
	next.StopEligibleAt, next.StopCause = nil, ""
	c.snooze(nb, next)
	switch next.Phase {
	case v1alpha1.NotebookStarting, v1alpha1.NotebookReady, v1alpha1.NotebookPending:
	default:
		c.forewarned.forget(client.ObjectKeyFromObject(nb))
		return 0, nil, nil
	}
	if nb.Spec.Stopped || nb.Spec.IdleStop == nil && nb.Spec.MaxRunSeconds <= 0 {
		return 0, nil, nil
	}
	kernels, err := c.kernelsOf(ctx, c.client, nb, nil)
	if err != nil {
		return 0, nil, err
	}
	d := deadlineOf(nb, *next, kernels)
	wait := time.Duration(0)
	asks := c.isNear(nb, d)
	if asks {
		if wait, err = c.askServer(ctx, nb, next); err != nil {
			return 0, nil, err
		}
		// The cache may not know a kernel that was asked for a moment ago.
		label := client.MatchingLabels{v1alpha1.LabelNotebook: nb.Name}
		if kernels, err = c.kernelsOf(ctx, c.live, nb, label); err != nil {
			return 0, nil, err
		}
		d = deadlineOf(nb, *next, kernels)
	}
	if d.at.IsZero() {
		return 0, nil, nil
	}
	d.at = wholeSecond(d.at)
	next.StopEligibleAt, next.StopCause = &metav1.Time{Time: d.at}, d.cause
	if left := d.at.Sub(c.now()); left > 0 {
		if d.cause != v1alpha1.StopIdle || c.forewarned.of(nb).Equal(d.at) {
			return left, nil, nil
		}
		if early := left - forewarningOf(nb); early > 0 {
			return early, nil, nil
		}
		if asks && wait == 0 {
			if wait, err = c.forewarn(ctx, nb, next, d); err != nil {
				return 0, nil, err
			}
		}
		if wait > 0 {
			left = min(left, wait)
		}
		return left, nil, nil
	}
	if wait > 0 && d.cause == v1alpha1.StopIdle {
		return wait, nil, nil
	}
	return 0, &d.cause, nil
}

// isNear reports whether a server is to be asked: its time has come, or it is time to tell
// it of that.
func (c *controller) isNear(nb *v1alpha1.JupyterNotebook, d deadline) bool {
	if d.cause != v1alpha1.StopIdle {
		return false
	}
	left := d.at.Sub(c.now())
	return left <= 0 || left <= forewarningOf(nb) && !c.forewarned.of(nb).Equal(wholeSecond(d.at))
}

// snooze grants what the annotation asks for, as far as there is anything to put off.
func (c *controller) snooze(nb *v1alpha1.JupyterNotebook, next *v1alpha1.JupyterNotebookStatus) {
	asked, bound := "", time.Duration(0)
	if stop := nb.Spec.IdleStop; stop != nil && stop.Seconds > 0 && next.Phase == v1alpha1.NotebookReady && !nb.Spec.Stopped {
		asked, bound = nb.Annotations[v1alpha1.AnnotationSnoozeUntil], v1alpha1.SnoozeBound(stop.SnoozeMaxSeconds)
	}
	granted := v1alpha1.Snooze{Until: next.SnoozedUntil, Seconds: next.SnoozedSeconds}.Grant(asked, c.now(), bound)
	next.SnoozedUntil, next.SnoozedSeconds = granted.Until, granted.Seconds
}

// askServer brings status.lastActivity up to date. It returns when to ask again
// if the answer does not allow a stop.
func (c *controller) askServer(ctx context.Context, nb *v1alpha1.JupyterNotebook, next *v1alpha1.JupyterNotebookStatus) (time.Duration, error) {
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	default:
		return askSoon, nil
	}
	prefix, token, err := c.access(ctx, nb)
	if err != nil {
		return 0, err
	}
	ask, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	activity, err := c.asker.Ask(ask, serverURL(nb)+prefix, token)
	if err != nil {
		ctrl.LoggerFrom(ctx).Info("an idle server does not say when it was used last", "error", err.Error())
		setCondition(observed{notebook: nb, now: c.now()}, next, ConditionAnswers, false, ReasonNoAnswer,
			"The server does not say when it was last used, and is not stopped for idleness: "+shorten(err.Error()))
		return askAgain, nil
	}
	setCondition(observed{notebook: nb, now: c.now()}, next, ConditionAnswers, true, ReasonAnswers, "")
	last := activity.Last
	if activity.Busy {
		last = c.now()
	}
	if last.After(c.now()) { // its clock is ahead of ours
		last = c.now()
	}
	if next.LastActivity == nil || last.After(next.LastActivity.Time) {
		next.LastActivity = &metav1.MicroTime{Time: last.Truncate(time.Microsecond)}
	}
	if activity.KeepUntil.IsZero() {
		return 0, nil
	}
	return 0, c.keepAsServerSays(ctx, nb, next, activity.KeepUntil)
}

// kernelsOf lists the notebook's kernels, which are not to be changed; labels
// narrow down what is read.
func (c *controller) kernelsOf(ctx context.Context, reader client.Reader, nb *v1alpha1.JupyterNotebook, labels client.MatchingLabels) ([]v1alpha1.JupyterKernel, error) {
	options := []client.ListOption{client.InNamespace(nb.Namespace), client.UnsafeDisableDeepCopy}
	if labels != nil {
		options = append(options, labels)
	}
	var all v1alpha1.JupyterKernelList
	if err := reader.List(ctx, &all, options...); err != nil {
		return nil, fmt.Errorf("list kernels: %w", err)
	}
	var own []v1alpha1.JupyterKernel
	for _, k := range all.Items {
		if k.Spec.Notebook == nb.Name && k.DeletionTimestamp == nil {
			own = append(own, k)
		}
	}
	return own, nil
}

// stopManager is the field manager of automatic stops: it owns spec.stopped and
// what tells the cause, and nothing else.
const stopManager = "elastichub-stop"

// stop asks for no Pod, unless the notebook has changed since it was read.
func (c *controller) stop(ctx context.Context, nb *v1alpha1.JupyterNotebook, cause v1alpha1.StopCause) error {
	applied, err := c.stoppedIsApplied(ctx, nb)
	if err != nil {
		return err
	}
	stopped := nb.DeepCopy()
	stopped.Spec.Stopped = true
	stopped.Annotations = merged(stopped.Annotations, map[string]string{
		v1alpha1.AnnotationStopCause: string(cause), v1alpha1.AnnotationStopTime: c.now().UTC().Format(time.RFC3339),
	})
	if err := c.client.Patch(ctx, stopped, podrules.PatchOver(nb), client.FieldOwner(stopManager)); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("stop notebook: %w", err)
	}
	if applied {
		if err := c.disownStopped(ctx, stopped); err != nil {
			return err
		}
	}
	c.met.stops.WithLabelValues(string(cause)).Inc()
	ctrl.LoggerFrom(ctx).Info("server stopped", "cause", cause, "user", nb.Spec.User, "server", nb.Spec.Server)
	return nil
}

// announcedFor is how long an announced stop is waited for.
const announcedFor = time.Minute

// announced is for how long the cause that a server's annotations name is that of
// the stop to come; 0 or less if there is none, or it is of an earlier one.
func announced(nb *v1alpha1.JupyterNotebook, now time.Time) time.Duration {
	at, err := time.Parse(time.RFC3339, nb.Annotations[v1alpha1.AnnotationStopTime])
	if err != nil || nb.Annotations[v1alpha1.AnnotationStopCause] == "" {
		return 0
	}
	return min(at.Add(announcedFor).Sub(now), announcedFor)
}

// forgetStop takes the cause of an earlier stop from a server that runs: the next
// stop is its owner's until another cause is written. It returns when to look again.
func (c *controller) forgetStop(ctx context.Context, nb *v1alpha1.JupyterNotebook) (time.Duration, error) {
	if _, found := nb.Annotations[v1alpha1.AnnotationStopCause]; !found || nb.Spec.Stopped {
		return 0, nil
	}
	switch nb.Status.Phase {
	case v1alpha1.NotebookStopping, v1alpha1.NotebookStopped: // that stop was this one, and is over
	default:
		if left := announced(nb, c.now()); left > 0 {
			return left, nil
		}
	}
	before := nb.DeepCopy()
	delete(nb.Annotations, v1alpha1.AnnotationStopCause)
	delete(nb.Annotations, v1alpha1.AnnotationStopTime)
	if err := c.client.Patch(ctx, nb, podrules.PatchOver(before), client.FieldOwner(stopManager)); err != nil {
		return 0, fmt.Errorf("forget an earlier stop: %w", err)
	}
	return 0, nil
}

// stopReason is the reason and the sentence for a stopped server.
func stopReason(nb *v1alpha1.JupyterNotebook) (Reason, string) {
	stop := autoStopOf(nb)
	switch {
	case stop == nil && v1alpha1.StopCause(nb.Annotations[v1alpha1.AnnotationStopCause]) == v1alpha1.StopAdmin:
		return ReasonStopped, "The server was stopped by an administrator."
	case stop == nil:
		return ReasonStopped, "The server is stopped."
	}
	after, files := inWords(int64(stop.After/time.Second)), ""
	if stop.KeepsFiles {
		files = " Files are kept."
	}
	if stop.Cause == v1alpha1.StopIdle {
		return ReasonStoppedIdle, "The server was stopped: nobody used it for " + after + "." + files
	}
	return ReasonStoppedMaxRun, "The server was stopped: it had run for " + after + ", the longest that is allowed." + files
}

// autoStopOf is nil for a server that is not to be stopped, and for one that
// somebody stopped by hand.
func autoStopOf(nb *v1alpha1.JupyterNotebook) *AutoStop {
	if !nb.Spec.Stopped {
		return nil
	}
	stop := &AutoStop{
		Cause:      v1alpha1.StopCause(nb.Annotations[v1alpha1.AnnotationStopCause]),
		KeepsFiles: nb.Spec.Storage != nil && nb.Spec.Storage.Home != nil,
	}
	switch {
	case stop.Cause == v1alpha1.StopIdle && nb.Spec.IdleStop != nil:
		stop.After = time.Duration(nb.Spec.IdleStop.Seconds) * time.Second
	case stop.Cause == v1alpha1.StopMaxRun:
		stop.After = time.Duration(nb.Spec.MaxRunSeconds) * time.Second
	default:
		return nil
	}
	if at, err := time.Parse(time.RFC3339, nb.Annotations[v1alpha1.AnnotationStopTime]); err == nil {
		stop.At = at
	}
	return stop
}

// inWords writes a time in the largest unit that gives a whole number.
func inWords(seconds int64) string {
	for _, unit := range []struct {
		seconds   int64
		one, many string
	}{{86400, "day", "days"}, {3600, "hour", "hours"}, {60, "minute", "minutes"}} {
		if n := seconds / unit.seconds; n > 0 && seconds%unit.seconds == 0 {
			if n == 1 {
				return "1 " + unit.one
			}
			return fmt.Sprintf("%d %s", n, unit.many)
		}
	}
	return fmt.Sprintf("%d seconds", seconds)
}
