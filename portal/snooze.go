package portal

import (
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// snoozeStep is how much longer something is kept each time that somebody asks.
const snoozeStep = time.Hour

// usedUp is the error for what has been kept by hand for as long as is allowed.
type usedUp struct{ bound time.Duration }

func (e *usedUp) Error() string { return "portal: kept by hand for " + e.bound.String() + " already" }

// snoozeKernel puts off the parking of a kernel.
func (p *Portal) snoozeKernel(r *request) (mine bool, err error) {
	k, w, mine, err := p.kernelAsked(r)
	if err != nil {
		return mine, err
	}
	if k.Status.Phase != v1alpha1.KernelReady {
		return mine, errNothingToKeep
	}
	var policies []v1alpha1.GroupPolicy
	for _, name := range k.Status.Policies {
		var policy v1alpha1.GroupPolicy
		found, err := p.find(r, name, &policy)
		if err != nil {
			return mine, err
		}
		if found {
			policies = append(policies, policy)
		}
	}
	former := v1alpha1.Snooze{Until: k.Status.SnoozedUntil, Seconds: k.Status.SnoozedSeconds}
	notes, err := p.another(former, v1alpha1.SnoozeBoundOf(policies))
	if err != nil {
		return mine, err
	}
	return mine, p.change(r, k, actionSnooze, w, notes)
}

// snoozeServer puts off the stop of a server for idleness.
func (p *Portal) snoozeServer(r *request) (mine bool, err error) {
	nb, w, mine, err := p.serverAsked(r)
	if err != nil {
		return mine, err
	}
	if nb.Spec.Stopped || nb.Status.Phase != v1alpha1.NotebookReady || nb.Spec.IdleStop.Limit() <= 0 {
		return mine, errNothingToKeep
	}
	former := v1alpha1.Snooze{Until: nb.Status.SnoozedUntil, Seconds: nb.Status.SnoozedSeconds}
	notes, err := p.another(former, v1alpha1.SnoozeBound(nb.Spec.IdleStop.SnoozeMaxSeconds))
	if err != nil {
		return mine, err
	}
	return mine, p.change(r, nb, actionSnooze, w, notes)
}

// another is the change that asks for another hour, or for what is left. The leader alone
// grants it, by the same rule.
func (p *Portal) another(former v1alpha1.Snooze, bound time.Duration) (map[string]any, error) {
	now := p.deps.Now()
	granted := former.Grant(former.End(now).Add(snoozeStep).UTC().Format(time.RFC3339), now, bound)
	if granted.Until == nil || granted.Seconds == former.Seconds {
		return nil, &usedUp{bound}
	}
	return map[string]any{"metadata": map[string]any{"annotations": map[string]any{
		v1alpha1.AnnotationSnoozeUntil: granted.Until.UTC().Format(time.RFC3339),
	}}}, nil
}
