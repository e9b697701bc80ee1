package gateway

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

const (
	// restFor is how long the id of a removed kernel is refused to others: longer
	// than a cache lags behind, a client that does not read stays connected
	// (stallLimit), and what it left is kept (leftFor).
	restFor = 10 * time.Minute
	// maxResting bounds how many ids rest; the oldest give way.
	maxResting = 1 << 16
)

// resting are the ids of removed kernels, which a client may choose again. Each
// replica learns of every removal from its informer, and of its own at once; a
// new process knows of none from before. What holds all the same, at every
// replica and over restarts, is that sockets, writes and the secrets of agents
// are bound to the object's UID: this keeps the clients of the earlier kernel
// from taking the later one for theirs.
type resting struct {
	now func() time.Time

	mu    sync.Mutex
	by    map[types.NamespacedName]rested
	queue []rested // by age
}

type rested struct {
	kernel types.NamespacedName
	owner  string
	at     time.Time
}

func newResting(now func() time.Time) *resting {
	return &resting{now: now, by: map[types.NamespacedName]rested{}}
}

// rest notes that a kernel was removed.
func (r *resting) rest(k *v1alpha1.JupyterKernel) {
	e := rested{kernel: client.ObjectKeyFromObject(k), owner: ownerOf(k), at: r.now()}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.by[e.kernel] = e
	r.queue = append(r.queue, e)
	for len(r.queue) > maxResting || e.at.Sub(r.queue[0].at) > restFor {
		if old := r.queue[0]; r.by[old.kernel] == old {
			delete(r.by, old.kernel)
		}
		r.queue = r.queue[1:]
	}
}

// rests reports whether an id was another owner's too short a time ago.
func (r *resting) rests(kernel types.NamespacedName, owner string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, known := r.by[kernel]
	return known && e.owner != owner && r.now().Sub(e.at) <= restFor
}
