package agent

import "time"

const (
	// behindTime is after how long a reader that acknowledges nothing keeps
	// nothing back any more: its connection is dead, or its client is.
	behindTime = 30 * time.Second
	// lingerTime is how long what a reader had not acknowledged is kept when its
	// connection broke and other readers go on.
	lingerTime = time.Minute
	// mostLingering bounds the readers of a session that are not connected.
	mostLingering = 8
)

// reader is one connection's place in a session's messages. A session has
// several when a client connects twice under one id, as jupyter_server 2.21
// does: each gets every message. Its fields are under the replay's mu.
type reader struct {
	replay *replay
	wake   chan struct{} // has one token when there may be something to take

	sent   uint64    // handed out
	acked  uint64    // acknowledged; never above taken
	owed   uint64    // missing messages ahead that it was told of
	behind time.Time // since when nothing was acknowledged, though there was something to
	left   time.Time // when the connection broke; zero while it lasts
}

// position is where a connection begins.
type position struct{ first, next, dropped uint64 }

// join adds a reader. It goes on after resume or, if that is 0, where the
// reader left off that broke off furthest back, else at what no reader has
// acknowledged.
func (r *replay) join(resume uint64) (*reader, position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := r.floor
	if resume > 0 && resume < r.next {
		from = resume
	}
	if before := r.furthestBack(); before >= 0 {
		if resume == 0 {
			from = r.readers[before].acked
		}
		r.remove(before)
	}
	reader := &reader{replay: r, wake: make(chan struct{}, 1), sent: from, acked: from}
	r.readers = append(r.readers, reader)
	r.settle()
	p := position{first: r.next, next: r.next, dropped: r.dropped}
	if i := r.index(from + 1); i < len(r.entries) {
		p.first = r.entries[i].seq
	}
	return reader, p
}

// furthestBack is the index of the reader that left with the lowest
// acknowledgement, or -1.
func (r *replay) furthestBack() int {
	found := -1
	for i, reader := range r.readers {
		if !reader.left.IsZero() && (found < 0 || reader.acked < r.readers[found].acked) {
			found = i
		}
	}
	return found
}

func (r *replay) remove(i int) {
	r.readers = append(r.readers[:i:i], r.readers[i+1:]...)
}

// settle forgets what every reader that counts has acknowledged. As long as
// none is connected and alive, nothing is forgotten.
func (r *replay) settle() {
	now := r.now()
	lowest, alive := r.next, false
	for i := len(r.readers) - 1; i >= 0; i-- {
		switch reader := r.readers[i]; {
		case reader.left.IsZero():
			if !reader.behind.IsZero() && now.Sub(reader.behind) > behindTime {
				continue
			}
			lowest, alive = min(lowest, reader.acked), true
		case now.Sub(reader.left) <= lingerTime:
			lowest = min(lowest, reader.acked)
		}
	}
	if !alive {
		return
	}
	r.forget(lowest)
	for i := len(r.readers) - 1; i >= 0; i-- {
		if left := r.readers[i].left; !left.IsZero() && now.Sub(left) > lingerTime {
			r.remove(i)
		}
	}
}

// leave ends the reader. What it has not acknowledged waits for the next one,
// unless it ended in order and others are connected.
func (d *reader) leave(inOrder bool) {
	r := d.replay
	r.mu.Lock()
	defer r.mu.Unlock()
	d.left = r.now()
	others, lingering := false, 0
	for _, reader := range r.readers {
		if reader.left.IsZero() {
			others = true
		} else {
			lingering++
		}
	}
	switch {
	case inOrder && others:
		for i, reader := range r.readers {
			if reader == d {
				r.remove(i)
				break
			}
		}
	case lingering > mostLingering:
		r.removeMostAdvanced()
	}
	r.settle()
}

// removeMostAdvanced removes the reader that left with the highest acknowledgement.
func (r *replay) removeMostAdvanced() {
	found := -1
	for i, reader := range r.readers {
		if !reader.left.IsZero() && (found < 0 || reader.acked > r.readers[found].acked) {
			found = i
		}
	}
	r.remove(found)
}

// next appends to dst the next messages for the reader, up to about maxBytes
// of them, at least one if there is one.
func (d *reader) next(dst []numbered, maxBytes int) []numbered {
	r := d.replay
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := r.index(d.sent + 1); i < len(r.entries) && maxBytes > 0; i++ {
		e := &r.entries[i]
		if gap := e.seq - 1 - d.sent; gap > 0 {
			if n, news := r.gap(d, i); news {
				dst = append(dst, n)
				maxBytes -= len(n.data)
			}
			d.owed -= min(d.owed, gap)
		}
		dst = append(dst, numbered{e.seq, e.data})
		maxBytes -= len(e.data)
		d.sent = e.seq
	}
	if d.sent > d.acked && d.behind.IsZero() {
		d.behind = r.now()
	}
	return dst
}

// ack tells that the client has everything up to seq. A number that was not
// handed out is ignored.
func (d *reader) ack(seq uint64) {
	r := d.replay
	r.mu.Lock()
	defer r.mu.Unlock()
	if seq <= d.acked || seq > d.sent {
		return
	}
	d.acked, d.behind = seq, time.Time{}
	if d.sent > d.acked {
		d.behind = r.now()
	}
	r.settle()
}

// idle reports whether the reader has had everything.
func (d *reader) idle() bool {
	r := d.replay
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.index(d.sent+1) == len(r.entries)
}
