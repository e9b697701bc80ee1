package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/slab"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/tracing"
)

// socket is one client's channels WebSocket. Its loop (run) owns all state
// without a lock of its own; beside it run a reader of the client, a guard
// that pings, and the goroutines of at most one link.
type socket struct {
	srv      *Server
	log      *slog.Logger
	identity Identity
	token    string
	session  string // the agent's key for what it keeps of the output
	spec     *v1alpha1.JupyterKernelSpec
	uid      types.UID     // of the kernel
	patience time.Duration // with which a kernel_info_request waits

	sub     *subscription
	client  *clientConn
	pending *pendingRequests
	notices *cellNotices
	ready   chan struct{} // capacity 1: the queue has frames, for the link
	kick    chan struct{} // capacity 1: the same, for the loop

	// The loop's own.
	link        *link
	dialing     context.CancelFunc
	linkRun     int64
	unlink      context.CancelFunc
	dialed      chan dialResult
	unlinked    chan error
	woken       chan error
	waking      bool
	ended       int64
	settled     int64
	asked       int64
	endedSince  time.Time
	nextDial    time.Time
	backoff     time.Duration
	nextWake    time.Time
	wakeFailure bool
	from        resume // of the run linkRun; before the first link, where the client ended
	farewell    string // what the agent of the run ended said last
	apart       string // why the agent of linkRun is not spoken to, for people
	interrupted string
	nextPage    time.Time

	// calm: the link is up and the kernel is ready, so what the client sends is
	// the link's alone.
	calm    atomic.Bool
	inOrder atomic.Bool // the client has closed its connection, it did not break
	// hasty: the client gives up at once when kernel_info is not answered (hastyFrame).
	hasty atomic.Bool
	// spoke is the last run that has shown a sign of its kernel over the link.
	spoke   atomic.Int64
	waiting atomic.Pointer[tracing.Span] // of the cell that has asked for the next run
	reached atomic.Pointer[reach]
	trying  reach // the loop's own
	// beside runs something that the socket waits for at its end.
	beside func(func(context.Context))
	// keeps: the agent tells the user of the variables.
	keeps atomic.Bool

	mu sync.Mutex
	// known is the run whose variables the user knows: a later one is a fresh
	// process. 0 if there was none.
	known   int64
	current int64 // the run the link is for, for deliver
	acking  *link // takes the client's acknowledgements
}

type dialResult struct {
	target target
	conn   *websocket.Conn
	err    error
}

// Reasons for which a socket ends.
type endReason string

const (
	endClient   endReason = "client"
	endRevoked  endReason = "revoked"
	endReplaced endReason = "replaced"
	endDeleted  endReason = "deleted"
	endShutdown endReason = "shutdown"
)

// run serves the socket until it ends, and says why.
func (s *socket) run(ctx context.Context) (end endReason) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.pending.close()
	s.beside = func(do func(context.Context)) { wg.Go(func() { do(ctx) }) }
	closed := make(chan struct{})
	defer func() {
		s.traceEnd(string(end))
		cancel()
		s.stop(end)
		close(closed)
	}()

	clientDone := make(chan struct{})
	wg.Go(func() {
		defer close(clientDone)
		s.inOrder.Store(s.read())
	})
	wg.Go(func() { s.client.guard(ctx, closed) })

	k := s.sub.latest()
	if k == nil {
		return endDeleted
	}
	s.begin(k)
	verify := time.NewTicker(s.srv.timing.verify)
	defer verify.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		again, over := s.advance(ctx, &wg)
		if over != "" {
			return over
		}
		timer.Reset(again)
		select {
		case <-ctx.Done():
			s.abandon()
			return endShutdown
		case <-clientDone:
			if s.client.framing != framingResume { // which sends again what it is missing
				s.srv.left.leave(s.key(), s.pending.leave(), s.notices.leave())
			}
			return endClient
		case <-verify.C:
			if s.revoked(ctx) {
				return endRevoked
			}
		case <-s.sub.changed:
		case <-s.kick:
		case <-timer.C:
		case r := <-s.dialed:
			s.connected(ctx, &wg, r)
		case err := <-s.unlinked:
			if over := s.disconnected(err); over != "" {
				return over
			}
		case err := <-s.woken:
			s.answeredWake(err)
		}
	}
}

func (s *socket) key() sessionKey {
	return sessionKey{kernel: s.uid, owner: s.identity.owner(), session: s.session}
}

// begin takes the kernel's state at the time the socket opened, and what the
// same session left when its connection broke.
func (s *socket) begin(k *v1alpha1.JupyterKernel) {
	frames, shown := s.srv.left.collect(s.key())
	s.pending.adopt(frames)
	s.notices.adopt(shown)
	s.interrupted = k.Annotations[v1alpha1.AnnotationInterrupted]
	s.known = k.Spec.Run - 1
	switch phaseOf(k) {
	case v1alpha1.KernelQueued, v1alpha1.KernelStarting:
		_ = s.client.say(func(b *wire.Builder) []wire.Message { return []wire.Message{b.Status(nil, wire.StateStarting)} })
	case v1alpha1.KernelParked, v1alpha1.KernelDead:
		s.settled, s.known = k.Status.Run, k.Status.Run
		if k.Status.ReadyTime == nil && phaseOf(k) == v1alpha1.KernelDead {
			s.known = 0 // it never ran
		}
		_ = s.client.say(func(b *wire.Builder) []wire.Message { return []wire.Message{b.Status(nil, wire.StateIdle)} })
	case v1alpha1.KernelReady:
		s.known = k.Status.Run
	}
}

