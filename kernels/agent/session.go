package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/elastichub/elastichub/kernels/wire"
)

// session is one client of the kernel, known by its Jupyter session id. It
// outlives its connections and the kernel's processes.
type session struct {
	id      string
	routing []byte // ZMQ identity, the same for shell and stdin as the protocol demands
	out     *replay
	in      map[wire.Channel]*inbox
	ctx     context.Context // ends with the session
	end     context.CancelFunc

	mu          sync.Mutex
	clients     []*client          // that are connected, oldest first
	left        time.Time          // when the last client went
	lastExecute []byte             // header of the last execute_request that shows anything
	pending     map[string]request // requests without reply, by msg_id
	requests    uint64
	received    recent // headers of the client's messages
	warning     string // display id of the announcement of parking, if there is one
	told        string // the notice that was shown last
	warnedIn    []byte // header of the request it is shown under
	greeting    string // to be said under the first cell
}

// request is what is needed to answer in the kernel's stead.
type request struct {
	channel wire.Channel
	header  []byte
	order   uint64
}

func newSession(ctx context.Context, id string, limit int, builder *wire.Builder) *session {
	sum := sha256.Sum256([]byte(id))
	s := &session{
		id:       id,
		routing:  []byte(hex.EncodeToString(sum[:16])),
		out:      newReplay(limit, builder),
		in:       map[wire.Channel]*inbox{wire.Shell: newInbox(), wire.Control: newInbox(), wire.Stdin: newInbox()},
		left:     time.Now(),
		pending:  map[string]request{},
		received: newRecent(),
	}
	s.ctx, s.end = context.WithCancel(ctx)
	return s
}

// requested remembers a client's message before it goes to the kernel. It is
// not to go there if it is a repetition: a gateway or a client that lost its
// connection sends again what it has seen no sign of. What is said under a silent
// execute_request nobody reads.
func (s *session) requested(m *wire.Message, f wire.Fields, silent bool) (repeated bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(f.ID) > 0 && !s.received.add(m.Header) {
		return true
	}
	if m.Channel == wire.Stdin || wire.ReplyType(f.Type) == f.Type {
		return false
	}
	header := bytes.Clone(m.Header)
	if f.Type == wire.TypeExecuteRequest && !silent {
		s.lastExecute = header
	}
	if s.requests++; len(s.pending) < mostTracked {
		s.pending[string(f.ID)] = request{channel: m.Channel, header: header, order: s.requests}
	}
	return false
}

// replied forgets a request that the kernel has answered.
func (s *session) replied(parentID []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, string(parentID))
}

// parent is the header that a message without cause of its own is shown under.
func (s *session) parent() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastExecute
}

// abandoned returns all requests without reply, oldest first, and forgets them, and what has
// not gone to the kernel yet, which is among them.
func (s *session) abandoned() []request {
	for _, box := range s.in {
		box.clear()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.SortedFunc(maps.Values(s.pending), func(a, b request) int { return cmp.Compare(a.order, b.order) })
	clear(s.pending)
	return all
}

// put sends the client a message that the agent made. It is never dropped before output is.
func (s *session) put(m wire.Message) {
	s.out.add(frame{data: m.AppendV1(make([]byte, 0, m.SizeV1()))})
}

// droppable tells output from what a client waits for.
func droppable(channel wire.Channel, msgType string) bool {
	return channel == wire.IOPub && msgType != wire.TypeStatus
}
