package spawner

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// A server is told some time before it is stopped for idleness, so that its pages can say
// so. Whoever wants it kept says that in a page; the server remembers it, and is asked
// about it before it is stopped. No notebook has a right to write its own object: the
// controller writes what the server says into the annotation that others write, too.
//
//	deadline − forewarning: ask; if it is idle still, tell (Forewarning)
//	deadline:               ask; kept by hand, used or busy: a later deadline; else stop

// longestForewarning is how long before its stop a server is told, unless that is more
// than half of its idle time.
const longestForewarning = 5 * time.Minute

// Forewarning is what a server is told of its stop.
type Forewarning struct {
	// StopAt is when it will be stopped if nobody uses it after IdleSince.
	StopAt, IdleSince time.Time
	// Keep is for how much longer in all it may be kept by hand.
	Keep time.Duration
}

func forewarningOf(nb *v1alpha1.JupyterNotebook) time.Duration {
	return min(time.Duration(nb.Spec.IdleStop.Seconds)*time.Second/2, longestForewarning)
}

// forewarned remembers which stop each server was told of. A new leader tells it again.
type forewarned struct {
	mu     sync.Mutex
	stopAt map[types.NamespacedName]time.Time
}

func (f *forewarned) of(nb *v1alpha1.JupyterNotebook) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stopAt[client.ObjectKeyFromObject(nb)]
}

func (f *forewarned) note(nb *v1alpha1.JupyterNotebook, stopAt time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopAt == nil {
		f.stopAt = map[types.NamespacedName]time.Time{}
	}
	f.stopAt[client.ObjectKeyFromObject(nb)] = stopAt
}

func (f *forewarned) forget(name types.NamespacedName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.stopAt, name)
}

// forewarn tells a server of its stop. One that does not take it has no pages that would
// say so, and is stopped all the same. It returns when to try again.
func (c *controller) forewarn(ctx context.Context, nb *v1alpha1.JupyterNotebook, next *v1alpha1.JupyterNotebookStatus, d deadline) (time.Duration, error) {
	bound := v1alpha1.SnoozeBound(nb.Spec.IdleStop.SnoozeMaxSeconds)
	warning := Forewarning{StopAt: d.at, IdleSince: d.idleSince, Keep: max(bound-time.Duration(next.SnoozedSeconds)*time.Second, 0)}
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
	tell, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := c.asker.Forewarn(tell, serverURL(nb)+prefix, token, warning); err != nil {
		ctrl.LoggerFrom(ctx).Info("a server cannot be told when it will be stopped", "error", err.Error())
	}
	c.forewarned.note(nb, d.at)
	return 0, nil
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
