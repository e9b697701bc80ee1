package spawner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
	"github.com/elastichub/elastichub/podrules"
)

// The Hub and its servers stay in step:
//
//	it is idle, or ran for too long  announce it, ask the Hub to stop it, which stops it here;
//	                                 else stop it here, and the Hub learns of it by its spawner
//	stopped or deleted here          the Hub's spawner looks for that every few seconds
//	a start that has ended is to run put it back, ask the Hub to start it, which makes a new
//	again: somebody says stopped:    start with a token of its own; else say why not
//	false
//
// A start of the Hub that has ended is never run again: its token is worth nothing any more,
// and the Hub knows of no Pod.

// HubAct is what the Hub is asked for.
type HubAct string

// The acts.
const (
	// HubLook asks only whether the Hub knows the server to run.
	HubLook  HubAct = "look"
	HubStop  HubAct = "stop"
	HubStart HubAct = "start"
)

// HubServer is what the Hub has said of a server before it did anything.
type HubServer struct {
	// Active: it starts, runs or stops. What is not active is not stopped.
	Active bool
	// Stopping: it is being stopped.
	Stopping bool
}

// Hub is JupyterHub, whose servers are stopped and started through it.
type Hub interface {
	// Ask looks whose the server is by the Hub, and what it does, and then asks for the
	// act. Errors: ErrHubUser, ErrHubScopes, *HubRefusal; any other says nothing of the
	// server, nor whether the act was done.
	Ask(ctx context.Context, act HubAct, k Key) (HubServer, error)
}

// Errors of a Hub that answers.
var (
	// ErrHubUser: nobody of that name is the server's user, who was renamed or deleted.
	ErrHubUser = errors.New("spawner: the Hub knows no such user")
	// ErrHubScopes: our token may not read whose the server is and whether it runs.
	ErrHubScopes = errors.New("spawner: the token for the Hub lacks the scopes read:users and servers")
)

// HubRefusal is an answer of the Hub that it does not do it.
type HubRefusal struct {
	// Message is the Hub's, for people.
	Message string
	// Passing: it may do so later.
	Passing bool
}

func (e *HubRefusal) Error() string { return "spawner: the Hub refuses: " + e.Message }

const (
	// hubPatience is for how long a Hub that does not do what it is asked for is asked again.
	hubPatience = 10 * time.Minute
	// hubCalls are made at a time: the Hub answers when a server has stopped.
	hubCalls = 4
	// hubTimeout bounds one call; the client of the Hub has limits of its own.
	hubTimeout = 20 * time.Second
	// The pauses between questions that were not answered.
	hubFirstPause   = 2 * time.Second
	hubLongestPause = time.Minute
)

// hubTries remember since when the Hub has been asked in vain. A new leader begins anew.
type hubTries struct {
	mu    sync.Mutex
	tries map[types.NamespacedName]hubTry
}

type hubTry struct {
	start       string
	act         HubAct
	since, next time.Time
	pause       time.Duration
}

// begin tells since when it has been tried, and how long to wait with the next.
func (p *hubTries) begin(nb *v1alpha1.JupyterNotebook, act HubAct, now time.Time) (since time.Time, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := client.ObjectKeyFromObject(nb)
	t, found := p.tries[key]
	if !found || t.start != nb.Spec.Start || t.act != act {
		if p.tries == nil {
			p.tries = map[types.NamespacedName]hubTry{}
		}
		t = hubTry{start: nb.Spec.Start, act: act, since: now, pause: hubFirstPause}
		p.tries[key] = t
	}
	return t.since, max(t.next.Sub(now), 0)
}

// failed tells when to try again.
func (p *hubTries) failed(nb *v1alpha1.JupyterNotebook, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := client.ObjectKeyFromObject(nb)
	t := p.tries[key]
	wait := t.pause
	t.next, t.pause = now.Add(wait), min(2*t.pause, hubLongestPause)
	p.tries[key] = t
	return wait
}

func (p *hubTries) forget(name types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.tries, name)
}

// askHub asks once, unless it is too early or others are being asked for: then it returns
// how long to wait.
func (c *controller) askHub(ctx context.Context, nb *v1alpha1.JupyterNotebook, act HubAct) (HubServer, time.Duration, error) {
	select {
	case c.hubCalls <- struct{}{}:
		defer func() { <-c.hubCalls }()
	default:
		return HubServer{}, askSoon, nil
	}
	ctx, cancel := context.WithTimeout(ctx, hubTimeout)
	defer cancel()
	found, err := c.hub.Ask(ctx, act, keyOf(nb))
	c.met.hubAsked(act, err)
	return found, 0, err
}

