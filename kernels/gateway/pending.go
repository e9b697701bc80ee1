package gateway

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/elastichub/elastichub/kernels/wire"
)

const (
	// maxHeldFrames bounds how many frames of one socket wait for the kernel.
	maxHeldFrames = 10_000
	// maxOpenRequests bounds how many requests of one socket are followed.
	// Those beyond pass through, and are not answered if the kernel dies.
	maxOpenRequests = 4096
	// maxHeader is the longest header of a client's message, in bytes. Headers
	// of requests are kept until they are answered; real ones have 300 bytes.
	maxHeader = 16 << 10
	// requestOverhead is what a message costs beside its bytes.
	requestOverhead = 512
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
	silent  bool // an execute_request that nobody ran: variable inspectors send those
	patient bool // a debug_request that waits for the kernel, see waitsPatiently
	header  []byte
	at      time.Time
	frame   []byte // in the v1 framing; nil once it will not be sent again
	sent    bool
	started bool // the kernel has said something about it
	spoken  bool // it was answered in the kernel's stead after it was sent
}

// waitsPatiently reports whether a command for the debugger is held for a kernel that is
// parked: JupyterLab asks for debugInfo once, when a page is loaded, and what is set or
// switched off meanwhile is meant for the next run.
func waitsPatiently(command string) bool {
	switch command {
	case "debugInfo", "dumpCell", "setBreakpoints", "setExceptionBreakpoints", "disconnect":
		return true
	}
	return false
}

// cost is what is kept of a request, beside its frame, until it is answered.
func (r *request) cost() int64 { return requestOverhead + int64(len(r.header)) }

// executes reports whether somebody ran something, for which a kernel comes back.
func (r *request) executes() bool { return r.kind == wire.TypeExecuteRequest && !r.silent }

// frame is one message on its way to the kernel, in the v1 framing.
type frame struct {
	data    []byte
	request *request // nil if no reply is expected, or none is waited for
}

// size is what is kept of a frame in the queue, beside its request.
func (f frame) size() int64 {
	if f.request == nil {
		return requestOverhead + int64(cap(f.data))
	}
	return int64(cap(f.data))
}

// compact returns data, which is to be kept, or a copy if that stands for less memory.
func compact(data []byte) []byte {
	if cap(data) <= len(data)+len(data)/8 {
		return data
	}
	return append(make([]byte, 0, len(data)), data...)
}

// pendingRequests keeps what a client has sent: the frames that wait for a link, and
// the requests that are not answered. It is safe for concurrent use.
type pendingRequests struct {
	limit  int64 // of bytes held; one frame may exceed it
	budget *budget
	owner  string

	mu    sync.Mutex
	queue []frame
	open  []*request
	bytes int64
	last  []byte // header of the last execute_request that was sent
}

func newPendingRequests(limit int64, b *budget, owner string) *pendingRequests {
	return &pendingRequests{limit: limit, budget: b, owner: owner}
}

// add takes a message; data is its v1 frame and belongs to the queue from
// now on. errHeldFull if there is no room, here or in the budget: the request
// is then not followed.
func (l *pendingRequests) add(m *wire.Message, data []byte, now time.Time) (*request, error) {
	fields := m.Fields()
	var r *request
	if strings.HasSuffix(fields.Type, "_request") && (m.Channel == wire.Shell || m.Channel == wire.Control) {
		r = &request{id: string(fields.ID), kind: fields.Type, channel: m.Channel, header: slices.Clone(m.Header), at: now, frame: data}
		r.silent = r.kind == wire.TypeExecuteRequest && wire.IsTrue(m.Content, "silent")
		r.patient = r.kind == wire.TypeDebugRequest && waitsPatiently(wire.Member(m.Content, "command"))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := frame{data: data, request: r}
	if r != nil && len(l.open) >= maxOpenRequests {
		f.request = nil
	}
	cost := f.size()
	if f.request != nil {
		cost += r.cost()
	}
	if len(l.queue) >= maxHeldFrames || l.bytes > 0 && l.bytes+cost > l.limit || l.budget.hold(l.owner, cost) != nil {
		return r, errHeldFull
	}
	l.bytes += cost
	l.queue = append(l.queue, f)
	if f.request != nil {
		l.open = append(l.open, r)
	}
	return f.request, nil
}

// release lets go of n bytes; mu is held.
func (l *pendingRequests) release(n int64) {
	l.bytes -= n
	l.budget.release(l.owner, n)
}

// next takes the first frame out of the queue, to be sent.
func (l *pendingRequests) next() (frame, bool) {
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
		l.release(f.size())
		return f, true
	}
	f.request.sent = true
	if f.request.executes() {
		l.last = f.request.header
	}
	if len(f.data) > maxKeptFrame {
		l.releaseFrame(f.request)
	}
	return f, true
}

// releaseFrame lets go of a request's frame.
func (l *pendingRequests) releaseFrame(r *request) {
	if r.frame != nil {
		l.release(int64(cap(r.frame)))
	}
	r.frame = nil
}

