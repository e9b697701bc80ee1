package holdings

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podtrouble"
)

// Event is something that happened to a kernel or a server.
type Event struct {
	Time time.Time `json:"time"`
	// Reason is a CamelCase word, empty for a step of a start.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message"`
	Warning bool   `json:"warning,omitempty"`
	// Count is how often it happened, the last time at Time.
	Count int32 `json:"count"`
}

// MostRead bounds what is read of the Events that each of EventSelectors chooses.
const MostRead = 100

// EventSelectors choose the Events of an object, and those of its present Pod if it has one.
func EventSelectors(o metav1.Object, pod string) []fields.Selector {
	all := []fields.Selector{fields.Set{"involvedObject.uid": string(o.GetUID())}.AsSelector()}
	if pod != "" {
		all = append(all, fields.Set{"involvedObject.kind": "Pod", "involvedObject.name": pod}.AsSelector())
	}
	return all
}

// EventsOf lists what happened, the latest first, at most so many: what the cluster
// tells, in words for people where they are known, and the steps of a server's start.
func EventsOf(told []corev1.Event, start []v1alpha1.NotebookProgress, most int) []Event {
	all := make([]Event, 0, len(told)+len(start))
	for i := range told {
		e := &told[i]
		all = append(all, Event{Time: happened(e), Reason: e.Reason, Message: podtrouble.OfEvent(e.Reason, e.Message), Warning: e.Type == corev1.EventTypeWarning, Count: countOf(e)})
	}
	for _, step := range start {
		all = append(all, Event{Time: step.Time.Time, Message: step.Message, Warning: step.Outcome == v1alpha1.OutcomeFailed, Count: 1})
	}
	slices.SortStableFunc(all, func(a, b Event) int { return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.Reason, b.Reason)) })
	return all[:min(len(all), most)]
}

// countOf is how often an Event happened; recorders of either API count in another field.
func countOf(e *corev1.Event) int32 {
	if e.Series != nil {
		return max(e.Series.Count, 1)
	}
	return max(e.Count, 1)
}

func happened(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}
