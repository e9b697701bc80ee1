package agent

import (
	"fmt"
	"sync"
	"time"

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
	seq uint64
	frame
}

func (e *entry) size() int { return len(e.data) + entryOverhead }

// replay keeps a session's messages until all its readers have acknowledged
// them, within a bound. Beyond it the oldest output goes; only when there is no
// output left do the oldest other messages go too. The newest message is always
// kept. Numbers ascend; dropped ones are missing, and a reader that comes to
// such a gap is told how much it missed.
type replay struct {
	limit   int
	builder *wire.Builder
	now     func() time.Time

	mu      sync.Mutex
	entries []entry // ascending
	bytes   int
	next    uint64
	floor   uint64    // everything up to here is forgotten, for it was acknowledged
	readers []*reader // connected, and lately so
	dropped uint64
	lost    []byte // parent of the newest message that was dropped
}

func newReplay(limit int, builder *wire.Builder) *replay {
	return &replay{limit: limit, builder: builder, now: time.Now, next: 1}
}

func (r *replay) add(f frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, entry{r.next, f})
	r.bytes += len(f.data) + entryOverhead
	r.next++
	if r.bytes > r.limit {
		r.shrink()
	}
	for _, reader := range r.readers {
		select {
		case reader.wake <- struct{}{}:
		default:
		}
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
	var newest []byte
	for i := range r.entries {
		e := r.entries[i]
		if i == last || r.bytes <= target || !e.droppable && !everything {
			kept = append(kept, e)
			continue
		}
		newest = e.data
		r.bytes -= e.size()
		r.dropped++
	}
	clear(r.entries[len(kept):])
	r.entries = kept
	if m, err := wire.ParseV1(newest); err == nil {
		r.lost = append(r.lost[:0], m.ParentHeader...)
	}
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

// forget lets go of everything up to seq.
func (r *replay) forget(seq uint64) {
	if seq <= r.floor {
		return
	}
	r.floor = seq
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

// numbered is a frame with its number.
type numbered struct {
	seq  uint64
	data []byte
}

// gap makes the notice of what a reader misses before the entry i, if there is
// news. It bears the number of the last message of the gap, and speaks of all
// gaps that are ahead.
func (r *replay) gap(d *reader, i int) (notice numbered, news bool) {
	missing := r.next - 1 - d.sent - uint64(len(r.entries)-i)
	if missing <= d.owed {
		return numbered{}, false
	}
	text := fmt.Sprintf("[%d messages of output were dropped here: nobody read them in time]\n", missing-d.owed)
	d.owed = missing
	message := r.builder.Stream(r.lost, "stderr", text)
	return numbered{r.entries[i].seq - 1, message.AppendV1(nil)}, true
}
