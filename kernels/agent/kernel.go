package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/elastichub/elastichub/kernels/agent/zmtp"
	"github.com/elastichub/elastichub/kernels/wire"
)

const (
	redialAfter   = 50 * time.Millisecond  // when a kernel closed a socket
	askAgain      = 100 * time.Millisecond // kernel_info, while the kernel starts
	iopubPatience = 2 * time.Second        // for a sign that a subscription is live
	subscriptions = 4                      // that are tried before a kernel counts as one that publishes nothing
)

// kernel is one process of the kernel and everything that is connected to it.
type kernel struct {
	*process
	a      *agent
	alive  context.Context // ends when the process has: nothing is dialled any more
	died   context.CancelFunc
	ctx    context.Context // ends when its connections are to be closed
	cancel context.CancelFunc
	work   sync.WaitGroup

	ready     chan struct{} // closed when kernel_info was answered and iopub is live
	readyOnce sync.Once
	info      []byte // content of kernel_info_reply; set before ready
	iopubLive chan struct{}
	iopubOnce sync.Once
	up        time.Time // when it became ready, or zero; the supervisor's

	shell, control, iopub atomic.Pointer[zmtp.Conn] // the agent's own
	asked                 atomic.Pointer[time.Time] // when the last question was sent, for activity

	mu         sync.Mutex
	interrupts []chan struct{}          // to be closed with the next interrupt_reply
	replies    map[string]chan<- []byte // to requests of exchange, by msg_id

	subshells *subshells

	gate sync.RWMutex // held while nothing of a client's may reach the kernel's shell
	own  ownOutput    // of the goroutine that reads iopub
}

// newKernel starts the process and begins to connect to it.
func newKernel(ctx context.Context, a *agent) (*kernel, error) {
	p, err := a.processes.start(&a.conn, a.variables.Load())
	if err != nil {
		return nil, err
	}
	k := &kernel{process: p, a: a, ready: make(chan struct{}), iopubLive: make(chan struct{}), replies: map[string]chan<- []byte{}, subshells: newSubshells()}
	k.ctx, k.cancel = context.WithCancel(ctx)
	k.alive, k.died = context.WithCancel(k.ctx)
	k.work.Go(func() { k.keep(wire.IOPub, a.conn.IOPub, k.readIOPub) })
	k.work.Go(func() {
		k.keep(wire.Control, a.conn.Control, func(_ context.Context, c *zmtp.Conn) error {
			k.control.Store(c)
			return k.read(wire.Control, c, func(m *wire.Message, f, parent wire.Fields) {
				k.a.activity.alive(time.Now())
				k.replied(parent.ID, m.Content)
				if f.Type == wire.TypeInterruptReply {
					k.interruptReplied()
				}
			})
		})
	})
	k.work.Go(func() { k.keep(wire.Shell, a.conn.Shell, k.askUntilReady) })
	return k, nil
}

// leave ends the process's connections, after what it said last was read from
// them. Call it when the process is done.
func (k *kernel) leave() {
	k.died()
	defer time.AfterFunc(drainTime, k.cancel).Stop() // a child may hold them open
	k.work.Wait()
	k.cancel()
	k.clean()
}

func (k *kernel) options(routing []byte) zmtp.Options {
	return zmtp.Options{Identity: routing, MaxMessage: k.a.cfg.MaxMessage, MaxFrames: wire.MaxParts, ReadBuffer: 16 << 10}
}

// keep holds one connection of the agent's own and calls serve with it, again
// whenever the kernel closed it.
func (k *kernel) keep(channel wire.Channel, port int, serve func(context.Context, *zmtp.Conn) error) {
	socket, options := zmtp.Dealer, k.options([]byte("agent-"+channel))
	if channel == wire.IOPub {
		socket, options.ReadBuffer, options.Headroom = zmtp.Sub, 256<<10, wire.V1Headroom
	}
	for k.alive.Err() == nil {
		c, err := zmtp.Dial(k.alive, k.a.conn.endpoint(port), socket, options)
		if err == nil {
			stop := context.AfterFunc(k.ctx, func() { _ = c.Close() })
			err = serve(k.ctx, c)
			stop()
			_ = c.Close()
		}
		k.pause(channel, err)
	}
}

// pause logs why a connection ended and waits before the next one.
func (k *kernel) pause(channel wire.Channel, err error) {
	if k.alive.Err() != nil {
		return
	}
	k.a.log.Debug("connection to the kernel ended", slog.String("channel", string(channel)), slog.Any("error", err))
	select {
	case <-k.alive.Done():
	case <-time.After(redialAfter):
	}
}

