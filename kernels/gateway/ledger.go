package gateway

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/kernels/wire"
)

const (
	// maxHeldFrames bounds how many frames of one socket wait for the kernel.
	maxHeldFrames = 10_000
	// maxOpenRequests bounds how many requests of one socket are followed.
	// Those beyond pass through, and are not answered if the kernel dies.
	maxOpenRequests = 4096
	// maxKeptFrame is the size up to which a sent frame is kept until the
	// kernel shows a sign of it, in bytes.
	maxKeptFrame = 1 << 20
)

var errHeldFull = errors.New("gateway: too much is waiting for the kernel")

// request is a client's request that wants a reply.
type request struct {
	id      string
	kind    string // msg_type
	channel wire.Channel
	header  []byte
	at      time.Time
	frame   []byte // in the v1 framing; nil once it will not be sent again
	sent    bool
	started bool // the kernel has said something about it
	spoken  bool // it was answered in the kernel's stead after it was sent
}

func (r *request) executes() bool { return r.kind == wire.TypeExecuteRequest }

// frame is one message on its way to the kernel, in the v1 framing.
type frame struct {
	data    []byte
	request *request // nil if no reply is expected, or none is waited for
}

// ledger keeps what a client has sent: the frames that wait for a link, and
// the requests that are not answered. It is safe for concurrent use.
type ledger struct {
	limit int64 // of bytes held; one frame may exceed it
	held  prometheus.Gauge

	mu    sync.Mutex
	queue []frame
	open  []*request
	bytes int64
	last  []byte // header of the last execute_request that was sent
}

func newLedger(limit int64, held prometheus.Gauge) *ledger { return &ledger{limit: limit, held: held} }

// add takes a message; data is its v1 frame and belongs to the ledger from
// now on. errHeldFull if there is no room: the request is then not followed.
func (l *ledger) add(m *wire.Message, data []byte, now time.Time) (*request, error) {
	fields := m.Fields()
	var r *request
	if strings.HasSuffix(fields.Type, "_request") && (m.Channel == wire.Shell || m.Channel == wire.Control) {
		r = &request{id: string(fields.ID), kind: fields.Type, channel: m.Channel, header: slices.Clone(m.Header), at: now, frame: data}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= maxHeldFrames || l.bytes > 0 && l.bytes+int64(len(data)) > l.limit {
		return r, errHeldFull
	}
	if r != nil && len(l.open) >= maxOpenRequests {
		r = nil
	}
	if r != nil {
		l.open = append(l.open, r)
	}
	l.queue = append(l.queue, frame{data: data, request: r})
	l.count(int64(len(data)))
	return r, nil
}

func (l *ledger) count(n int64) {
	l.bytes += n
	l.held.Add(float64(n))
}

// next takes the first frame out of the queue, to be sent.
func (l *ledger) next() (frame, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		l.queue = nil
		return frame{}, false
	}
	f := l.queue[0]
	l.queue[0] = frame{}
	l.queue = l.queue[1:]
	if f.request == nil {
		l.count(-int64(len(f.data)))
		return f, true
	}
	f.request.sent = true
	if f.request.executes() {
		l.last = f.request.header
	}
	if len(f.data) > maxKeptFrame {
		l.drop(f.request)
	}
	return f, true
}

// drop lets go of a request's frame.
func (l *ledger) drop(r *request) {
	l.count(-int64(len(r.frame)))
	r.frame = nil
}

// heard notes that the kernel spoke about a request, and returns it the first time.
func (l *ledger) heard(parentID []byte) *request {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.open {
		if r.id == string(parentID) {
			if r.started {
				return nil
			}
			r.started = true
			if r.sent {
				l.drop(r)
			}
			return r
		}
	}
	return nil
}

// answered forgets a request that has its reply, and tells whether that is the
// first one.
func (l *ledger) answered(parentID []byte) (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first = true
	l.open = slices.DeleteFunc(l.open, func(r *request) bool {
		if r.id != string(parentID) || !r.sent {
			return false
		}
		first = !r.spoken
		l.drop(r)
		return true
	})
	return first
}

// following tells whether any request is open.
func (l *ledger) following() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open) > 0
}

// wanted tells whether an execute_request waits for a link.
func (l *ledger) wanted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.queue, func(f frame) bool { return f.request != nil && f.request.executes() })
}

