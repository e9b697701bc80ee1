package orphans

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
	"github.com/elastichub/elastichub/podrules"
)

const (
	// soon is when a pass that has stopped a server comes again, to delete it.
	soon = time.Minute
	// lookTime bounds one listing.
	lookTime = 5 * time.Minute
	// mostTold bounds how many notebooks get an Event when the Hub is not believed.
	mostTold = 3
	// orphanManager is the field manager of what is written here.
	orphanManager = "elastichub-orphans"
	// envToken is JupyterHub's name of a server's token.
	envToken = "JUPYTERHUB_API_TOKEN"
)

// Reasons of Events, beside those of Reason.
const (
	eventRemoved = "OrphanRemoved"
	eventStopped = "OrphanStopped"
	eventTooFew  = "HubKnowsTooFew"
)

// sighting is how often, and since when, the Hub was seen not to know a notebook.
type sighting struct {
	since time.Time
	times int
	// start is the one of which it did not know that it runs; empty: it did not know more.
	start string
}

// watch looks for orphans on the leader.
type watch struct {
	cfg      Config
	client   client.Client
	live     client.Reader
	hub      Hub
	recorder health.Recorder
	met      *metrics
	now      func() time.Time
	// seen is by the notebooks' UIDs.
	seen map[types.UID]sighting
	// said is the last fault that was logged, so that it is said once.
	said string
}

// SetupWithManager has the leader look for orphans; a hub of nil, or mode off, has nobody
// look. The manager's cache must hold the notebooks of cfg.Namespace.
func SetupWithManager(mgr manager.Manager, cfg Config, hub Hub, registry prometheus.Registerer) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("orphans: %w", err)
	}
	if cfg.Mode == Off {
		return nil
	}
	met, err := newMetrics(registry)
	if err != nil {
		return fmt.Errorf("orphans: %w", err)
	}
	if hub == nil {
		mgr.GetLogger().Info("servers that the Hub does not know are not looked for, since hub.apiURL and hub.tokenSecret are not set")
		return nil
	}
	return mgr.Add(&watch{
		cfg: cfg, client: mgr.GetClient(), live: mgr.GetAPIReader(), hub: hub, recorder: health.NewRecorder(mgr), met: met, now: time.Now,
		seen: map[types.UID]sighting{},
	})
}

// NeedLeaderElection: one replica decides.
func (w *watch) NeedLeaderElection() bool { return true }

// Start looks until ctx ends.
func (w *watch) Start(ctx context.Context) error {
	// A release that rolls out often has a Hub that restarts beside it.
	wait := min(w.cfg.interval(), soon)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		again, err := w.pass(ctx)
		w.say(ctx, err)
		wait = w.cfg.interval()
		if again {
			wait = min(wait, soon)
		}
	}
}

// say logs a fault when it is a new one.
func (w *watch) say(ctx context.Context, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != w.said && ctx.Err() == nil {
		ctrl.LoggerFrom(ctx).Info("nothing is concluded of servers that the Hub may not know", "error", text)
	}
	w.said = text
}

// look lists notebooks and people. Errors: those of the Hub, ErrImplausible.
func (w *watch) look(ctx context.Context) ([]v1alpha1.JupyterNotebook, []Orphan, error) {
	notebooks, found, err := Look(ctx, w.client, w.hub, w.cfg.Namespace, w.now())
	w.met.looked(err)
	return notebooks, found, err
}

// Look lists the notebooks of a namespace and those of them that the Hub does not know.
func Look(ctx context.Context, reader client.Reader, hub Hub, namespace string, now time.Time) ([]v1alpha1.JupyterNotebook, []Orphan, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	people, err := hub.People(ctx)
	if err != nil {
		return nil, nil, err
	}
	var all v1alpha1.JupyterNotebookList
	if err := reader.List(ctx, &all, client.InNamespace(namespace)); err != nil {
		return nil, nil, fmt.Errorf("list notebooks: %w", err)
	}
	found, err := judge(all.Items, people, now)
	return all.Items, found, err
}

