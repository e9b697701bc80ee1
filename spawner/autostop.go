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
// spec.maxRunSeconds. The first takes a fresh answer of the server itself, and that it
// was told of the stop for some time: one that does not answer is not stopped. A server is not
// idle while one of its kernels has a Pod or waits for one, whatever the kernel does: kernels
// have an idle time of their own.

const (
	// envToken and envPrefix are JupyterHub's names in a server's environment.
	envToken  = "JUPYTERHUB_API_TOKEN"
	envPrefix = "JUPYTERHUB_SERVICE_PREFIX"
)

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
		d.at, d.cause = asWritten(*status.StartTime).Add(time.Duration(limit)*time.Second), v1alpha1.StopMaxRun
	}
	limit := nb.Spec.IdleStop.Limit()
	if limit <= 0 || status.Phase != v1alpha1.NotebookReady || len(status.Busy) > 0 || isSilent(status) {
		return d
	}
	if ready := apimeta.FindStatusCondition(status.Conditions, ConditionReady); ready != nil {
		d.idleSince = asWritten(ready.LastTransitionTime)
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
	idle := d.idleSince.Add(limit)
	if until := status.SnoozedUntil; until != nil && until.After(idle) {
		idle = until.Time
	}
	if d.at.IsZero() || idle.Before(d.at) {
		d.at, d.cause = idle, v1alpha1.StopIdle
	}
	return d
}

// asWritten is a time as it is read back: what follows from it is the same then.
func asWritten(t metav1.Time) time.Time { return t.Truncate(time.Second) }

// watchTime completes a status by what the server is at and by the time of the next automatic
// stop, and carries the stop out when it is due. It returns when time alone will change
// something; zero means never.
func (c *controller) watchTime(ctx context.Context, nb *v1alpha1.JupyterNotebook, next *v1alpha1.JupyterNotebookStatus) (time.Duration, *v1alpha1.StopCause, error) {
	next.StopEligibleAt, next.StopCause = nil, ""
	c.snooze(nb, next)
	if next.Phase != v1alpha1.NotebookReady { // what it was told is forgotten with its process
		c.watched.forget(client.ObjectKeyFromObject(nb))
	}
	if next.Phase != v1alpha1.NotebookReady || nb.Spec.Stopped || nb.Spec.IdleStop.Limit() <= 0 {
		next.Busy = nil
		apimeta.RemoveStatusCondition(&next.Conditions, ConditionAnswers)
	}
	switch next.Phase {
	case v1alpha1.NotebookStarting, v1alpha1.NotebookReady, v1alpha1.NotebookPending:
	default:
		return 0, nil, nil
	}
	if nb.Spec.Stopped || nb.Spec.IdleStop.Limit() <= 0 && nb.Spec.MaxRunSeconds <= 0 {
		return 0, nil, nil
	}
	d, askIn, fresh, err := c.lookAtServer(ctx, nb, next)
	if err != nil {
		return 0, nil, err
	}
	if d.cause == "" {
		return askIn, nil, nil
	}
	d.at = wholeSecond(d.at)
	left := d.at.Sub(c.now())
	switch {
	case d.cause == v1alpha1.StopIdle && !fresh && c.isNear(nb, d):
		return askIn, nil, nil // it could not be asked, and what would be shown is over
	case left <= 0:
		return 0, &d.cause, nil
	}
	next.StopEligibleAt, next.StopCause = &metav1.Time{Time: d.at}, d.cause
	if !c.isTold(nb, d) {
		if early := left - forewarningOf(nb, d.cause); early > time.Second { // as exactly as times are written
			left = early
		} else if next.Phase == v1alpha1.NotebookReady {
			told, err := c.forewarn(ctx, nb, next, d)
			if err != nil {
				return 0, nil, err
			}
			if !told {
				left = min(left, askSoon)
			}
		}
	}
	if askIn > 0 {
		left = min(left, askIn)
	}
	return left, nil, nil
}

