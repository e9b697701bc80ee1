package gateway

import (
	"sync"
	"time"
)

const (
	// refusalsEach bounds the lines about one client and one kind of error in
	// refusalsTime.
	refusalsEach = 5
	refusalsTime = 10 * time.Second
	// maxRefused bounds how many of those are told apart.
	maxRefused = 1000
)

// refusals keeps clients that are refused again and again from filling the
// log. Metrics count all of them.
type refusals struct {
	now func() time.Time

	mu sync.Mutex
	by map[string]*refused // by client and kind
}

type refused struct {
	since time.Time
	lines int
	more  int // not written
}

func newRefusals(now func() time.Time) *refusals {
	return &refusals{now: now, by: map[string]*refused{}}
}

// write reports whether a line about a client may be written, and how many were
// not since the last one.
func (r *refusals) write(client string) (more int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	c := r.by[client]
	if c == nil {
		if len(r.by) >= maxRefused {
			for old, known := range r.by {
				if now.Sub(known.since) >= refusalsTime {
					delete(r.by, old)
				}
			}
		}
		if len(r.by) >= maxRefused {
			client = "" // the rest of them count as one
			c = r.by[client]
		}
		if c == nil {
			c = &refused{since: now}
			r.by[client] = c
		}
	}
	if now.Sub(c.since) >= refusalsTime {
		c.since, c.lines = now, 0
	}
	if c.lines >= refusalsEach {
		c.more++
		return 0, false
	}
	c.lines++
	more, c.more = c.more, 0
	return more, true
}
