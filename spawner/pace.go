package spawner

import (
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// tellEvery is how often the status of a start is written while it stays in one phase. Kubelets
// tell of several steps within moments, and whoever waits sees each of them all the same.
const tellEvery = time.Second

// untilTold is how long the next status may wait; zero: it is written now. A new phase never
// waits, nor does a trouble, which has its own time.
func untilTold(before, next v1alpha1.JupyterNotebookStatus, now time.Time) time.Duration {
	switch next.Phase {
	case v1alpha1.NotebookPending, v1alpha1.NotebookStarting:
	case v1alpha1.NotebookReady, v1alpha1.NotebookFailed, v1alpha1.NotebookStopping, v1alpha1.NotebookStopped:
		return 0
	}
	told := before.Progress
	if len(told) == 0 || next.Start != before.Start || next.Phase != before.Phase || inTrouble(next) != inTrouble(before) {
		return 0
	}
	return min(told[len(told)-1].Time.Add(tellEvery).Sub(now), tellEvery)
}

func inTrouble(status v1alpha1.JupyterNotebookStatus) bool {
	return apimeta.IsStatusConditionTrue(status.Conditions, ConditionTrouble)
}

// shorter is the shorter of two waits, of which zero is none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}