// read hands every valid message of a connection to handle, until it ends.
// Messages are views that last until handle returns.
func (k *kernel) read(channel wire.Channel, c *zmtp.Conn, handle func(m *wire.Message, f, parent wire.Fields)) error {
	for {
		parts, err := c.Receive()
		if errors.Is(err, zmtp.ErrTooLarge) {
			k.a.log.Warn("message of the kernel dropped", slog.String("channel", string(channel)), slog.Any("error", err))
			k.a.tellAll(fmt.Sprintf("[a message was dropped: it is larger than %s]\n", size(uint64(k.a.cfg.MaxMessage))))
			continue
		}
		if err != nil {
			return err
		}
		_, m, err := k.a.signer.ParseZMQ(channel, parts)
		if err != nil {
			k.a.rejected(channel, err)
			continue
		}
		handle(&m, m.Fields(), wire.ParseFields(m.ParentHeader))
	}
}

func (k *kernel) readIOPub(ctx context.Context, c *zmtp.Conn) error {
	k.iopub.Store(c)
	rate := newRate(k.a.cfg.IOPubMessages, k.a.cfg.IOPubBytes)
	return k.read(wire.IOPub, c, func(m *wire.Message, f, parent wire.Fields) {
		k.iopubOnce.Do(func() { close(k.iopubLive) })
		var state wire.State
		switch f.Type {
		case wire.TypeIOPubWelcome: // greets this subscription, not the clients
			return
		case wire.TypeStatus:
			state = wire.State(m.ExecutionState())
		}
		if string(parent.Session) == k.a.builder.Session {
			if !k.own.passes(m, parent, state) {
				return
			}
			parent = wire.ParseFields(m.ParentHeader)
		} else if state == wire.StateBusy && parent.Type == wire.TypeExecuteRequest {
			k.own.cell = append(k.own.cell[:0], m.ParentHeader...)
		}
		now := time.Now()
		k.a.activity.published(now, parent, state)
		if f.Type == wire.TypeDebugEvent {
			k.a.activity.debugged(now, wire.Member(m.Content, "event"))
		}
		if k.limited(rate, m, f, now) {
			return
		}
		if m.Size() < largeOutput {
			k.a.broadcast(encode(m, f))
			return
		}
		k.a.broadcast(encodeLarge(m, f, c))
		k.a.awaitRoom(ctx)
	})
}

// limited reports whether output is to be left out, and says in the cell when
// that begins and how much it was.
func (k *kernel) limited(r *rate, m *wire.Message, f wire.Fields, now time.Time) bool {
	tell := func(format string, args ...any) {
		note := k.a.builder.Stream(m.ParentHeader, "stderr", fmt.Sprintf(format, args...))
		k.a.broadcast(frame{data: note.AppendV1(nil)})
	}
	switch f.Type {
	case wire.TypeExecuteInput, wire.TypeCommOpen: // as in jupyter_server
		return false
	case wire.TypeStatus:
		if n := r.took(); n > 0 && m.ExecutionState() == string(wire.StateIdle) {
			tell("[%d messages of output were left out]\n", n)
		} else {
			r.leftOut += n
		}
		return false
	}
	ok, news := r.pass(now, m.Size())
	switch news {
	case rateBegun:
		tell("[too much output: more than %s; what follows is left out until it slows down]\n", r.limits())
	case rateEnded:
		tell("[%d messages of output were left out]\n", r.took())
	case rateSame:
	}
	return !ok
}

func encode(m *wire.Message, f wire.Fields) frame {
	return frame{
		data:      m.AppendV1(make([]byte, 0, m.SizeV1())),
		droppable: droppable(m.Channel, f.Type),
	}
}

// encodeLarge is encode without a copy, in the memory into which c received the message.
func encodeLarge(m *wire.Message, f wire.Fields, c *zmtp.Conn) frame {
	if memory, ok := c.Keep(); ok {
		if data, ok := m.V1InPlace(memory); ok {
			return frame{data: data, droppable: droppable(m.Channel, f.Type)}
		}
	}
	return encode(m, f)
}

// askUntilReady asks for kernel_info until there is an answer and iopub is
// live; later it takes the answers to ask.
func (k *kernel) askUntilReady(ctx context.Context, c *zmtp.Conn) error {
	k.shell.Store(c)
	answered := make(chan struct{})
	var once sync.Once
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return k.read(wire.Shell, c, func(m *wire.Message, f, parent wire.Fields) {
			if f.Type == wire.TypeExecuteReply {
				k.replied(parent.ID, m.Content)
			}
			if f.Type != wire.TypeKernelInfoReply {
				return
			}
			k.a.activity.answered(*k.asked.Load())
			once.Do(func() {
				select {
				case <-k.ready: // an answer over a second connection
				default:
					if json.Valid(m.Content) {
						k.info = bytes.Clone(m.Content)
					}
				}
				close(answered)
			})
		})
	})
	group.Go(func() error {
		if err := k.ask(); err != nil {
			return err
		}
		select {
		case <-answered:
		case <-ctx.Done():
			return nil
		}
		patience := time.NewTimer(iopubPatience)
		defer patience.Stop()
		for live, tried := false, 1; !live; {
			select {
			case <-k.iopubLive:
				live = true
			case <-patience.C:
				if tried == subscriptions {
					k.a.log.Warn("no sign of life on iopub")
					live = true
					break
				}
				tried++
				k.subscribeAgain()
				patience.Reset(iopubPatience)
			case <-time.After(askAgain):
				if err := k.ask(); err != nil {
					return err
				}
			case <-ctx.Done():
				return nil
			}
		}
		k.readyOnce.Do(func() { close(k.ready) })
		return nil
	})
	return group.Wait()
}

