package spawner

import (
	"context"
	"fmt"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// What Prometheus has measured of a server is asked for after the server itself has said
// that it is idle. It may keep the server, and stops none: docs/metrics.md has the table.

// Signals tells what Prometheus has measured of a notebook server.
type Signals interface {
	// Of gets the name of the server's Pod. An error means that nothing fresh is known of it.
	Of(ctx context.Context, namespace, pod string) (Seen, error)
}

// Seen is what Prometheus has measured of one server.
type Seen struct {
	// Last is when the server was last used; zero: it does not tell, as those of before
	// jupyter_server 2.15.
	Last time.Time
	// Kernels is how many of its own it has, whatever they do.
	Kernels int
	// Held: the administrator's own question has an answer that keeps it.
	Held bool
}

// signalSlack is how much later than the server's own answer a measurement may be for
// both to mean the same: Prometheus keeps times as floating-point numbers.
const signalSlack = time.Second

// opinion is what follows from a measurement.
type opinion struct {
	reason  Reason
	message string
	// keeps the server, until the next question at least.
	keeps bool
	// last is when it was used, if that is later than was known.
	last time.Time
}

// weigh knows when the server was used last as it says itself; err is why nothing is known
// of it by Prometheus.
func weigh(seen Seen, err error, required bool, known, now time.Time) opinion {
	last := seen.Last
	if last.After(now) { // its clock is ahead of ours
		last = now
	}
	switch {
	case err != nil && required:
		return opinion{reason: ReasonNotMeasured, keeps: true,
			message: "Prometheus has no fresh measurement of the server, which is not stopped for idleness without one: prometheus.required is set."}
	case err != nil:
		return opinion{reason: ReasonNotMeasured, message: "Prometheus has no fresh measurement of the server: what it says of itself counts."}
	case seen.Held:
		return opinion{reason: ReasonKeptByQuery, keeps: true, message: "What prometheus.keepWhile asks for holds: the server is not stopped for idleness."}
	case seen.Last.IsZero() && seen.Kernels > 0:
		return opinion{reason: ReasonKernelsRun, keeps: true,
			message: fmt.Sprintf("By Prometheus the server has kernels, %d, and it does not tell when they were used: it is not stopped for idleness.", seen.Kernels)}
	case last.After(known.Add(signalSlack)):
		return opinion{reason: ReasonUsedLater, last: last,
			message: "By Prometheus the server was used at " + last.UTC().Format(time.RFC3339) + ", later than it says itself: its idle time counts from then."}
	default:
		return opinion{reason: ReasonAgrees}
	}
}

// askSignals holds a server that says it is idle against what Prometheus has measured. It
// returns when to ask again if that does not allow a stop.
func (c *controller) askSignals(ctx context.Context, nb *v1alpha1.JupyterNotebook, next *v1alpha1.JupyterNotebookStatus) time.Duration {
	if c.cfg.Signals == nil {
		apimeta.RemoveStatusCondition(&next.Conditions, ConditionSignals)
		return 0
	}
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	default:
		return askSoon
	}
	ask, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	seen, err := c.cfg.Signals.Of(ask, nb.Namespace, next.PodName)
	if err != nil {
		ctrl.LoggerFrom(ctx).Info("Prometheus does not tell whether an idle server is used", "error", err.Error())
	}
	var known time.Time
	if next.LastActivity != nil {
		known = next.LastActivity.Time
	}
	o := weigh(seen, err, c.cfg.SignalsRequired, known, c.now())
	setCondition(observed{notebook: nb, now: c.now()}, next, ConditionSignals, o.reason == ReasonAgrees, o.reason, o.message)
	if !o.last.IsZero() {
		next.LastActivity = &metav1.MicroTime{Time: o.last.Truncate(time.Microsecond)}
	}
	if o.keeps {
		return askAgain
	}
	return 0
}
