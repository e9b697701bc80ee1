package agent

import (
	"errors"
	"sync"

	"github.com/elastichub/elastichub/kernels/wire"
)

// inboxBytes bounds what waits for one channel of the kernel per session.
const inboxBytes = 64 << 20

var errInboxFull = errors.New("agent: too many messages wait for the kernel")

// inbox holds a session's messages for one channel until they are with the
// kernel: while it starts, restarts, or does not read.
type inbox struct {
	wake chan struct{} // has one token when there may be something to send

	mu       sync.Mutex
	messages []wire.Message
	bytes    int
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// add takes over m. A first message is always taken, whatever its size.
func (b *inbox) add(m wire.Message) error {
	b.mu.Lock()
	if b.bytes > 0 && b.bytes+m.Size() > inboxBytes {
		b.mu.Unlock()
		return errInboxFull
	}
	b.messages = append(b.messages, m)
	b.bytes += m.Size() + entryOverhead
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return nil
}

// first is the oldest message. It stays until done, so that a message on
// which a connection broke is sent again over the next one.
func (b *inbox) first() (m wire.Message, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.messages) == 0 {
		return wire.Message{}, false
	}
	return b.messages[0], true
}

// done removes the message that first returned. Nobody may clear in between.
func (b *inbox) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes -= b.messages[0].Size() + entryOverhead
	b.messages[0] = wire.Message{}
	if b.messages = b.messages[1:]; len(b.messages) == 0 {
		b.messages = nil
	}
}

func (b *inbox) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages, b.bytes = nil, 0
}
