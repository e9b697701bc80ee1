package spawner

import (
	"context"
	"fmt"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// A server is told some time before it is stopped, so that its pages can say so. Whoever wants
// it kept although it is idle says that in a page; the server remembers it, and is asked
// about it before it is stopped. No notebook has a right to write its own object: the
// controller writes what the server says into the annotation that others write, too.
//
//	deadline − forewarning: ask; if it is idle still, tell (Forewarning)
//	deadline:               ask; kept by hand, used or busy: a later deadline; else stop
//
// One that nobody could tell in time, since there was no leader or it did not answer, is stopped for
// idleness only so long after it was told.

const (
	// longestForewarning is how long before its stop a server is told, unless that is more
	// than half of its idle time.
	longestForewarning = 5 * time.Minute
	// longestRunForewarning is that of a server that is stopped although it is at work.
	longestRunForewarning = 15 * time.Minute
)

// Forewarning is what a server is told of its stop.
type Forewarning struct {
	StopAt time.Time
	Cause  v1alpha1.StopCause
	// IdleSince: a server that is used after that is not stopped for idleness then.
	IdleSince time.Time
	// Keep is for how much longer in all it may be kept by hand.
	Keep time.Duration
}

func forewarningOf(nb *v1alpha1.JupyterNotebook, cause v1alpha1.StopCause) time.Duration {
	if cause == v1alpha1.StopIdle {
		return min(nb.Spec.IdleStop.Limit()/2, longestForewarning)
	}
	return min(time.Duration(nb.Spec.MaxRunSeconds)*time.Second/2, longestRunForewarning)
}

// isTold reports whether the server was told of this stop.
func (c *controller) isTold(nb *v1alpha1.JupyterNotebook, d deadline) bool {
	told := c.watched.of(nb).told
	return told.Cause == d.cause && told.StopAt.Equal(wholeSecond(d.at))
}

// withNotice puts a stop for idleness off of which its server was told for less than half of the time
// that is due to it.
func (c *controller) withNotice(nb *v1alpha1.JupyterNotebook, d deadline) deadline {
	if d.cause != v1alpha1.StopIdle {
		return d
	}
	notice := forewarningOf(nb, d.cause)
	soonest := c.now().Add(notice)
	if told := c.watched.of(nb).told; told.Cause == d.cause && told.IdleSince.Sub(d.idleSince).Abs() < time.Second {
		soonest = told.StopAt
	} else if d.at.Sub(c.now()) >= notice/2 {
		return d
	}
	if soonest.After(d.at) {
		d.at = soonest
	}
	return d
}

// forewarn tells a server of its stop. One that does not take it has no pages that would
// say so, and is stopped all the same. It reports whether there was a place for it.
func (c *controller) forewarn(ctx context.Context, nb *v1alpha1.JupyterNotebook, next *v1alpha1.JupyterNotebookStatus, d deadline) (bool, error) {
	warning := Forewarning{StopAt: d.at, Cause: d.cause, IdleSince: d.idleSince}
	if d.cause == v1alpha1.StopIdle {
		bound := v1alpha1.SnoozeBound(nb.Spec.IdleStop.SnoozeMaxSeconds)
		warning.Keep = max(bound-time.Duration(next.SnoozedSeconds)*time.Second, 0)
	}
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	default:
		return false, nil
	}
	server, err := c.accessOf(ctx, nb)
	if err != nil {
		return false, err
	}
	tell, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := c.asker.Forewarn(tell, server, warning); err != nil {
		ctrl.LoggerFrom(ctx).Info("a server cannot be told when it will be stopped", "error", err.Error())
	}
	c.watched.note(nb, func(w *watchedServer) { w.told = warning })
	return true, nil
}

// keepAsServerSays has the annotation say until when somebody wants the server kept, if
// that is later than what it says and anything of it is granted.
func (c *controller) keepAsServerSays(ctx context.Context, nb *v1alpha1.JupyterNotebook, next *v1alpha1.JupyterNotebookStatus, until time.Time) error {
	asked, bound := until.UTC().Format(time.RFC3339), v1alpha1.SnoozeBound(nb.Spec.IdleStop.SnoozeMaxSeconds)
	former := v1alpha1.Snooze{Until: next.SnoozedUntil, Seconds: next.SnoozedSeconds}
	granted := former.Grant(asked, c.now(), bound)
	if granted.Until == nil || former.Until != nil && !granted.Until.After(former.Until.Time) {
		return nil
	}
	before := nb.DeepCopy()
	nb.Annotations = merged(nb.Annotations, map[string]string{v1alpha1.AnnotationSnoozeUntil: asked})
	if err := c.client.Patch(ctx, nb, podrules.PatchOver(before), client.FieldOwner(snoozeManager)); err != nil {
		return fmt.Errorf("keep a server by hand: %w", err)
	}
	next.SnoozedUntil, next.SnoozedSeconds = granted.Until, granted.Seconds
	ctrl.LoggerFrom(ctx).Info("a server is kept by hand, as a page of it has asked", "until", granted.Until.UTC().Format(time.RFC3339), "user", nb.Spec.User, "server", nb.Spec.Server)
	return nil
}

// snoozeManager is the field manager of what servers say about being kept.
const snoozeManager = "elastichub-snooze"

// wholeSecond is the next one, as the API server keeps times: no pass writes it anew.
func wholeSecond(t time.Time) time.Time { return t.Add(time.Second - 1).Truncate(time.Second) }