// subscribeAgain makes the connection to iopub anew. A subscription that a kernel
// has lost would keep all its output from everybody.
func (k *kernel) subscribeAgain() {
	k.a.log.Info("no sign of life on iopub: subscribing again")
	if c := k.iopub.Load(); c != nil {
		_ = c.Close()
	}
}

// ask sends a kernel_info_request over the agent's own shell connection.
func (k *kernel) ask() error {
	c := k.shell.Load()
	if c == nil {
		return nil
	}
	now := time.Now()
	k.asked.Store(&now)
	m := k.a.builder.New(wire.Shell, wire.TypeKernelInfoRequest, nil, struct{}{})
	return c.Send(k.a.signer.AppendZMQ(nil, nil, &m))
}

// ping asks on control whether the kernel still answers anything.
func (k *kernel) ping() {
	if c := k.control.Load(); c != nil {
		m := k.a.builder.New(wire.Control, wire.TypeKernelInfoRequest, nil, struct{}{})
		_ = c.Send(k.a.signer.AppendZMQ(nil, nil, &m)) // a connection that broke is made anew
	}
}

// awaitInterruptReply returns a channel that is closed with the next interrupt_reply.
func (k *kernel) awaitInterruptReply() <-chan struct{} {
	replied := make(chan struct{})
	k.mu.Lock()
	defer k.mu.Unlock()
	k.interrupts = append(k.interrupts, replied)
	return replied
}

func (k *kernel) interruptReplied() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, replied := range k.interrupts {
		close(replied)
	}
	k.interrupts = nil
}

// order sends a request on control. The reply is not awaited: what counts is
// what the process does.
func (k *kernel) order(msgType string, content any) error {
	c := k.control.Load()
	if c == nil {
		return errors.New("agent: no control connection")
	}
	m := k.a.builder.New(wire.Control, msgType, nil, content)
	return c.Send(k.a.signer.AppendZMQ(nil, nil, &m))
}

// attach connects a session to the kernel for as long as both live.
func (k *kernel) attach(s *session) {
	k.work.Go(func() {
		ctx, cancel := context.WithCancel(k.ctx)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		for ctx.Err() == nil && k.alive.Err() == nil {
			k.pause("session", k.serve(ctx, s))
		}
	})
}

// serve dials a session's channels, all of them before anything is sent: an
// input_request needs stdin in place before the cell runs.
func (k *kernel) serve(ctx context.Context, s *session) error {
	channels := []wire.Channel{wire.Shell, wire.Control, wire.Stdin}
	ports := []int{k.a.conn.Shell, k.a.conn.Control, k.a.conn.Stdin}
	conns := make([]*zmtp.Conn, len(channels))
	dial, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(k.alive, stop)()
	var dialing errgroup.Group
	for i := range channels {
		dialing.Go(func() (err error) {
			conns[i], err = zmtp.Dial(dial, k.a.conn.endpoint(ports[i]), zmtp.Dealer, k.options(s.routing))
			return err
		})
	}
	hangUp := func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}
	defer hangUp()
	if err := dialing.Wait(); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, hangUp)() // the first to fail ends the others
	for i, channel := range channels {
		group.Go(func() error {
			return k.read(channel, conns[i], func(m *wire.Message, f, parent wire.Fields) {
				k.a.activity.reply(time.Now(), f, parent)
				if f.Type != wire.TypeInputRequest {
					s.replied(parent.ID)
				}
				if f.Type == typeCreateSubshellReply {
					k.subshells.note(m.Content)
				}
				s.out.add(encode(m, f))
			})
		})
		group.Go(func() error { return k.send(ctx, channel, s.in[channel], conns[i]) })
	}
	return group.Wait()
}

// send forwards what waits in an inbox, not before the kernel is ready: output
// that came before the subscription would be lost, and ipykernel 7.4 now and
// then leaves requests unanswered that reach its shell socket while it starts.
func (k *kernel) send(ctx context.Context, channel wire.Channel, box *inbox, c *zmtp.Conn) error {
	select {
	case <-k.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	var parts [][]byte
	for {
		m, ok := box.first()
		if !ok {
			select {
			case <-box.wake:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		k.relocate(ctx, &m)
		parts = k.a.signer.AppendZMQ(parts[:0], nil, &m)
		if err := k.pass(channel, c, parts); err != nil {
			return err
		}
		box.done()
	}
}

// pass sends to the kernel. What a cell is made of waits while the gate is shut.
func (k *kernel) pass(channel wire.Channel, c *zmtp.Conn, parts [][]byte) error {
	if channel == wire.Shell {
		k.gate.RLock()
		defer k.gate.RUnlock()
	}
	return c.Send(parts)
}