// markStarted notes that the kernel spoke about a request, and returns it the first time.
func (l *pendingRequests) markStarted(parentID []byte) *request {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.open {
		if r.id == string(parentID) {
			if r.started {
				return nil
			}
			r.started = true
			if r.sent {
				l.releaseFrame(r)
			}
			return r
		}
	}
	return nil
}

// answered forgets a request that has its reply, and reports whether that is the
// first one.
func (l *pendingRequests) answered(parentID []byte) (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first = true
	l.open = slices.DeleteFunc(l.open, func(r *request) bool {
		if r.id != string(parentID) || !r.sent {
			return false
		}
		first = !r.spoken
		l.releaseFrame(r)
		l.release(r.cost())
		return true
	})
	return first
}

// following reports whether any request is open.
func (l *pendingRequests) following() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open) > 0
}

// wanted reports whether an execute_request waits for a link.
func (l *pendingRequests) wanted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.queue, func(f frame) bool { return f.request != nil && f.request.executes() })
}

// oldestWaiting returns the oldest execute_request of which the kernel has not said
// anything, or nil.
func (l *pendingRequests) oldestWaiting() *request {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.open {
		if r.executes() && !r.started {
			return r
		}
	}
	return nil
}

// stillWaits reports whether the kernel has not said anything about a request yet.
func (l *pendingRequests) stillWaits(r *request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !r.started && slices.Contains(l.open, r)
}

// remove removes from the queue the frames that pick chooses and forgets their
// requests. pick sees nil for a frame without one.
func (l *pendingRequests) remove(pick func(*request) bool) []*request {
	l.mu.Lock()
	defer l.mu.Unlock()
	var removed []*request
	l.queue = slices.DeleteFunc(l.queue, func(f frame) bool {
		if !pick(f.request) {
			return false
		}
		l.release(f.size())
		if f.request != nil {
			f.request.frame = nil
			removed = append(removed, f.request)
		}
		return true
	})
	l.forget(removed)
	return removed
}

// speakFor returns those requests that pick chooses, that were received before
// a time and of which the kernel has said nothing, and how old the oldest of
// the others is. The caller answers them: those that were not sent never will
// be, and the kernel's reply to the others is not the first.
func (l *pendingRequests) speakFor(pick func(*request) bool, before time.Time) (requests []*request, oldest time.Time) {
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
		l.releaseFrame(r)
	}
	l.forget(unsent)
	return requests, oldest
}

// resend puts back at the head of the queue, in order, what was sent over a link
// that broke and of which the kernel has said nothing: the agent takes no
// message twice.
func (l *pendingRequests) resend() {
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

// has reports whether a request of that msg_id is open.
func (l *pendingRequests) has(id []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.open, func(r *request) bool { return r.id == string(id) })
}

func (l *pendingRequests) forget(gone []*request) {
	l.open = slices.DeleteFunc(l.open, func(r *request) bool {
		if !slices.Contains(gone, r) {
			return false
		}
		l.release(r.cost())
		return true
	})
}

// endRun ends everything that was sent to a run that is over. Requests that the
// kernel never spoke about go back to the head of the queue, in order, if
// again is true; the others are returned.
func (l *pendingRequests) endRun(resend bool) []*request {
	l.mu.Lock()
	defer l.mu.Unlock()
	var gone, spoken []*request
	var head []frame
	for _, r := range l.open {
		switch {
		case !r.sent:
		case r.spoken:
			l.releaseFrame(r)
			spoken = append(spoken, r)
		case resend && !r.started && r.frame != nil:
			r.sent = false
			head = append(head, frame{data: r.frame, request: r})
		default:
			l.releaseFrame(r)
			gone = append(gone, r)
		}
	}
	l.queue = append(head, l.queue...)
	l.forget(gone)
	l.forget(spoken)
	return gone
}

// restarted forgets what a kernel process that is no more was asked.
func (l *pendingRequests) restarted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = slices.DeleteFunc(l.open, func(r *request) bool {
		if !r.sent || !r.started {
			return false
		}
		l.releaseFrame(r)
		l.release(r.cost())
		return true
	})
}

// lastExecute is the header of the last execute_request that was sent, or nil.
func (l *pendingRequests) lastExecute() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// leave takes out everything that waits, for adopt. The budget goes on
// counting it: whoever throws it away releases held.
func (l *pendingRequests) leave() (frames []frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	frames, l.queue = l.queue, nil
	l.bytes -= held(frames)
	l.open = slices.DeleteFunc(l.open, func(r *request) bool {
		return slices.ContainsFunc(frames, func(f frame) bool { return f.request == r })
	})
	return frames
}

// held is what frames that wait take of the budget, with their requests.
func held(frames []frame) (n int64) {
	for _, f := range frames {
		if n += f.size(); f.request != nil {
			n += f.request.cost()
		}
	}
	return n
}

// adopt takes over what other pendingRequests of the same owner's session left.
func (l *pendingRequests) adopt(frames []frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(frames, l.queue...)
	l.bytes += held(frames)
	for _, f := range frames {
		if f.request != nil {
			l.open = append(l.open, f.request)
		}
	}
}

// close lets go of everything.
func (l *pendingRequests) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue, l.open = nil, nil
	l.release(l.bytes)
}
