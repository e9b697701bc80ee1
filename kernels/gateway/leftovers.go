package gateway

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// leftFor is how long what a client had waiting is kept for its return:
	// jupyter_server tries for about 31 s.
	leftFor = 2 * time.Minute
	// maxLeft bounds what is kept for all clients together, in bytes.
	maxLeft = 128 << 20
)

// leftovers keeps what a client had waiting for its kernel when its connection
// broke, for the same session's return to this replica. Without it the cell
// would wait for ever: clients do not send a request twice.
type leftovers struct {
	now func() time.Time

	mu    sync.Mutex
	by    map[sessionKey]leftover
	bytes int64
}

type sessionKey struct {
	kernel         types.UID
	owner, session string
}

type leftover struct {
	frames []frame
	shown  *notice
	bytes  int64
	at     time.Time
}

func newLeftovers(now func() time.Time) *leftovers {
	return &leftovers{now: now, by: map[sessionKey]leftover{}}
}

// leave keeps frames, unless they are too many.
func (l *leftovers) leave(key sessionKey, frames []frame, shown *notice) {
	left := leftover{frames: frames, shown: shown, at: l.now()}
	for _, f := range frames {
		left.bytes += int64(len(f.data))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for other, o := range l.by {
		if left.at.Sub(o.at) > leftFor {
			l.remove(other)
		}
	}
	l.remove(key)
	if len(frames) == 0 || l.bytes+left.bytes > maxLeft {
		return
	}
	l.by[key] = left
	l.bytes += left.bytes
}

// collect returns what was left, once, and not too late.
func (l *leftovers) collect(key sessionKey) ([]frame, *notice) {
	l.mu.Lock()
	defer l.mu.Unlock()
	left, ok := l.by[key]
	l.remove(key)
	if !ok || l.now().Sub(left.at) > leftFor {
		return nil, nil
	}
	return left.frames, left.shown
}

func (l *leftovers) remove(key sessionKey) {
	l.bytes -= l.by[key].bytes
	delete(l.by, key)
}