// pass tells whether to come again soon.
func (w *watch) pass(ctx context.Context) (again bool, err error) {
	notebooks, found, err := w.look(ctx)
	if errors.Is(err, ErrImplausible) && w.said != err.Error() {
		for i := range found[:min(len(found), mostTold)] {
			w.recorder.Tell(found[i].Notebook, health.Warning(eventTooFew, "The Hub does not know this server, but is not believed: "+err.Error()+". Nothing is removed."))
		}
	}
	if err != nil {
		return false, err
	}
	missed := map[types.UID]bool{}
	for _, f := range found {
		missed[f.Notebook.UID] = true
	}
	for i := range notebooks {
		nb := &notebooks[i]
		if missed[nb.UID] {
			continue
		}
		delete(w.seen, nb.UID)
		if err := w.acquit(ctx, nb); err != nil {
			return false, err
		}
	}
	for uid := range w.seen {
		if !missed[uid] {
			delete(w.seen, uid) // deleted
		}
	}
	due, err := w.note(ctx, found)
	if err != nil || w.cfg.Mode != Remove || len(due) == 0 {
		return false, err
	}
	_, fresh, err := w.look(ctx)
	if err != nil {
		return false, err
	}
	for _, f := range fresh {
		if !due[f.Notebook.UID] || f.Reason == Unclear {
			continue
		}
		stopped, err := w.remove(ctx, f)
		if err != nil {
			return again, err
		}
		again = again || stopped
	}
	return again, nil
}

// note remembers who was missed, writes it on who was missed twice, and tells who is due.
func (w *watch) note(ctx context.Context, found []Orphan) (due map[types.UID]bool, err error) {
	due = map[types.UID]bool{}
	counts := map[string]int{stateWaiting: 0, stateDue: 0, stateUnclear: 0}
	for _, f := range found {
		s := w.sighted(f)
		w.seen[f.Notebook.UID] = s
		over := s.times >= 2 && w.now().Sub(s.since) >= w.cfg.Grace
		switch {
		case f.Reason == Unclear:
			counts[stateUnclear]++
		case over:
			counts[stateDue]++
			due[f.Notebook.UID] = true
		default:
			counts[stateWaiting]++
		}
		if s.times >= 2 {
			if err := w.accuse(ctx, f, s.since); err != nil {
				return nil, err
			}
		}
	}
	for state, n := range counts {
		w.met.orphans.WithLabelValues(state).Set(float64(n))
	}
	return due, nil
}

// sighted counts a sighting. Of a server that the Hub says is stopped each start counts by
// itself: another one is another server to the Hub.
func (w *watch) sighted(f Orphan) sighting {
	start := ""
	if f.Reason == ServerStopped {
		start = f.Notebook.Spec.Start
	}
	s, known := w.seen[f.Notebook.UID]
	if !known || s.start != start {
		s = sighting{since: w.now(), start: start}
		was := apimeta.FindStatusCondition(f.Notebook.Status.Conditions, v1alpha1.ConditionOrphan)
		if was != nil && was.Status == metav1.ConditionTrue && (was.Reason == string(ServerStopped)) == (f.Reason == ServerStopped) {
			s.since = was.LastTransitionTime.Time // a former leader's, of this start: the next removes it
		}
	}
	s.times++
	return s
}

// accuse writes the condition, once.
func (w *watch) accuse(ctx context.Context, f Orphan, since time.Time) error {
	nb, before := f.Notebook, f.Notebook.DeepCopy()
	message := f.Message
	until := since.Add(w.cfg.Grace).UTC().Format(time.RFC3339)
	switch {
	case f.Reason == Unclear:
	case f.Reason == ServerStopped && w.cfg.Mode == Remove:
		message += " It is stopped after " + until + ", if that stays so."
	case f.Reason == ServerStopped:
		message += " With orphans.mode: remove it would be stopped after " + until + "."
	case w.cfg.Mode == Remove:
		message += " It is stopped and removed after " + until + ", if that stays so. Its home volume stays."
	default:
		message += " With orphans.mode: remove it would be stopped and removed after " + until + "."
	}
	is := apimeta.FindStatusCondition(nb.Status.Conditions, v1alpha1.ConditionOrphan)
	if is != nil && is.Status == metav1.ConditionTrue && is.Message == message {
		return nil
	}
	told := is == nil || is.Reason != string(f.Reason)
	podrules.SetCondition(&nb.Status.Conditions, nb.Generation, since, v1alpha1.ConditionOrphan, true, string(f.Reason), message)
	if err := w.write(ctx, nb, before); err != nil {
		return err
	}
	if told {
		w.recorder.Tell(nb, health.Warning(string(f.Reason), message))
	}
	return nil
}

// acquit takes the condition away.
func (w *watch) acquit(ctx context.Context, nb *v1alpha1.JupyterNotebook) error {
	before := nb.DeepCopy()
	if !apimeta.RemoveStatusCondition(&nb.Status.Conditions, v1alpha1.ConditionOrphan) {
		return nil
	}
	return w.write(ctx, nb, before)
}