// passing tells that a Hub that failed so may do it later.
func passing(err error) bool {
	var refusal *HubRefusal
	if errors.As(err, &refusal) {
		return refusal.Passing
	}
	return !errors.Is(err, ErrHubUser) && !errors.Is(err, ErrHubScopes)
}

// stopDue carries an automatic stop out. It returns when to go on.
func (c *controller) stopDue(ctx context.Context, nb *v1alpha1.JupyterNotebook, cause v1alpha1.StopCause) (time.Duration, error) {
	if wait, err := c.stopThroughHub(ctx, nb, cause); wait > 0 || err != nil {
		return wait, err
	}
	return 0, c.stop(ctx, nb, cause)
}

// stopThroughHub returns nothing if the server is to be stopped without the Hub.
func (c *controller) stopThroughHub(ctx context.Context, nb *v1alpha1.JupyterNotebook, cause v1alpha1.StopCause) (time.Duration, error) {
	if c.hub == nil || !nb.IsOfHub() {
		return 0, nil
	}
	since, wait := c.hubTries.begin(nb, HubStop, c.now())
	if c.now().Sub(since) >= hubPatience {
		c.recorder.Tell(nb, health.Warning(string(ReasonHubUnavailable),
			"The Hub has not stopped the server for "+inWords(int64(hubPatience/time.Second))+"; it is stopped without the Hub."))
		return 0, nil
	}
	if left := announced(nb, c.now()); left > 0 { // it was asked a moment ago
		return left, nil
	}
	if wait > 0 {
		return wait, nil
	}
	found, wait, err := c.askHub(ctx, nb, HubLook)
	switch {
	case wait > 0:
		return wait, nil
	case err != nil:
		return c.stopLater(ctx, nb, err), nil
	case !found.Active:
		return 0, nil
	case found.Stopping:
		return c.hubTries.failed(nb, c.now()), nil
	}
	if err := c.announce(ctx, nb, cause); err != nil {
		return 0, err
	}
	found, wait, err = c.askHub(ctx, nb, HubStop)
	switch {
	case wait > 0:
		return wait, nil
	case err != nil:
		return c.stopLater(ctx, nb, err), nil
	case !found.Active:
		return 0, nil
	}
	c.met.stops.WithLabelValues(string(cause)).Inc()
	ctrl.LoggerFrom(ctx).Info("server stopped through the Hub", "cause", cause, "user", nb.Spec.User, "server", nb.Spec.Server)
	return announcedFor, nil
}

// stopLater tells when to ask the Hub again; 0: never.
func (c *controller) stopLater(ctx context.Context, nb *v1alpha1.JupyterNotebook, err error) time.Duration {
	ctrl.LoggerFrom(ctx).Info("the Hub does not stop a server", "error", err.Error(), "user", nb.Spec.User, "server", nb.Spec.Server)
	if !passing(err) {
		return 0
	}
	return c.hubTries.failed(nb, c.now())
}

// announce says why the server will be stopped, unless the notebook has changed since it
// was read.
func (c *controller) announce(ctx context.Context, nb *v1alpha1.JupyterNotebook, cause v1alpha1.StopCause) error {
	before := nb.DeepCopy()
	nb.Annotations = merged(nb.Annotations, c.stopNotes(cause))
	if err := c.client.Patch(ctx, nb, podrules.PatchOver(before), client.FieldOwner(stopManager)); err != nil {
		return fmt.Errorf("announce a stop: %w", err)
	}
	return nil
}

// startedAside tells that a start of the Hub that has ended, or is ending, is to run again.
func startedAside(nb *v1alpha1.JupyterNotebook) bool {
	return nb.IsOfHub() && !nb.Spec.Stopped && nb.Status.Start == nb.Spec.Start &&
		(nb.Status.Phase == v1alpha1.NotebookStopped || nb.Status.Phase == v1alpha1.NotebookStopping)
}