// advance does what decide says, until nothing is left to do, and returns after
// what time to look again.
func (s *socket) advance(ctx context.Context, wg *sync.WaitGroup) (time.Duration, endReason) {
	for {
		s.calm.Store(false) // what comes from here on is seen in the next step, if not in this one
		now := s.srv.now()
		k := s.sub.latest()
		if k != nil && s.spec != nil && s.spec.Name != k.Spec.KernelSpec { // it returns as another
			s.spec = s.srv.kernelSpecOf(ctx, k)
		}
		again := time.Hour
		v := decide(s.situation(k, now))
		switch {
		case v.deleted:
			return 0, endDeleted
		case v.unlink:
			s.cut()
			return again, ""
		case v.settle:
			s.settle(k)
			continue
		case v.dial.run != 0:
			if wait := s.nextDial.Sub(now); wait > 0 {
				again = wait
			} else {
				s.traceDial(v.dial)
				s.dial(ctx, wg, v.dial)
			}
		case v.wake:
			if wait := s.nextWake.Sub(now); wait > 0 {
				again = wait
			} else {
				s.wake(ctx, wg, k)
			}
		case v.linger:
			again = lingerLink / 4
		}
		s.calm.Store(s.link != nil && v == action{} && phaseOf(k) == v1alpha1.KernelReady)
		s.interrupt(k)
		wait := s.standIn(k, v.parked, now)
		return min(again, wait, s.explainWait(k, now), s.tellPage(ctx, wg, k, now)), ""
	}
}

func (s *socket) situation(k *v1alpha1.JupyterKernel, now time.Time) situation {
	sit := situation{
		kernel: k, linkRun: s.linkRun, ended: s.ended, settled: s.settled, asked: s.asked, wanted: s.pending.wanted(),
	}
	switch {
	case s.link != nil:
		sit.link = linkUp
	case s.dialing != nil:
		sit.link = linkDialing
	}
	over := k != nil && phaseOf(k).IsOver()
	switch {
	case !over:
		s.endedSince = time.Time{}
	case s.endedSince.IsZero():
		s.endedSince = now
	default:
		sit.endedFor = now.Sub(s.endedSince)
	}
	if s.waking && k != nil {
		sit.asked = k.Status.Run + 1
	}
	return sit
}

// closeAs is the close code a client gets, and the reason in words.
func (e endReason) closeAs() (websocket.StatusCode, string) {
	switch e {
	case endRevoked:
		return websocket.StatusPolicyViolation, "the token is no longer valid"
	case endReplaced:
		return protocol.CloseReplaced, "replaced by a newer connection of the same session"
	case endDeleted:
		return websocket.StatusNormalClosure, "the kernel is gone"
	case endShutdown:
		return websocket.StatusServiceRestart, "the gateway is restarting"
	default:
		return websocket.StatusNormalClosure, ""
	}
}

// stop closes the link, so that the agent learns what the client has, and
// then the client's end.
func (s *socket) stop(end endReason) {
	if s.dialing != nil {
		s.dialing()
		if r := <-s.dialed; r.conn != nil {
			_ = r.conn.CloseNow()
		}
	}
	if s.link != nil {
		s.link.parting.Store(end == endClient && s.inOrder.Load())
		s.unlink()
		<-s.unlinked //nolint:errcheck // the client has gone, whatever became of the link
		s.srv.activity.link(s.uid, -1)
	}
	if end == endDeleted {
		s.bury()
	}
	if end != endClient {
		_ = s.client.conn.Close(end.closeAs())
	}
	_ = s.client.conn.CloseNow()
}

// revoked reports whether the token is no longer good. A check that is not
// possible now is made again later.
func (s *socket) revoked(ctx context.Context) bool {
	id, err := s.srv.auth.identify(ctx, s.token)
	if err == nil {
		return id.owner() != s.identity.owner()
	}
	return explain(err).kind == kindUnauthenticated
}

// wake asks for the next run.
func (s *socket) wake(ctx context.Context, wg *sync.WaitGroup, k *v1alpha1.JupyterKernel) {
	s.waking = true
	ctx = s.traceWake(ctx)
	wg.Go(func() {
		err := s.srv.store.wake(ctx, k)
		if err == nil {
			s.log.Info("kernel woken", "run", k.Status.Run+1)
		}
		s.woken <- err
	})
	s.asked = k.Status.Run + 1
}

