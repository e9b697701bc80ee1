package agent

import (
	"context"
	"time"
)

const (
	// largeOutput is the size of messages, in bytes, that may wait in the kernel:
	// libzmq keeps 1000 messages for a subscriber that does not read, whatever
	// their size, and drops what comes then without a word. Small ones come too
	// fast for that; they are read at once, and dropped here, with a word.
	largeOutput = 64 << 10
	// stallTime is how long a reader may acknowledge nothing before nobody waits
	// for it any more.
	stallTime = 5 * time.Second
	// askForRoom is after what time a full buffer is looked at again.
	askForRoom = 2 * time.Millisecond
)

// crowding is how full the buffer of a session is that somebody reads.
type crowding int

const (
	unread  crowding = iota // nobody reads, or has lately
	roomy                   // there is room for much more
	crowded                 // half full of large messages
)

func (r *replay) crowding() crowding {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, read := r.now(), false
	for _, reader := range r.readers {
		read = read || reader.left.IsZero() && (reader.behind.IsZero() || now.Sub(reader.behind) <= stallTime)
	}
	switch {
	case !read:
		return unread
	case r.bytes > r.limit/2 && r.bytes > largeOutput*len(r.entries):
		return crowded
	}
	return roomy
}

// awaitRoom is called between two large messages of the kernel's output. It
// returns when a session that reads has room for more; others do not hold it up.
func (a *agent) awaitRoom(ctx context.Context) {
	for a.crowded() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(askForRoom):
		}
	}
}

// crowded reports whether every session that reads is.
func (a *agent) crowded() bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	found := false
	for _, s := range a.sessions {
		switch s.out.crowding() {
		case roomy:
			return false
		case crowded:
			found = true
		case unread:
		}
	}
	return found
}