// lookAtServer finds out what a server is at: from its kernels, or from itself if it is time to ask it. It
// returns what the clocks say then, when to ask again if time alone decides that, and whether the server
// has just answered.
func (c *controller) lookAtServer(ctx context.Context, nb *v1alpha1.JupyterNotebook, next *v1alpha1.JupyterNotebookStatus) (d deadline, askIn time.Duration, fresh bool, err error) {
	kernels, err := c.kernelsOf(ctx, c.client, nb, nil)
	if err != nil {
		return d, 0, false, err
	}
	d = c.withNotice(nb, deadlineOf(nb, *next, kernels))
	if nb.Spec.IdleStop.Limit() <= 0 || next.Phase != v1alpha1.NotebookReady {
		return d, 0, false, nil
	}
	if busy := holding(kernels, nb.Status.Busy, c.now()); len(busy) > 0 {
		next.Busy = busy
		c.watched.note(nb, func(w *watchedServer) { w.askAt = time.Time{} })
		return d, 0, false, nil
	}
	if c.isToBeAsked(nb, next, d) {
		decides := d.cause == v1alpha1.StopIdle && d.at.Sub(c.now()) <= forewarningOf(nb, d.cause)
		if fresh, err = c.askServer(ctx, nb, next, decides); err != nil {
			return d, 0, false, err
		}
		if idle := c.withNotice(nb, deadlineOf(nb, *next, kernels)); fresh && idle.cause == v1alpha1.StopIdle && c.isNear(nb, idle) {
			if again := c.askSignals(ctx, nb, next); again > 0 {
				fresh = false // of the server alone, which is not enough
				c.watched.note(nb, func(w *watchedServer) { w.askAt = c.now().Add(again) })
			}
		}
		// The cache may not know a kernel that was asked for a moment ago.
		label := client.MatchingLabels{v1alpha1.LabelNotebook: nb.Name}
		if kernels, err = c.kernelsOf(ctx, c.live, nb, label); err != nil {
			return d, 0, false, err
		}
		if busy := holding(kernels, nb.Status.Busy, c.now()); len(busy) > 0 {
			next.Busy = busy
		}
		d = c.withNotice(nb, deadlineOf(nb, *next, kernels))
	}
	return d, max(c.watched.of(nb).askAt.Sub(c.now()), time.Millisecond), fresh, nil
}

// isNear reports whether a server is to be asked because of a stop: its time has come, or it is time to tell
// it of that.
func (c *controller) isNear(nb *v1alpha1.JupyterNotebook, d deadline) bool {
	left := d.at.Sub(c.now())
	return left <= 0 || left <= forewarningOf(nb, d.cause) && !c.isTold(nb, d)
}

// snooze grants what the annotation asks for, as far as there is anything to put off.
func (c *controller) snooze(nb *v1alpha1.JupyterNotebook, next *v1alpha1.JupyterNotebookStatus) {
	asked, bound := "", time.Duration(0)
	if nb.Spec.IdleStop.Limit() > 0 && next.Phase == v1alpha1.NotebookReady && !nb.Spec.Stopped {
		asked, bound = nb.Annotations[v1alpha1.AnnotationSnoozeUntil], v1alpha1.SnoozeBound(nb.Spec.IdleStop.SnoozeMaxSeconds)
	}
	granted := v1alpha1.Snooze{Until: next.SnoozedUntil, Seconds: next.SnoozedSeconds}.Grant(asked, c.now(), bound)
	next.SnoozedUntil, next.SnoozedSeconds = granted.Until, granted.Seconds
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
	stopped.Annotations = merged(stopped.Annotations, c.stopNotes(cause))
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

func (c *controller) stopNotes(cause v1alpha1.StopCause) map[string]string {
	return map[string]string{
		v1alpha1.AnnotationStopCause: string(cause), v1alpha1.AnnotationStopTime: c.now().UTC().Format(time.RFC3339),
	}
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
	case stop == nil && v1alpha1.StopCause(nb.Annotations[v1alpha1.AnnotationStopCause]) == v1alpha1.StopOrphan:
		return ReasonStopped, "The server was stopped: the Hub did not know that it ran."
	case stop == nil && v1alpha1.StopCause(nb.Annotations[v1alpha1.AnnotationStopCause]) == v1alpha1.StopEnvironment:
		return ReasonStopped, "The server was stopped: what JupyterHub had given it is gone. Start it in JupyterHub."
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
		stop.After = nb.Spec.IdleStop.Limit()
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
