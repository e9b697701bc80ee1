package spawner

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
)

// Reasons of the Events about notebooks, beside those of status.reason. docs/health.md has
// the table.
const (
	eventStarting = "Starting"
	eventReady    = "Ready"
)

// objectEvents are the Events about a notebook whose status has changed: two for a start,
// one when it begins and one when that is over. What comes in between is in status.progress,
// and in the Events of its Pod.
func objectEvents(before, next v1alpha1.JupyterNotebookStatus) []health.Event {
	reason := next.Reason
	if reason == "" {
		reason = string(next.Phase)
	}
	told := besides(before, next)
	if next.Reason == string(ReasonClusterError) && before.Reason != next.Reason {
		told = append(told, health.Warning(reason, next.Message))
	}
	switch again := next.Start != before.Start; next.Phase {
	case v1alpha1.NotebookReady:
		if again || before.Phase != next.Phase {
			told = append(told, health.Normal(eventReady, next.Message))
		}
	case v1alpha1.NotebookStopped:
		if before.Phase != next.Phase {
			told = append(told, health.Normal(reason, next.Message))
		}
	case v1alpha1.NotebookFailed:
		if again || before.Phase != next.Phase || before.Reason != next.Reason {
			told = append(told, health.Warning(reason, next.Message))
		}
	case v1alpha1.NotebookPending, v1alpha1.NotebookStarting:
		switch {
		case again, before.Phase == "", before.Phase == v1alpha1.NotebookStopped, before.Phase == v1alpha1.NotebookStopping, before.Phase == v1alpha1.NotebookFailed:
			told = append(told, health.Normal(eventStarting, next.Message))
		case before.Phase == v1alpha1.NotebookReady && reason != string(ReasonClusterError): // it answered, and does not any more
			told = append(told, health.Warning(reason, next.Message))
		}
	case v1alpha1.NotebookStopping: // Stopped follows
	}
	return told
}

// besides tells of what is no phase: a server that does not say when it was last used, and
// one that goes on although its spec cannot be read any more.
func besides(before, next v1alpha1.JupyterNotebookStatus) []health.Event {
	var told []health.Event
	for _, e := range health.Changes(before.Conditions, next.Conditions, map[string]metav1.ConditionStatus{ConditionAnswers: metav1.ConditionFalse}) {
		switch {
		case e.Reason == ConditionAnswers:
			told = append(told, health.Warning(string(ReasonNoAnswer), e.Message))
		case e.Reason == string(v1alpha1.ReasonMalformed) && next.Phase == before.Phase:
			told = append(told, e)
		}
	}
	return told
}
