package lifecycle

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
)

// TestEventsOf transitions; docs/health.md has the same table.
func TestEventsOf(t *testing.T) {
	at := func(phase v1alpha1.KernelPhase, run int64, change ...func(*v1alpha1.JupyterKernelStatus)) v1alpha1.JupyterKernelStatus {
		s := v1alpha1.JupyterKernelStatus{Phase: phase, Run: run, Message: "Why."}
		for _, f := range change {
			f(&s)
		}
		return s
	}
	caused := func(cause v1alpha1.KernelCause) func(*v1alpha1.JupyterKernelStatus) {
		return func(s *v1alpha1.JupyterKernelStatus) { s.Cause, s.Reason = cause, string(cause) }
	}
	waits := func(position int32) func(*v1alpha1.JupyterKernelStatus) {
		return func(s *v1alpha1.JupyterKernelStatus) {
			s.Queue = &v1alpha1.QueueStatus{Position: position, Length: 3, Reason: "all GPUs are in use"}
		}
	}
	condition := func(kind, reason string) func(*v1alpha1.JupyterKernelStatus) {
		return func(s *v1alpha1.JupyterKernelStatus) {
			s.Reason = reason
			s.Conditions = append(s.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: reason + "."})
		}
	}
	holds := func(s *v1alpha1.JupyterKernelStatus) {
		s.Held = corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("2"), "a/b": resource.MustParse("1")}
	}
	clean := func(s *v1alpha1.JupyterKernelStatus) {
		s.Conditions = []metav1.Condition{{Type: ConditionSucceeded, Status: metav1.ConditionTrue}}
	}
	const queued, begins, ready, parked, dead = v1alpha1.KernelQueued, v1alpha1.KernelStarting, v1alpha1.KernelReady, v1alpha1.KernelParked, v1alpha1.KernelDead
	for name, row := range map[string]struct {
		former, now v1alpha1.JupyterKernelStatus
		want        []health.Event
	}{
		"it is new":                      {at("", 0), at(queued, 1), nil},
		"it waits":                       {at(queued, 1), at(queued, 1, waits(2)), []health.Event{health.Normal("Waiting", "Position 2 of 3: all GPUs are in use.")}},
		"it waits on":                    {at(queued, 1, waits(2)), at(queued, 1, waits(1)), nil},
		"it lacks something":             {at(queued, 1), at(queued, 1, condition(ConditionResolved, "KernelSpecMissing")), []health.Event{health.Warning("KernelSpecMissing", "KernelSpecMissing.")}},
		"it still lacks that":            {at(queued, 1, condition(ConditionResolved, "KernelSpecMissing")), at(queued, 1, condition(ConditionResolved, "KernelSpecMissing")), nil},
		"it is admitted":                 {at(queued, 1, waits(1)), at(begins, 1, holds), []health.Event{health.Normal("Admitted", "Run 1 may start, and holds 1 a/b, 2 nvidia.com/gpu.")}},
		"it is admitted without devices": {at(queued, 1), at(begins, 1), []health.Event{health.Normal("Admitted", "Run 1 may start.")}},
		"its Pod does not start":         {at(begins, 1), at(begins, 1, condition(ConditionStartable, "Unschedulable")), []health.Event{health.Warning("Unschedulable", "Unschedulable.")}},
		"its Pod is taken away":          {at(begins, 1), at(queued, 1), []health.Event{health.Warning("StartedAnew", "Why.")}},
		"it is up":                       {at(begins, 1), at(ready, 1), []health.Event{health.Normal("Ready", "The kernel's agent answers.")}},
		"its agent does not answer":      {at(ready, 1), at(ready, 1, condition(ConditionAgentReachable, "NoAnswer")), []health.Event{health.Warning("NoAnswer", "NoAnswer.")}},
		"it is parked":                   {at(ready, 1), at(parked, 1, caused(v1alpha1.CauseIdle)), []health.Event{health.Normal("Parked", "Why.")}},
		"it is parked still":             {at(parked, 1, caused(v1alpha1.CauseIdle)), at(parked, 1, caused(v1alpha1.CauseIdle)), nil},
		"another run":                    {at(parked, 1, caused(v1alpha1.CauseIdle)), at(queued, 2), nil},
		"it is refused":                  {at(queued, 2), at(dead, 2, caused(v1alpha1.CauseRefused)), []health.Event{health.Warning("Refused", "Why.")}},
		"it dies":                        {at(ready, 2), at(dead, 2, caused(v1alpha1.CauseOutOfMemory)), []health.Event{health.Warning("OutOfMemory", "Why.")}},
		"it has done its work":           {at(ready, 2), at(dead, 2, caused(v1alpha1.CauseKernelExited), clean), []health.Event{health.Normal("Ended", "Why.")}},
	} {
		assert.Equal(t, row.want, EventsOf(row.former, row.now), name)
	}
}
