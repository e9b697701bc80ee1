package agent

import (
	"fmt"
	"sync"

	"github.com/elastichub/elastichub/kernels/wire"
)

// entryOverhead is what an entry costs beside its frame, in bytes.
const entryOverhead = 96

// frame is one message on its way to a client, encoded once for all sessions.
type frame struct {
	data []byte // v1 framing
	// droppable: output, as opposed to what a client waits for (replies,
	// requests for input, status).
	droppable bool
}

type entry struct {
	seq  uint64
	data []byte
	// droppable as in frame. A marker has none of it and stands for what was dropped.
	droppable bool
	marker    *marker
}

// marker stands in the place of the first message that was dropped.
type marker struct {
	parent   []byte
	messages uint64
	bytes    uint64
	shown    bool // to a client
}

func (e *entry) size() int { return len(e.data) + entryOverhead }

// replay keeps a session's messages until they are acknowledged, within a
// bound. Beyond it the oldest output goes and a marker says so; only when
// there is no output left do the oldest other messages go too. The newest
// message is always kept. Numbers ascend; dropped ones are missing.
type replay struct {
	limit   int
	builder *wire.Builder
	wake    chan struct{} // has one token when there may be something to take

	mu      sync.Mutex
	entries []entry // ascending
	bytes   int
	next    uint64
	acked   uint64
	taken   uint64 // handed to the present connection
	dropped uint64
}

func newReplay(limit int, builder *wire.Builder) *replay {
	return &replay{limit: limit, builder: builder, wake: make(chan struct{}, 1), next: 1}
}

func (r *replay) add(f frame) {
	r.mu.Lock()
	r.entries = append(r.entries, entry{seq: r.next, data: f.data, droppable: f.droppable})
	r.bytes += len(f.data) + entryOverhead
	r.next++
	if r.bytes > r.limit {
		r.shrink()
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// shrink drops a quarter of the bound at once, so that its cost is spread over many messages.
func (r *replay) shrink() {
	target := r.limit - r.limit/4
	r.sweep(target, false)
	if r.bytes > target {
		r.sweep(target, true)
	}
}

// sweep drops the oldest output, or the oldest of everything, until target is met.
func (r *replay) sweep(target int, everything bool) {
	kept := r.entries[:0]
	last := len(r.entries) - 1
	// A marker that no client was shown counts on, for what the present
	// connection has had and for what it has not, one each.
	var marks [2]*marker
	side := func(seq uint64) int {
		if seq > r.taken {
			return 1
		}
		return 0
	}
	for i := range r.entries {
		e := &r.entries[i] // kept grows at most as fast as i, so it is whole until it is kept
		if e.marker != nil && !e.marker.shown {
			marks[side(e.seq)] = e.marker
		}
		eligible := e.droppable || everything && e.marker == nil
		if i == last || r.bytes <= target || !eligible {
			kept = append(kept, *e)
			continue
		}
		bytes := len(e.data)
		r.bytes -= e.size()
		r.dropped++
		mark := marks[side(e.seq)]
		if mark == nil {
			mark = &marker{}
			marks[side(e.seq)] = mark
			if m, err := wire.ParseV1(e.data); err == nil {
				mark.parent = append([]byte(nil), m.ParentHeader...)
			}
			kept = append(kept, entry{seq: e.seq, marker: mark})
			r.bytes += entryOverhead
		}
		mark.messages++
		mark.bytes += uint64(bytes)
	}
	clear(r.entries[len(kept):])
	r.entries = kept
}

// numbered is a frame with its number.
type numbered struct {
	seq  uint64
	data []byte
}

// take appends to dst the next messages that the present connection has not
// had, up to about maxBytes of them, at least one if there is one.
func (r *replay) take(dst []numbered, maxBytes int) []numbered {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := r.index(r.taken + 1); i < len(r.entries) && maxBytes > 0; i++ {
		e := &r.entries[i]
		data := e.data
		if e.marker != nil {
			data = r.notice(e.marker)
			e.marker.shown = true
		}
		dst = append(dst, numbered{e.seq, data})
		maxBytes -= len(data)
		r.taken = e.seq
	}
	return dst
}

func (r *replay) notice(m *marker) []byte {
	text := fmt.Sprintf("[%d messages of output (%s) were dropped here: nobody read them in time]\n", m.messages, size(m.bytes))
	message := r.builder.Stream(m.parent, "stderr", text)
	return message.AppendV1(nil)
}

func size(bytes uint64) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%d KB", (bytes+999)/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
}

// index of the first entry whose number is at least seq.
func (r *replay) index(seq uint64) int {
	lo, hi := 0, len(r.entries)
	for lo < hi {
		mid := (lo + hi) / 2
		if r.entries[mid].seq < seq {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// ack forgets everything up to seq. A number that was not handed out is ignored.
func (r *replay) ack(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seq <= r.acked || seq >= r.next {
		return
	}
	r.acked = seq
	n := r.index(seq + 1)
	for i := range r.entries[:n] {
		r.bytes -= r.entries[i].size()
	}
	clear(r.entries[:n])
	r.entries = r.entries[n:]
	if len(r.entries) == 0 {
		r.entries = nil // a burst's array goes with it
	}
}

// position is where a connection begins.
type position struct{ first, next, dropped uint64 }

// connect rewinds to the last acknowledgement, or forward to resume if that is later.
func (r *replay) connect(resume uint64) position {
	r.ack(resume)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken = r.acked
	p := position{first: r.next, next: r.next, dropped: r.dropped}
	if len(r.entries) > 0 {
		p.first = r.entries[0].seq
	}
	return p
}

// idle tells whether the present connection has had everything.
func (r *replay) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.index(r.taken+1) == len(r.entries)
}
