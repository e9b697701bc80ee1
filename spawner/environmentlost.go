package spawner

import (
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// environmentPatience is how long a server of the Hub waits for what the Hub gives it, which is
// written together with its start. A notebook that was restored from a backup without its
// Secrets would wait for ever: only the Hub can make that anew, by another start.
const environmentPatience = 2 * time.Minute

// setEnvironmentCondition notes since when a server of the Hub waits for its environment.
func setEnvironmentCondition(o observed, next *v1alpha1.JupyterNotebookStatus) {
	if !o.notebook.IsOfHub() || next.Phase != v1alpha1.NotebookPending || next.Reason != string(ReasonWaitingForEnvironment) {
		apimeta.RemoveStatusCondition(&next.Conditions, ConditionEnvironment)
		return
	}
	setCondition(o, next, ConditionEnvironment, false, ReasonWaitingForEnvironment, next.Message)
}

// environmentLost reports whether a server has waited long enough. It is stopped then, as one
// that the Hub may start again: its parked kernels stay.
func environmentLost(nb *v1alpha1.JupyterNotebook, status v1alpha1.JupyterNotebookStatus, now time.Time) bool {
	waits := apimeta.FindStatusCondition(status.Conditions, ConditionEnvironment)
	return !nb.Spec.Stopped && waits != nil && waits.Status == metav1.ConditionFalse && now.Sub(waits.LastTransitionTime.Time) >= environmentPatience
}