// waits returns the oldest execute_request of which the kernel has not said
// anything, or nil.
func (l *ledger) waits() *request {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.open {
		if r.executes() && !r.started {
			return r
		}
	}
	return nil
}

// stillWaits tells whether the kernel has not said anything about a request yet.
func (l *ledger) stillWaits(r *request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !r.started && slices.Contains(l.open, r)
}

// take removes from the queue the frames that pick chooses and forgets their
// requests. pick sees nil for a frame without one.
func (l *ledger) take(pick func(*request) bool) []*request {
	l.mu.Lock()
	defer l.mu.Unlock()
	var taken []*request
	l.queue = slices.DeleteFunc(l.queue, func(f frame) bool {
		if !pick(f.request) {
			return false
		}
		l.count(-int64(len(f.data)))
		if f.request != nil {
			f.request.frame = nil
			taken = append(taken, f.request)
		}
		return true
	})
	l.forget(taken)
	return taken
}

// speakFor returns those requests that pick chooses, that were received before
// a time and of which the kernel has said nothing, and how old the oldest of
// the others is. The caller answers them: those that were not sent never will
// be, and the kernel's reply to the others is not the first.
func (l *ledger) speakFor(pick func(*request) bool, before time.Time) (requests []*request, oldest time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var unsent []*request
	for _, r := range l.open {
		switch {
		case r.started || r.spoken || !pick(r):
		case r.at.After(before):
			if oldest.IsZero() {
				oldest = r.at
			}
		case r.sent:
			r.spoken = true
			requests = append(requests, r)
		default:
			unsent = append(unsent, r)
			requests = append(requests, r)
		}
	}
	l.queue = slices.DeleteFunc(l.queue, func(f frame) bool { return f.request != nil && slices.Contains(unsent, f.request) })
	for _, r := range unsent {
		l.drop(r)
	}
	l.forget(unsent)
	return requests, oldest
}

// again puts back at the head of the queue, in order, what was sent over a link
// that broke and of which the kernel has said nothing: the agent takes no
// message twice.
func (l *ledger) again() {
	l.mu.Lock()
	defer l.mu.Unlock()
	var head []frame
	for _, r := range l.open {
		if r.sent && !r.started && !r.spoken && r.frame != nil {
			r.sent = false
			head = append(head, frame{data: r.frame, request: r})
		}
	}
	l.queue = append(head, l.queue...)
}

// has tells whether a request of that msg_id is open.
func (l *ledger) has(id []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.open, func(r *request) bool { return r.id == string(id) })
}

func (l *ledger) forget(gone []*request) {
	l.open = slices.DeleteFunc(l.open, func(r *request) bool { return slices.Contains(gone, r) })
}

// lost ends everything that was sent to a run that is over. Requests that the
// kernel never spoke about go back to the head of the queue, in order, if
// again is true; the others are returned.
func (l *ledger) lost(again bool) []*request {
	l.mu.Lock()
	defer l.mu.Unlock()
	var gone, spoken []*request
	var head []frame
	for _, r := range l.open {
		switch {
		case !r.sent:
		case r.spoken:
			l.drop(r)
			spoken = append(spoken, r)
		case again && !r.started && r.frame != nil:
			r.sent = false
			head = append(head, frame{data: r.frame, request: r})
		default:
			l.drop(r)
			gone = append(gone, r)
		}
	}
	l.queue = append(head, l.queue...)
	l.forget(gone)
	l.forget(spoken)
	return gone
}

// restarted forgets what a kernel process that is no more was asked.
func (l *ledger) restarted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = slices.DeleteFunc(l.open, func(r *request) bool {
		if !r.sent || !r.started {
			return false
		}
		l.drop(r)
		return true
	})
}

// lastExecute is the header of the last execute_request that was sent, or nil.
func (l *ledger) lastExecute() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// leave takes out everything that waits, for adopt.
func (l *ledger) leave() []frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	frames := l.queue
	l.queue = nil
	for _, f := range frames {
		l.count(-int64(len(f.data)))
	}
	return frames
}

// adopt takes over what another ledger of the same session left.
func (l *ledger) adopt(frames []frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(frames, l.queue...)
	for _, f := range frames {
		l.count(int64(len(f.data)))
		if f.request != nil {
			l.open = append(l.open, f.request)
		}
	}
}

// close lets go of everything.
func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue, l.open = nil, nil
	l.count(-l.bytes)
}
