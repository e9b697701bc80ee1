package gateway

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/slab"
	"github.com/elastichub/elastichub/kernels/wire"
)

const (
	// ackAfter is within the 100 ms that the agent protocol allows.
	ackAfter = 50 * time.Millisecond
	// ackBytes is how much may be unacknowledged before that time is over: an agent
	// takes no more large messages from its kernel while it keeps half of its bound.
	ackBytes = 2 << 20
	// lastAck is how long the last acknowledgement may take.
	lastAck = time.Second
	// agentWriteLimit is how long an agent may take to read one frame.
	agentWriteLimit = 60 * time.Second
)

// link is one connection to the agent of one run.
type link struct {
	target  target
	conn    *websocket.Conn
	pending *pendingRequests
	ready   <-chan struct{} // the queue has frames
	// deliver passes a message on to the client; it blocks while the client
	// does not read, and with it the reading from the agent. frame begins with
	// the message's number.
	deliver func(m *wire.Message, frame []byte) error
	// greet tells the client which agent process it is that numbers its messages.
	greet func(*protocol.Hello) error
	// acknowledges: the client itself tells what it has; else it has what was
	// written to it.
	acknowledges bool
	ackAfter     time.Duration
	room         *share // for large frames
	maxFrame     int64  // of a message of the kernel's, in bytes
	renders      bool   // delivering makes a copy
	metrics      *metrics

	over <-chan struct{} // closed when the kernel is no longer the client's: nothing may pass any more

	acks   chan struct{} // capacity 1: there is something to acknowledge
	hurry  chan struct{} // capacity 1: it is much
	passed atomic.Int64  // bytes given to the client since the agent was told of any

	mu   sync.Mutex
	seen resume
	// offered is the last number that is given to the client, or was: it may
	// acknowledge that before we know that it was given.
	offered uint64
	// delivering is held while one message goes to the client and is noted as
	// seen; ended is set under it, before the last acknowledgement: what the
	// client was given is acknowledged, and nothing is given to it afterwards.
	delivering sync.Mutex
	ended      bool
	// parting: the client has closed its connection in order.
	parting atomic.Bool
}

func newLink(r dialResult, from resume) *link {
	return &link{target: r.target, conn: r.conn, seen: from, offered: from.delivered, acks: make(chan struct{}, 1), hurry: make(chan struct{}, 1)}
}

// from is where a next connection to the same run resumes.
func (l *link) from() resume {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen
}

// acknowledge notes that the client has everything of an agent process up to n.
// What it says of another process, or of numbers it was not given, is ignored.
func (l *link) acknowledge(epoch string, n uint64) {
	l.mu.Lock()
	news := epoch == l.seen.epoch && n > l.seen.acked && n <= l.offered
	if news {
		l.seen.acked, l.seen.delivered = n, max(l.seen.delivered, n)
	}
	l.mu.Unlock()
	if !news {
		return
	}
	signal(l.acks)
	if l.passed.Load() >= ackBytes {
		signal(l.hurry)
	}
}

// run passes messages in both directions until either side ends or ctx does.
// The error of a client that cannot be written to wraps errClientGone.
func (l *link) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var readErr, writeErr error
	wg.Go(func() {
		defer cancel()
		readErr = l.read()
	})
	written := make(chan struct{})
	wg.Go(func() {
		defer close(written)
		defer cancel()
		writeErr = l.write(ctx)
	})
	select {
	case <-ctx.Done():
	case <-l.over:
		_ = l.conn.CloseNow()
		cancel()
	}
	// With the last acknowledgement the agent forgets what the client has.
	select {
	case <-written:
	case <-time.After(lastAck):
	}
	if l.parting.Load() {
		_ = l.conn.Close(websocket.StatusNormalClosure, "") // what it did not acknowledge need not wait for it
	}
	_ = l.conn.CloseNow()
	wg.Wait()
	if readErr != nil {
		return readErr
	}
	return writeErr
}

var errClientGone = errors.New("gateway: the client cannot be written to")

