package spawner

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// A server with an idle time is asked what it is at
//
//	a third of that time after it was asked, ten minutes at most;
//	before it is told that it will be stopped, and before it is stopped;
//	askAgain after it did not answer.
//
// None of that writes anything unless what it is at has changed, or its time had seemed to
// come. A server that kernels keep is not asked: the objects tell it.

const (
	// askAgain is when a server that did not answer is asked again.
	askAgain = time.Minute
	// askTimeout bounds one question.
	askTimeout = 10 * time.Second
	// questions are asked this many at a time, so that servers that do not
	// answer hold up no starts; the others are asked askSoon.
	questions = 2
	askSoon   = 5 * time.Second
	// askAtLeast is how often a server with an idle time is asked.
	askAtLeast = 10 * time.Minute
)

// Activity is what a notebook server says of itself.
type Activity struct {
	// Last is when somebody or something last used it.
	Last time.Time
	// Busy is what it is at: kernels that it lists and that compute, its own or its gateway's,
	// commands in terminals, processes.
	Busy []v1alpha1.NotebookBusy
	// KeepUntil is until when somebody wants it kept although it is idle, as one of its
	// pages has said; zero if nobody does.
	KeepUntil time.Time
}

// Asker asks notebook servers. No conclusion is drawn from an error.
type Asker interface {
	Ask(ctx context.Context, server Access) (Activity, error)
	// Forewarn tells a server when it will be stopped.
	Forewarn(ctx context.Context, server Access, warning Forewarning) error
}

func askEvery(nb *v1alpha1.JupyterNotebook) time.Duration {
	return min(nb.Spec.IdleStop.Limit()/3, askAtLeast)
}

// holding are the kernels that keep a server, as its status says it; former is what that says now.
func holding(kernels []v1alpha1.JupyterKernel, former []v1alpha1.NotebookBusy, now time.Time) []v1alpha1.NotebookBusy {
	var busy []v1alpha1.NotebookBusy
	for i := range kernels {
		k := &kernels[i]
		if !k.HasPodOrWaits() {
			continue
		}
		since := k.Status.StartTime
		isIt := func(b v1alpha1.NotebookBusy) bool { return b.Kind == v1alpha1.BusyKernel && b.Name == k.Name }
		if at := slices.IndexFunc(former, isIt); at >= 0 { // written once
			since = former[at].Since
		} else if since == nil {
			since = &metav1.Time{Time: now.Truncate(time.Second)}
		}
		busy = append(busy, v1alpha1.NotebookBusy{Kind: v1alpha1.BusyKernel, Name: k.Name, Since: since})
	}
	slices.SortFunc(busy, func(a, b v1alpha1.NotebookBusy) int { return strings.Compare(a.Name, b.Name) })
	return busy[:min(len(busy), v1alpha1.MaxBusy)]
}

// isToBeAsked reports whether it is time to ask a server, for its own sake or because of d. It decides
// when that is for one that this leader does not know: spread, as there may be many of them.
func (c *controller) isToBeAsked(nb *v1alpha1.JupyterNotebook, next *v1alpha1.JupyterNotebookStatus, d deadline) bool {
	now, at := c.now(), c.watched.of(nb).askAt
	if at.IsZero() && len(next.Busy) == 0 && !isSilent(*next) {
		at = now.Add(spread(nb, askEvery(nb)))
		c.watched.note(nb, func(w *watchedServer) { w.askAt = at })
	}
	return !at.After(now) || d.cause == v1alpha1.StopIdle && c.isNear(nb, d)
}

// spread is a part of a time that is another for each object.
func spread(nb *v1alpha1.JupyterNotebook, over time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(nb.UID))
	return over/2 + over/2*time.Duration(h.Sum32()%1000)/1000
}

// isSilent reports whether the server did not answer when it was last asked.
func isSilent(status v1alpha1.JupyterNotebookStatus) bool {
	return apimeta.IsStatusConditionFalse(status.Conditions, ConditionAnswers)
}

// askServer brings status.busy up to date, and status.lastActivity if that may decide something. It
// reports whether the server has answered.
func (c *controller) askServer(ctx context.Context, nb *v1alpha1.JupyterNotebook, next *v1alpha1.JupyterNotebookStatus, decides bool) (bool, error) {
	askIn := func(wait time.Duration) {
		c.watched.note(nb, func(w *watchedServer) { w.askAt = c.now().Add(wait) })
	}
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	default:
		askIn(askSoon)
		return false, nil
	}
	server, err := c.accessOf(ctx, nb)
	if err != nil {
		return false, err
	}
	ask, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	activity, err := c.asker.Ask(ask, server)
	if err != nil {
		ctrl.LoggerFrom(ctx).Info("a server does not say what it is at", "error", err.Error())
		c.watched.note(nb, func(w *watchedServer) { w.generation = 0 }) // its token may be another by now
		askIn(askAgain)
		if !isSilent(*next) { // written once, not for every wording
			setCondition(observed{notebook: nb, now: c.now()}, next, ConditionAnswers, false, ReasonNoAnswer,
				"The server does not say when it was last used, and is not stopped for idleness: "+shorten(err.Error()))
		}
		return false, nil
	}
	askIn(askEvery(nb))
	changed := isSilent(*next) || !equality.Semantic.DeepEqual(next.Busy, activity.Busy)
	setCondition(observed{notebook: nb, now: c.now()}, next, ConditionAnswers, true, ReasonAnswers, "")
	next.Busy = activity.Busy
	last := activity.Last
	if last.After(c.now()) { // its clock is ahead of ours
		last = c.now()
	}
	if decides = decides || changed; decides && (next.LastActivity == nil || last.After(next.LastActivity.Time)) {
		next.LastActivity = &metav1.MicroTime{Time: last.Truncate(time.Microsecond)}
	}
	if activity.KeepUntil.IsZero() {
		return true, nil
	}
	return true, c.keepAsServerSays(ctx, nb, next, activity.KeepUntil)
}

// accessOf is access, read once for each generation as long as the server takes it.
func (c *controller) accessOf(ctx context.Context, nb *v1alpha1.JupyterNotebook) (Access, error) {
	if w := c.watched.of(nb); w.generation != 0 && w.generation == nb.Generation {
		return w.access, nil
	}
	prefix, token, err := c.access(ctx, nb)
	if err != nil {
		return Access{}, fmt.Errorf("access to a server: %w", err)
	}
	server := Access{Address: serverURL(nb) + prefix, Token: token}
	if server.TLS, err = c.sslOf(ctx, nb); err != nil {
		return Access{}, fmt.Errorf("access to a server: %w", err)
	}
	c.watched.note(nb, func(w *watchedServer) { w.generation, w.access = nb.Generation, server })
	return server, nil
}