func (s *socket) answeredWake(err error) {
	s.waking = false
	result := "ok"
	switch {
	case err == nil:
		s.wakeFailure = false
	case explain(err).kind == kindConflict: // somebody else did something; the cache will tell
		result = "conflict"
		s.asked, s.nextWake = 0, s.srv.now().Add(200*time.Millisecond)
	default:
		result = "error"
		s.asked, s.nextWake, s.wakeFailure = 0, s.srv.now().Add(2*time.Second), true
		s.log.Warn("kernel cannot be woken", "error", err)
	}
	if err != nil {
		s.waiting.Store(nil) // it goes on waiting: what it waits for is part of somebody else's, or of the next attempt
	}
	s.srv.metrics.wakes.WithLabelValues(result).Inc()
}

// read takes the client's frames until it ends, and reports whether the client
// itself closed the connection.
func (s *socket) read() (inOrder bool) {
	room := &share{budget: s.srv.memory, owner: s.identity.owner()}
	defer room.free()
	for {
		kind, data, err := s.receive(room)
		if err != nil {
			if errors.Is(err, websocket.ErrMessageTooBig) {
				s.srv.metrics.dropped.WithLabelValues("too_large").Inc()
			}
			switch websocket.CloseStatus(err) {
			case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
				return true
			default:
				return false
			}
		}
		if s.client.framing == framingResume && kind == websocket.MessageText {
			s.acknowledged(data)
			continue
		}
		s.enqueue(kind, data)
	}
}

// receive reads one frame. While there is no room for a large one the client
// waits, but not for ever: two half frames may be in each other's way.
func (s *socket) receive(room *share) (websocket.MessageType, []byte, error) {
	room.free() // of the frame before, which the queue counts
	kind, r, err := s.client.conn.Reader(context.Background())
	if err != nil {
		return 0, nil, err
	}
	late := time.AfterFunc(frameLimit, func() {
		_ = s.client.conn.Close(websocket.StatusPolicyViolation, "a message took too long to arrive")
	})
	defer late.Stop()
	data, err := room.read(nil, r)
	for waited := time.Duration(0); errors.Is(err, errNoRoom); waited += roomAgain {
		if waited == 0 {
			s.srv.metrics.noRoom.Inc()
		}
		if waited > roomWait {
			_ = s.client.conn.Close(websocket.StatusTryAgainLater, "too many large messages")
			return 0, nil, err
		}
		select {
		case <-time.After(roomAgain):
		case <-s.srv.serving.Done():
			return 0, nil, err
		}
		data, err = room.read(data, r)
	}
	return kind, data, err
}

const (
	// roomAgain is after what time a client's large frame is tried again.
	roomAgain = 50 * time.Millisecond
	// roomWait is how long it is tried.
	roomWait = 10 * time.Second
	// frameLimit is how long a client may take to send one frame: half of one
	// takes room from others.
	frameLimit = 2 * time.Minute
)

// acknowledged takes a client's {"ack": n, "epoch": "…"}.
func (s *socket) acknowledged(data []byte) {
	var text struct {
		Ack   uint64 `json:"ack"`
		Epoch string `json:"epoch"`
	}
	if err := json.Unmarshal(data, &text); err != nil {
		s.srv.metrics.dropped.WithLabelValues("malformed").Inc()
		return
	}
	s.mu.Lock()
	l := s.acking
	s.mu.Unlock()
	if l != nil {
		l.acknowledge(text.Epoch, text.Ack)
	}
}

// enqueue files one frame of the client. What cannot be read is dropped: a client
// that loses its socket for it would only come back and do it again.
func (s *socket) enqueue(kind websocket.MessageType, data []byte) {
	if s.client.framing == framingLegacy && kind == websocket.MessageBinary {
		s.client.binary.Store(true)
	}
	m, err := s.client.framing.parse(kind, data)
	if err != nil || m.Channel == wire.IOPub || len(m.Header) > maxHeader {
		s.srv.metrics.dropped.WithLabelValues("malformed").Inc()
		s.log.Debug("frame dropped", "bytes", len(data), "error", err)
		return
	}
	if s.client.framing == framingLegacy && hastyFrame(data) {
		s.hasty.Store(true)
	}
	if s.client.framing == framingResume && s.pending.has(m.Fields().ID) {
		return // it came back to this replica, and sends again
	}
	var kept []byte
	if s.client.framing == framingLegacy || kind != websocket.MessageBinary {
		kept = m.AppendV1(make([]byte, 0, m.SizeV1()))
	} else {
		kept = compact(data)
	}
	r, err := s.pending.add(&m, kept, s.srv.now())
	if &kept[0] != &data[0] {
		slab.Put(data) // not sooner: m is a view of it
	}
	if err != nil {
		s.srv.metrics.dropped.WithLabelValues("held_full").Inc()
		if r != nil {
			_ = s.notices.refuse([]*request{r}, "TooMuchWaiting", "Too much is waiting for the kernel already.")
			return
		}
		// Nobody waits for an answer to it, so nobody would know that it is lost.
		_ = s.client.conn.Close(websocket.StatusTryAgainLater, "too much is waiting for the kernel")
		return
	}
	signal(s.ready)
	if !s.calm.Load() {
		signal(s.kick)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