func (l *link) read() error {
	var buffer []byte
	defer l.room.free()
	for {
		kind, r, err := l.conn.Reader(context.Background())
		if err != nil {
			return err
		}
		if buffer, err = l.room.read(buffer[:0], io.LimitReader(r, protocol.SequenceBytes+l.maxFrame+1)); err != nil {
			return err
		}
		if int64(len(buffer)) > protocol.SequenceBytes+l.maxFrame {
			rest, err := io.Copy(io.Discard, r)
			if err != nil {
				return err
			}
			buffer = instead(buffer, int64(len(buffer))+rest, l.maxFrame)
			l.metrics.dropped.WithLabelValues("too_large").Inc()
		}
		if kind == websocket.MessageText {
			if err := l.text(buffer); err != nil {
				return err
			}
			continue
		}
		if l.renders && len(buffer) > smallFrame && len(buffer) <= maxLegacyFrame {
			if err := l.room.grow(2 * int64(len(buffer))); err != nil {
				return err
			}
		}
		if err := l.binary(buffer); err != nil {
			return err
		}
		if cap(buffer) > smallFrame {
			slab.Put(buffer)
			buffer = slab.Get(smallFrame) // the next one may be large, too
		}
		l.room.free()
	}
}

// sizeOf tells how long a frame of the agent's is that begins so, 0 if that
// cannot be seen, or if it is too long to be taken.
func (l *link) sizeOf(beginning []byte) int {
	if len(beginning) < protocol.SequenceBytes {
		return 0
	}
	size := wire.FrameSizeV1(beginning[protocol.SequenceBytes:])
	if size == 0 || int64(size) > l.maxFrame {
		return 0
	}
	return protocol.SequenceBytes + size
}

func (l *link) text(data []byte) error {
	var h protocol.FromAgent
	if json.Unmarshal(data, &h) != nil || h.Hello == nil {
		return nil //nolint:nilerr // a newer agent's message
	}
	l.mu.Lock()
	if h.Hello.Epoch != l.seen.epoch {
		l.seen, l.offered = resume{epoch: h.Hello.Epoch}, 0
	}
	l.mu.Unlock()
	return l.greet(h.Hello)
}

func (l *link) binary(data []byte) error {
	if len(data) < protocol.SequenceBytes {
		return fmt.Errorf("gateway: the agent sent a frame of %d bytes", len(data))
	}
	seq := binary.LittleEndian.Uint64(data)
	l.delivering.Lock()
	defer l.delivering.Unlock()
	if l.ended || l.isOver() {
		return context.Canceled
	}
	l.mu.Lock()
	known, epoch := seq <= l.seen.delivered, l.seen.epoch
	l.offered = max(l.offered, seq)
	l.mu.Unlock()
	if known {
		return nil
	}
	m, err := wire.ParseV1(data[protocol.SequenceBytes:])
	if err != nil {
		l.metrics.dropped.WithLabelValues("unreadable").Inc()
	} else if err := l.deliver(&m, data); err != nil {
		return err
	}
	l.mu.Lock()
	l.seen.delivered = seq
	l.mu.Unlock()
	l.passed.Add(int64(len(data)))
	if !l.acknowledges {
		l.acknowledge(epoch, seq)
	}
	return nil
}

// write sends what the queue has, and acknowledgements.
func (l *link) write(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	acks := l.acks // nil while the timer runs, so that not every message wakes the writer
	acked := uint64(0)
	ack := func() error {
		acks = l.acks
		l.passed.Store(0)
		if n := l.from().acked; n > acked {
			acked = n
			text, err := json.Marshal(protocol.FromGateway{Ack: n})
			if err != nil {
				return err
			}
			return l.send(websocket.MessageText, text)
		}
		return nil
	}
	for {
		for {
			if l.isOver() {
				return context.Canceled
			}
			f, ok := l.pending.next()
			if !ok {
				break
			}
			if err := l.send(websocket.MessageBinary, f.data); err != nil {
				return err
			}
			l.metrics.toKernel.count(len(f.data))
		}
		select {
		case <-ctx.Done():
			l.delivering.Lock()
			l.ended = true
			l.delivering.Unlock()
			_ = ack()
			return ctx.Err()
		case <-l.ready:
		case <-acks:
			acks = nil
			timer.Reset(l.ackAfter)
		case <-l.hurry:
			timer.Stop()
			if err := ack(); err != nil {
				return err
			}
		case <-timer.C:
			if err := ack(); err != nil {
				return err
			}
		}
	}
}

func (l *link) isOver() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

func (l *link) send(kind websocket.MessageType, data []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), agentWriteLimit)
	defer cancel()
	return l.conn.Write(ctx, kind, data)
}
