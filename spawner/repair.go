package spawner

import (
	"cmp"
	"context"
	"encoding/json"
	"math/rand/v2"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// What was made for a notebook is kept as it was made, whoever edits or deletes it. A
// Deployment bears the spec that it was made with, in AnnotationBuilt: to build that anew
// would give another one after an upgrade of elastichub, and replace the Pod.

const (
	// repairRetry is when to try again what the cluster has refused for a server that runs.
	repairRetry = 10 * time.Second
	// secretsEvery is how often the Secrets of a server that runs are looked at: they are not
	// watched, and matter when its Pod is made anew, which is another occasion. While that does
	// not answer, they are looked at secretsAgain at most.
	secretsEvery = time.Hour
	secretsAgain = 10 * time.Second
	// maxMark bounds, in bytes, what is written into an annotation; an object may have 256 KiB
	// of them. A Deployment with a larger spec is not repaired.
	maxMark = 192 << 10
)

// builtMark is the value of AnnotationBuilt.
type builtMark struct {
	// Notebook is the generation of the notebook, and Deployment that of the Deployment,
	// in which its spec was made.
	Notebook   string                `json:"notebook"`
	Deployment int64                 `json:"deployment"`
	Spec       appsv1.DeploymentSpec `json:"spec"`
}

// mark writes on a Deployment what it is made with by the write that makes this
// generation of it: the API server counts one up when an annotation changes, too.
func mark(d *appsv1.Deployment, generation int64, spec appsv1.DeploymentSpec) {
	made := mustJSON(builtMark{d.Annotations[v1alpha1.AnnotationGeneration], generation, spec})
	if len(made) > maxMark {
		delete(d.Annotations, v1alpha1.AnnotationBuilt)
		return
	}
	d.Annotations[v1alpha1.AnnotationBuilt] = string(made)
}

// madeAs is the spec of a Deployment that somebody has changed since it was made; nil if
// nobody has, or if nobody knows: a former release has made no mark, or only one for an
// earlier generation of the notebook.
func madeAs(d *appsv1.Deployment) *appsv1.DeploymentSpec {
	var m builtMark
	if json.Unmarshal([]byte(d.Annotations[v1alpha1.AnnotationBuilt]), &m) != nil ||
		m.Notebook != d.Annotations[v1alpha1.AnnotationGeneration] || m.Deployment == d.Generation {
		return nil
	}
	return &m.Spec
}

// remark renews the mark of a Deployment for the write that makes change to it. What others
// have changed in it before stays known as that.
func remark(d, was *appsv1.Deployment, change func(*appsv1.Deployment)) {
	var m builtMark
	if json.Unmarshal([]byte(was.Annotations[v1alpha1.AnnotationBuilt]), &m) != nil || m.Notebook != was.Annotations[v1alpha1.AnnotationGeneration] {
		return
	}
	made := &appsv1.Deployment{Spec: m.Spec}
	made.Annotations = map[string]string{}
	change(made)
	generation := m.Deployment
	if generation == was.Generation {
		generation++
	}
	mark(d, generation, made.Spec)
}

// restartedAt is what `kubectl rollout restart` writes to have Pods replaced.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

// keepRestart keeps it through a start: to take it away would replace the Pod once more.
func keepRestart(have, want *appsv1.DeploymentSpec) {
	at, restarted := have.Template.Annotations[restartedAt]
	if restarted && have.Template.Annotations[v1alpha1.AnnotationStart] == want.Template.Annotations[v1alpha1.AnnotationStart] {
		want.Template.Annotations[restartedAt] = at
	}
}

// restore takes back what others have changed in a Deployment.
func (c *controller) restore(ctx context.Context, d *appsv1.Deployment) error {
	want := madeAs(d)
	if want == nil {
		return nil
	}
	changed := d.DeepCopy()
	changed.Spec = *want.DeepCopy()
	changed.Spec.Selector = d.Spec.Selector // immutable
	keepRestart(&d.Spec, &changed.Spec)
	mark(changed, d.Generation+1, *want)
	if err := c.client.Patch(ctx, changed, podrules.PatchOver(d)); err != nil {
		return writeFault(err, "Deployment")
	}
	*d = *changed
	return nil
}

// repair makes anew what a server that runs has lost. What stands in the way is told in
// its status, but takes no Pod away.
func (c *controller) repair(ctx context.Context, o *observed) error {
	nb := o.notebook
	err := c.ensureService(ctx, nb)
	if err == nil {
		err = c.restore(ctx, o.deployment)
	}
	if err == nil {
		err = c.awaitPod(ctx, o)
	}
	ready := nb.Status.Phase == v1alpha1.NotebookReady
	if err == nil && o.credentials.missing == nil && c.looked.due(nb, current(nb, o.pods), c.now()) {
		if err = c.putToken(ctx, nb, tokenOf(o.deployment, nb)); err == nil {
			by := cmp.Or(deriver(c.issuer, o.deployment.Spec.Template.Annotations[v1alpha1.AnnotationAuthVersion]), c.issuer)
			_, err = c.authFiles(ctx, by, nb, o.credentials)
		}
	}
	if err == nil && ready {
		err = c.renewAuth(ctx, o)
	}
	return whileRunning(err)
}

// looked is when the Secrets of servers were looked at; a new leader begins anew, and
// spreads that.
type looked struct{ of sync.Map } // types.NamespacedName → lookedAt

type lookedAt struct {
	at time.Time
	// pod was the server's, empty if there was none.
	pod types.UID
}

// due reports whether they are to be looked at now, and takes it that they are. pod is the
// server's, nil if there is none.
func (l *looked) due(nb *v1alpha1.JupyterNotebook, pod *corev1.Pod, now time.Time) bool {
	name, present := client.ObjectKeyFromObject(nb), types.UID("")
	if pod != nil {
		present = pod.UID
	}
	known, found := l.of.Load(name)
	ready := nb.Status.Phase == v1alpha1.NotebookReady
	if !found && ready {
		spread := time.Duration(rand.Int64N(int64(secretsEvery))) //nolint:gosec // no secret
		l.of.Store(name, lookedAt{now.Add(-spread), present})
		return false
	}
	if found {
		last, every := known.(lookedAt), secretsEvery
		if !ready {
			every = secretsAgain
		}
		if now.Sub(last.at) < every && (ready || last.pod == present) {
			return false
		}
	}
	l.note(nb, present, now)
	return true
}

// note is told that they are as they should be for a Pod.
func (l *looked) note(nb *v1alpha1.JupyterNotebook, pod types.UID, now time.Time) {
	l.of.Store(client.ObjectKeyFromObject(nb), lookedAt{now, pod})
}

// left is until they are to be looked at; zero: they are not.
func (l *looked) left(nb types.NamespacedName, now time.Time) time.Duration {
	last, known := l.of.Load(nb)
	if !known {
		return 0
	}
	return max(last.(lookedAt).at.Add(secretsEvery).Sub(now), time.Second)
}

// soon has them looked at in the next pass.
func (l *looked) soon(nb types.NamespacedName) { l.of.Store(nb, lookedAt{}) }

func (l *looked) forget(nb types.NamespacedName) { l.of.Delete(nb) }
