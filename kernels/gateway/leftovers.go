package gateway

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// leftFor is how long what a client had waiting is kept for its return:
// jupyter_server tries for about 31 s.
const leftFor = 2 * time.Minute

// leftovers keeps what a client had waiting for its kernel when its connection
// broke, for the same session's return to this replica. Without it the cell
// would wait for ever: clients do not send a request twice. It goes on to count
// in the budget, as held for its owner.
type leftovers struct {
	now    func() time.Time
	budget *budget

	mu sync.Mutex
	by map[sessionKey]leftover
}

type sessionKey struct {
	kernel         types.UID
	owner, session string
}

type leftover struct {
	frames []frame
	shown  *notice
	at     time.Time
}

func newLeftovers(now func() time.Time, b *budget) *leftovers {
	return &leftovers{now: now, budget: b, by: map[sessionKey]leftover{}}
}

// leave keeps frames for a while.
func (l *leftovers) leave(key sessionKey, frames []frame, shown *notice) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(key)
	if len(frames) == 0 {
		return
	}
	l.by[key] = leftover{frames: frames, shown: shown, at: l.now()}
	time.AfterFunc(leftFor+time.Second, l.sweep)
}

// sweep throws away what nobody has come back for.
func (l *leftovers) sweep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, left := range l.by {
		if l.now().Sub(left.at) > leftFor {
			l.drop(key)
		}
	}
}

// collect returns what was left, once, and not too late.
func (l *leftovers) collect(key sessionKey) ([]frame, *notice) {
	l.mu.Lock()
	defer l.mu.Unlock()
	left, ok := l.by[key]
	if !ok || l.now().Sub(left.at) > leftFor {
		l.drop(key)
		return nil, nil
	}
	delete(l.by, key)
	return left.frames, left.shown
}

// drop throws away what was left, if anything; mu is held.
func (l *leftovers) drop(key sessionKey) {
	if left, ok := l.by[key]; ok {
		l.budget.release(key.owner, held(left.frames))
		delete(l.by, key)
	}
}
