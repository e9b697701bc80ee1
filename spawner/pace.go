package spawner

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// tellEvery is how often the status of a start is written while it stays in one phase. Kubelets
// tell of several steps within moments, and whoever waits sees each of them all the same.
const tellEvery = time.Second

// written is what the leader remembers of the status that it wrote last of each notebook. A
// new one begins without it.
type written struct{ of sync.Map } // types.NamespacedName → writtenStatus

type writtenStatus struct {
	nb *v1alpha1.JupyterNotebook // its UID and version alone
	at time.Time
}

func (w *written) note(nb *v1alpha1.JupyterNotebook, now time.Time) {
	version := &v1alpha1.JupyterNotebook{}
	version.UID, version.ResourceVersion = nb.UID, nb.ResourceVersion
	w.of.Store(client.ObjectKeyFromObject(nb), writtenStatus{version, now})
}

// last is the last write of this very object; false if none is known.
func (w *written) last(nb *v1alpha1.JupyterNotebook) (writtenStatus, bool) {
	known, found := w.of.Load(client.ObjectKeyFromObject(nb))
	if !found || known.(writtenStatus).nb.UID != nb.UID {
		return writtenStatus{}, false
	}
	return known.(writtenStatus), true
}

// isAheadOf reports whether a notebook, as a cache has it, is older than what was written:
// whatever came of it would only be refused.
func (w *written) isAheadOf(nb *v1alpha1.JupyterNotebook) bool {
	last, known := w.last(nb)
	return known && older(nb, last.nb)
}

func (w *written) forget(nb types.NamespacedName) { w.of.Delete(nb) }

// untilTold is how long the next status of a notebook may wait; zero: it is written now. A new
// phase never waits, nor does a trouble, which has its own time.
func (c *controller) untilTold(nb *v1alpha1.JupyterNotebook, next v1alpha1.JupyterNotebookStatus) time.Duration {
	switch next.Phase {
	case v1alpha1.NotebookPending, v1alpha1.NotebookStarting:
	case v1alpha1.NotebookReady, v1alpha1.NotebookFailed, v1alpha1.NotebookStopping, v1alpha1.NotebookStopped:
		return 0
	}
	last, known := c.written.last(nb)
	if !known || equality.Semantic.DeepEqual(nb.Status, next) || next.Start != nb.Status.Start || next.Phase != nb.Status.Phase || inTrouble(next) != inTrouble(nb.Status) {
		return 0
	}
	return min(last.at.Add(tellEvery).Sub(c.now()), tellEvery)
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
