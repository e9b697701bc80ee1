package gateway

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/kernels/wire"
)

// activity is what the sockets of this replica see of their kernels.
type activity struct {
	mu      sync.Mutex
	kernels map[types.UID]*seenHere
	users   map[string]int // open sockets by owner
	perUser int
}

type seenHere struct {
	seen
	linked int // sockets with a link: only then is state worth anything
}

func newActivity(perUser int) *activity {
	return &activity{kernels: map[types.UID]*seenHere{}, users: map[string]int{}, perUser: perUser}
}

// open counts a socket; it is refused when its owner has too many.
func (a *activity) open(kernel types.UID, owner string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.users[owner] >= a.perUser {
		return fail(kindForbidden, "You have too many open connections to kernels.")
	}
	a.users[owner]++
	if a.kernels[kernel] == nil {
		a.kernels[kernel] = &seenHere{}
	}
	a.kernels[kernel].connections++
	return nil
}

func (a *activity) close(kernel types.UID, owner string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.users[owner]--; a.users[owner] == 0 {
		delete(a.users, owner)
	}
	k := a.kernels[kernel]
	if k.connections--; k.connections == 0 {
		delete(a.kernels, kernel)
	}
}

// link counts a link to the kernel's agent, d being 1 or -1.
func (a *activity) link(kernel types.UID, d int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if k := a.kernels[kernel]; k != nil {
		if k.linked += d; k.linked == 0 {
			k.state = ""
		}
	}
}

// note takes a state that the kernel announced; empty for any other sign of life.
func (a *activity) note(kernel types.UID, state wire.State, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := a.kernels[kernel]
	if k == nil {
		return
	}
	if state != "" {
		k.state = state
	}
	k.activity = now
}

// of returns what this replica knows of a kernel.
func (a *activity) of(kernel types.UID) seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	if k := a.kernels[kernel]; k != nil {
		return k.seen
	}
	return seen{}
}
