package homes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
)

const (
	// first is when a new leader looks: a release that rolls out often has a Hub that restarts beside it.
	first = time.Minute
	// mostTold bounds how many claims get an Event when nobody is believed.
	mostTold = 3
	// homesManager is the field manager of what is written here.
	homesManager = "elastichub-homes"
)

// Reasons of Events, beside those of Reason.
const (
	eventRemoved  = "HomeRemoved"
	eventVanished = "TooManyVanished"
)

// watch looks for homes of people who left, on the leader.
type watch struct {
	cfg      Config
	client   client.Client
	live     client.Reader
	sources  Sources
	recorder health.Recorder
	met      *metrics
	now      func() time.Time
	// said is the last fault that was logged, so that it is said once.
	said string
}

// SetupWithManager has the leader look for homes of people who left; without anybody to ask, or
// with mode off, nobody looks.
func SetupWithManager(mgr manager.Manager, cfg Config, sources Sources, registry prometheus.Registerer) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("homes: %w", err)
	}
	if cfg.Mode == Off {
		return nil
	}
	met, err := newMetrics(registry)
	if err != nil {
		return fmt.Errorf("homes: %w", err)
	}
	if !sources.any() {
		mgr.GetLogger().Info("homes of people who left are not looked for, since neither the Hub nor a directory can be asked for users")
		return nil
	}
	return mgr.Add(&watch{
		cfg: cfg, client: mgr.GetClient(), live: mgr.GetAPIReader(), sources: sources, recorder: health.NewRecorder(mgr), met: met, now: time.Now,
	})
}

// NeedLeaderElection: one replica decides.
func (w *watch) NeedLeaderElection() bool { return true }

// Start looks until ctx ends. While homes are archived, it sees to that between its looks.
func (w *watch) Start(ctx context.Context) error {
	next := w.now().Add(first)
	for {
		wait := next.Sub(w.now())
		if w.cfg.Mode == Archive {
			wait = min(wait, tendEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(wait, 0)):
		}
		ended, err := w.tend(ctx)
		if err != nil {
			w.say(ctx, err)
			continue
		}
		if ended || !w.now().Before(next) {
			next = w.now().Add(lookEvery)
			w.say(ctx, w.pass(ctx))
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
		ctrl.LoggerFrom(ctx).Info("nothing is concluded of people with homes", "error", text)
	}
	w.said = text
}

func (w *watch) look(ctx context.Context) ([]Home, error) {
	found, err := Look(ctx, w.live, w.sources, w.cfg.Namespace, w.now())
	if err == nil {
		err = plausible(found, w.cfg.MostPercent)
	}
	w.met.looked(err)
	return found, err
}

func (w *watch) pass(ctx context.Context) error {
	found, err := w.look(ctx)
	if errors.Is(err, ErrImplausible) && w.said != err.Error() {
		told := 0
		for _, h := range found {
			if h.Standing == Left && told < mostTold {
				told++
				w.recorder.Tell(h.Object(), health.Warning(eventVanished, h.Message+" This is not believed: "+err.Error()+". Nothing is noted or removed."))
			}
		}
	}
	if err != nil {
		return err
	}
	due := map[types.UID]bool{}
	counts := map[string]int{}
	for _, state := range states {
		counts[state] = 0
	}
	jobs, err := w.jobs(ctx)
	if err != nil {
		return err
	}
	for i := range found {
		h := &found[i]
		if err := w.note(ctx, h); err != nil {
			return err
		}
		if state := w.stateOf(*h); state != "" {
			due[h.Object().GetUID()] = state == stateDue
			counts[archiveState(state, jobs[h.Object().GetUID()])]++
		}
	}
	for state, n := range counts {
		w.met.homes.WithLabelValues(state).Set(float64(n))
	}
	if (w.cfg.Mode != Remove && w.cfg.Mode != Archive) || !slices.Contains(slices.Collect(maps.Values(due)), true) {
		return w.endJobs(ctx, jobs, due)
	}
	fresh, err := w.look(ctx)
	if err != nil {
		return err
	}
	still := map[types.UID]bool{}
	for _, h := range fresh {
		uid := h.Object().GetUID()
		if !due[uid] || w.stateOf(h) != stateDue {
			continue
		}
		still[uid] = true
		if err := w.settle(ctx, h, jobs); err != nil {
			return err
		}
	}
	return w.endJobs(ctx, jobs, still)
}

// settle does with a home whose grace is over what the mode says.
func (w *watch) settle(ctx context.Context, h Home, jobs map[types.UID]*batchv1.Job) error {
	_, archived := h.Archived()
	switch {
	case w.cfg.Mode == Archive && !archived:
		return w.archive(ctx, h, jobs)
	case h.Note != nil: // other people's homes are beside it
		return nil
	}
	return w.remove(ctx, h)
}

// stateOf is what the home of somebody who may have left counts as; empty for others.
func (w *watch) stateOf(h Home) string {
	_, archived := h.Archived()
	switch since := h.GoneSince(); {
	case h.Standing == Unclear:
		return stateUnclear
	case h.Standing != Left:
		return ""
	case h.Stays() != "":
		return stateKept
	case h.Note != nil && (w.cfg.Mode != Archive || archived):
		return stateKept
	case !since.IsZero() && w.now().Sub(since) >= w.cfg.Grace:
		return stateDue
	}
	return stateWaiting
}

// note writes on a home since when its user is gone, or takes that away, and that it is archived.
func (w *watch) note(ctx context.Context, h *Home) error {
	_, noted := h.Object().GetAnnotations()[v1alpha1.AnnotationUserGone]
	gone := h.Standing == Left
	if noted == gone && (!gone || !h.GoneSince().IsZero()) {
		return nil
	}
	written, err := w.annotate(ctx, *h, func(notes map[string]string) {
		if gone {
			notes[v1alpha1.AnnotationUserGone] = w.now().UTC().Format(time.RFC3339)
			return
		}
		delete(notes, v1alpha1.AnnotationUserGone)
		delete(notes, v1alpha1.AnnotationArchived)
	})
	if err == nil && written && gone {
		w.recorder.Tell(h.Object(), health.Warning(string(h.Reason), h.Message+" "+w.fate(*h)))
	}
	return err
}

// annotate changes the annotations of a home's object, unless that has changed since it was read:
// then nothing is written, and the next look finds what there is then.
func (w *watch) annotate(ctx context.Context, h Home, change func(map[string]string)) (written bool, err error) {
	object := h.Object()
	before, ok := object.DeepCopyObject().(client.Object)
	if !ok {
		return false, fmt.Errorf("home %s is no object", object.GetName())
	}
	notes := maps.Clone(object.GetAnnotations())
	change(notes)
	object.SetAnnotations(notes)
	err = w.client.Patch(ctx, object, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner(homesManager))
	if err == nil {
		return true, nil
	}
	object.SetAnnotations(before.GetAnnotations())
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return false, nil
	}
	return false, fmt.Errorf("note on home %s: %w", before.GetName(), err)
}

