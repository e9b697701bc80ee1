package health

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/reference"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Event is something that is told about an object.
type Event struct {
	Type    string // corev1.EventTypeNormal or corev1.EventTypeWarning
	Reason  string // a CamelCase word
	Message string
}

// Normal is an Event of what happens as it should.
func Normal(reason, message string) Event { return Event{corev1.EventTypeNormal, reason, message} }

// Warning is an Event of what somebody may have to look at.
func Warning(reason, message string) Event { return Event{corev1.EventTypeWarning, reason, message} }

// Recorder writes Events in the background. The zero value writes none.
type Recorder struct {
	to     events.EventRecorder
	scheme *runtime.Scheme
}

// NewRecorder writes through the recorder of a manager, which counts an Event that repeats
// within some minutes instead of writing it again.
func NewRecorder(mgr cluster.Cluster) Recorder {
	return RecorderTo(mgr.GetEventRecorder(v1alpha1.ManagedBy), mgr.GetScheme())
}

// RecorderTo writes through any recorder, of objects whose kinds scheme knows.
func RecorderTo(to events.EventRecorder, scheme *runtime.Scheme) Recorder {
	return Recorder{to, scheme}
}

const (
	// maxNote is what the API server takes of a message, in bytes.
	maxNote = 1024
	// action is what Events say that was done: a status was written.
	action = "UpdateStatus"
)

// Tell writes Events about an object.
func (r Recorder) Tell(about client.Object, told ...Event) {
	if r.to == nil || len(told) == 0 {
		return
	}
	of, err := reference.GetReference(r.scheme, about)
	if err != nil {
		return // it is none of a kind that anybody knows
	}
	of.ResourceVersion = "" // with it no Event would be like another
	for _, e := range told {
		r.to.Eventf(of, nil, e.Type, e.Reason, action, "%s", clip(e.Message))
	}
}

func clip(text string) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= maxNote {
		return text
	}
	const more = "…"
	return strings.ToValidUTF8(text[:maxNote-len(more)], "") + more
}

// Changes are the Events about an object whose conditions have changed: how it stands now
// and why, and those of the conditions in warn that have become what they warn of. The
// reason of an Event of those is the condition's type.
func Changes(before, now []metav1.Condition, warn map[string]metav1.ConditionStatus) []Event {
	var told []Event
	was, formerReason, _ := Of(before)
	is, reason, message := Of(now)
	switch {
	case reason == "" || was == is && formerReason == reason:
	case is == Stalled, is == Coming && was == Ready:
		told = append(told, Warning(reason, message))
	default:
		told = append(told, Normal(reason, message))
	}
	for _, c := range now {
		bad, watched := warn[c.Type]
		if !watched || c.Status != bad {
			continue
		}
		if old := meta.FindStatusCondition(before, c.Type); old == nil || old.Status != bad || old.Message != c.Message {
			told = append(told, Warning(c.Type, c.Message))
		}
	}
	return slices.Clip(told)
}