// putBack makes of such a start a wish to the Hub.
func (c *controller) putBack(ctx context.Context, nb *v1alpha1.JupyterNotebook) error {
	before := nb.DeepCopy()
	nb.Spec.Stopped = true
	nb.Annotations = merged(nb.Annotations, map[string]string{v1alpha1.AnnotationStartAsked: c.now().UTC().Format(time.RFC3339)})
	if err := c.client.Patch(ctx, nb, podrules.PatchOver(before), client.FieldOwner(stopManager)); err != nil {
		return fmt.Errorf("put a start back: %w", err)
	}
	return nil
}

// startAsAsked has the Hub start a server that somebody wants to run. It returns when to go
// on; done means that there is nothing more to be asked for.
func (c *controller) startAsAsked(ctx context.Context, nb *v1alpha1.JupyterNotebook, next *v1alpha1.JupyterNotebookStatus) (wait time.Duration, done bool) {
	text, asked := nb.Annotations[v1alpha1.AnnotationStartAsked]
	switch {
	case !asked:
		return 0, false
	case !nb.Spec.Stopped || !nb.IsOfHub():
		return 0, true
	case next.Phase != v1alpha1.NotebookStopped: // its Pod goes first
		return 0, false
	case c.hub == nil:
		c.holdStart(nb, next, ReasonNoHubAPI, "Only the Hub starts this server, and elastichub may not ask it to: "+
			"start it on the Hub's page, or have an administrator set hub.apiURL and hub.tokenSecret.")
		return 0, true
	}
	if _, wait := c.hubTries.begin(nb, HubStart, c.now()); wait > 0 {
		return wait, false
	}
	_, wait, err := c.askHub(ctx, nb, HubStart)
	if wait > 0 {
		return wait, false
	}
	if err == nil {
		apimeta.RemoveStatusCondition(&next.Conditions, ConditionHub)
		c.recorder.Tell(nb, health.Normal(string(ReasonStartedByHub), "The Hub starts the server, as it was asked to."))
		ctrl.LoggerFrom(ctx).Info("the Hub starts a server, as it was asked to", "user", nb.Spec.User, "server", nb.Spec.Server)
		return 0, true
	}
	since, _ := time.Parse(time.RFC3339, text) // what is no time is long ago
	reason, message := whyNotStarted(err)
	if !passing(err) || c.now().Sub(since) >= hubPatience {
		c.holdStart(nb, next, reason, message+" The server stays stopped.")
		return 0, true
	}
	c.holdStart(nb, next, reason, message+" It is asked again for up to "+inWords(int64(hubPatience/time.Second))+".")
	return c.hubTries.failed(nb, c.now()), false
}

// whyNotStarted is for whoever asked for the start.
func whyNotStarted(err error) (Reason, string) {
	var refusal *HubRefusal
	switch {
	case errors.As(err, &refusal):
		return ReasonHubRefused, "The Hub does not start the server: " + strings.TrimSuffix(shorten(cmp.Or(refusal.Message, "it does not say why")), ".") + "."
	case errors.Is(err, ErrHubUser):
		return ReasonHubUserGone, "The Hub knows nobody of the name that the server's user had: they were renamed or deleted. They start it on the Hub's page."
	case errors.Is(err, ErrHubScopes):
		return ReasonHubRefused, "elastichub may not ask the Hub to start the server: the Hub's service whose token is in hub.tokenSecret needs the scopes read:users and servers."
	default:
		return ReasonHubUnavailable, "The Hub does not answer."
	}
}

// holdStart tells why a server that somebody wants to run does not.
func (c *controller) holdStart(nb *v1alpha1.JupyterNotebook, next *v1alpha1.JupyterNotebookStatus, reason Reason, message string) {
	if is := apimeta.FindStatusCondition(next.Conditions, ConditionHub); is == nil || is.Message != message {
		c.recorder.Tell(nb, health.Warning(string(reason), message))
	}
	setCondition(observed{notebook: nb, now: c.now()}, next, ConditionHub, false, reason, message)
}

// forgetAsked takes the wish for a start from a notebook.
func (c *controller) forgetAsked(ctx context.Context, nb *v1alpha1.JupyterNotebook) error {
	before := nb.DeepCopy()
	delete(nb.Annotations, v1alpha1.AnnotationStartAsked)
	if err := c.client.Patch(ctx, nb, podrules.PatchOver(before), client.FieldOwner(stopManager)); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("forget that a start was asked for: %w", err))
	}
	return nil
}