// fate is a sentence on what becomes of the home of somebody who left.
func (w *watch) fate(h Home) string { return Fate(h, w.cfg) }

// Fate is a sentence on what becomes of the home of somebody who left.
func Fate(h Home, cfg Config) string {
	why := h.Stays()
	file, archived := h.Archived()
	after := h.GoneSince().Add(cfg.Grace).UTC().Format(time.RFC3339)
	switch {
	case h.Standing != Left:
		return ""
	case h.GoneSince().IsZero():
		return "It is not noted yet."
	case cfg.Mode != Remove && cfg.Mode != Archive:
		return "It stays: homes.left.mode is " + string(cfg.Mode) + "."
	case why != "":
		return "It stays, since " + why + "."
	case h.Note != nil && archived:
		return "It is archived as " + file + ", and the directory stays: others' homes are in that claim."
	case h.Note != nil && cfg.Mode == Archive:
		return "It is archived after " + after + ", if that stays so, and the directory stays."
	case h.Note != nil:
		return "It stays, since it is a directory of a claim that others' homes are in."
	case archived:
		return "It is archived as " + file + ", and is removed."
	case cfg.Mode == Archive:
		return "It is archived and removed after " + after + ", if that stays so."
	}
	return "It is removed after " + after + ", if that stays so."
}

// remove deletes a claim, unless it has changed since it was read.
func (w *watch) remove(ctx context.Context, h Home) error {
	var claim corev1.PersistentVolumeClaim
	claim.Namespace, claim.Name = h.Claim.Namespace, h.Claim.Name
	err := w.client.Delete(ctx, &claim, client.Preconditions{UID: &h.Claim.UID, ResourceVersion: &h.Claim.ResourceVersion})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete home %s: %w", claim.Name, err)
	}
	kept := ""
	if file, archived := h.Archived(); archived && w.cfg.Mode == Archive {
		kept = " It is archived as " + file + "."
	}
	w.met.removed.Inc()
	w.recorder.Tell(h.Object(), health.Warning(eventRemoved, h.Message+" They have been gone since "+h.GoneSince().UTC().Format(time.RFC3339)+", and the home is removed."+kept))
	ctrl.LoggerFrom(ctx).Info("the home of somebody who left is removed", "claim", claim.Name, "user", h.User, "reason", h.Reason, "since", h.GoneSince())
	return nil
}