// write leaves what has changed meanwhile to the next pass.
func (w *watch) write(ctx context.Context, nb, before *v1alpha1.JupyterNotebook) error {
	err := w.client.Status().Patch(ctx, nb, podrules.PatchOver(before), client.FieldOwner(orphanManager))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("write status: %w", err)
	}
	return nil
}

// remove stops a server that runs, and deletes one that does not, unless the Hub knows it.
// Nothing is done to one that has changed since it was read. One that the Hub does not know is
// not touched as long as the Hub takes its token; of one whose stop was given up it may.
func (w *watch) remove(ctx context.Context, f Orphan) (stopped bool, err error) {
	nb := f.Notebook
	log := ctrl.LoggerFrom(ctx).WithValues("notebook", nb.Name, "user", nb.Spec.User, "server", nb.Spec.Server, "reason", f.Reason)
	if f.Reason == ServerStopped {
		if stopped, err = w.stop(ctx, nb); stopped {
			w.recorder.Tell(nb, health.Warning(eventStopped, f.Message+" The server is stopped; its notebook and home stay."))
			log.Info("a server that does not run by the Hub is stopped")
		}
		return false, err
	}
	if !nb.Spec.Stopped && nb.Status.Phase != v1alpha1.NotebookFailed {
		if works, err := w.tokenWorks(ctx, nb); err != nil || works {
			return false, err
		}
		if stopped, err = w.stop(ctx, nb); stopped {
			log.Info("a server that the Hub does not know is stopped")
		}
		return stopped, err
	}
	if nb.Spec.Stopped && nb.Status.Phase != v1alpha1.NotebookStopped {
		return true, nil // its Pod goes first
	}
	policy := metav1.DeletePropagationBackground
	err = w.client.Delete(ctx, nb, client.Preconditions{UID: &nb.UID, ResourceVersion: &nb.ResourceVersion}, &client.DeleteOptions{PropagationPolicy: &policy})
	if err != nil {
		return false, ignoreChanged(fmt.Errorf("delete notebook: %w", err))
	}
	w.met.removed.Inc()
	w.recorder.Tell(nb, health.Warning(eventRemoved, f.Message+" The notebook is deleted; its home volume stays."))
	log.Info("a server that the Hub does not know is removed")
	return false, nil
}

// stop has a notebook's Pod end, unless the notebook has changed since it was read.
func (w *watch) stop(ctx context.Context, nb *v1alpha1.JupyterNotebook) (stopped bool, err error) {
	before := nb.DeepCopy()
	nb.Spec.Stopped = true
	if nb.Annotations == nil {
		nb.Annotations = map[string]string{}
	}
	nb.Annotations[v1alpha1.AnnotationStopCause] = string(v1alpha1.StopOrphan)
	nb.Annotations[v1alpha1.AnnotationStopTime] = w.now().UTC().Format(time.RFC3339)
	if err := w.client.Patch(ctx, nb, podrules.PatchOver(before), client.FieldOwner(orphanManager)); err != nil {
		return false, ignoreChanged(fmt.Errorf("stop notebook: %w", err))
	}
	w.met.stopped.Inc()
	return true, nil
}

// tokenWorks tells whether the Hub still takes the token that a server was started with: then
// it knows the server by something that its listing does not show.
func (w *watch) tokenWorks(ctx context.Context, nb *v1alpha1.JupyterNotebook) (bool, error) {
	if nb.Spec.EnvSecret == "" {
		return false, nil
	}
	var secret corev1.Secret
	err := w.live.Get(ctx, client.ObjectKey{Namespace: nb.Namespace, Name: nb.Spec.EnvSecret}, &secret)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read environment: %w", err)
	}
	if len(secret.Data[envToken]) == 0 {
		return false, nil
	}
	return w.hub.TokenWorks(ctx, string(secret.Data[envToken]))
}

// ignoreChanged leaves to the next pass what has changed or is gone.
func ignoreChanged(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// before is the time that an object must have been made before to be in a listing.
func before(asked time.Time) *metav1.Time { return &metav1.Time{Time: asked.Add(-skew)} }

// Fate tells in some words when an orphan is removed, as far as its condition says.
func Fate(o Orphan, mode Mode) string {
	is := apimeta.FindStatusCondition(o.Notebook.Status.Conditions, v1alpha1.ConditionOrphan)
	switch {
	case o.Reason == Unclear:
		return "never: decide by hand"
	case mode != Remove:
		return "never: only reported"
	case is == nil || is.Status != metav1.ConditionTrue:
		return "not yet noted"
	}
	noted := "noted since " + is.LastTransitionTime.UTC().Format(time.RFC3339)
	if o.Reason == ServerStopped {
		return "stopped only, " + noted
	}
	return noted
}
