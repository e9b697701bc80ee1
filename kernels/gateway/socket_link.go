package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
)

// Bounds of the pause between two attempts to reach an agent.
const (
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = time.Second
)

// dial starts to connect to an agent; the result comes through s.dialed.
func (s *socket) dial(ctx context.Context, wg *sync.WaitGroup, t target) {
	if s.linkRun != t.run {
		s.backoff, s.farewell, s.apart = 0, "", ""
		if s.linkRun != 0 { // what the client brought may be for this one
			s.from = resume{}
		}
	}
	s.linkRun = t.run
	ctx, s.dialing = context.WithCancel(ctx)
	from := s.from
	s.dialed = make(chan dialResult, 1)
	results := s.dialed
	s.link = nil
	wg.Go(func() {
		conn, err := s.srv.agents.dial(ctx, t, s.session, from)
		results <- dialResult{target: t, conn: conn, err: err}
	})
}

// connected takes the result of dial.
func (s *socket) connected(ctx context.Context, wg *sync.WaitGroup, r dialResult) {
	s.dialing()
	s.dialing = nil
	if r.err != nil {
		s.srv.metrics.dials.WithLabelValues("error").Inc()
		s.backoff = min(max(2*s.backoff, firstBackoff), maxBackoff)
		s.nextDial = s.srv.now().Add(s.backoff)
		s.noteApart(r)
		s.log.Debug("agent not reached", "run", r.target.run, "error", r.err)
		return
	}
	s.srv.metrics.dials.WithLabelValues("ok").Inc()
	s.traceLink()
	s.backoff, s.nextDial, s.apart = 0, time.Time{}, ""
	l := newLink(r, s.from)
	l.pending, l.ready, l.metrics, l.over = s.pending, s.ready, s.srv.metrics, s.sub.over
	l.deliver, l.greet, l.acknowledges = s.deliver, s.greet, s.client.framing == framingResume
	l.ackAfter, l.maxFrame = s.srv.timing.ack, s.srv.cfg.maxFrame()
	l.room = &share{budget: s.srv.memory, owner: s.identity.owner(), sizeOf: l.sizeOf}
	l.renders = s.client.framing == framingLegacy
	s.link = l
	s.mu.Lock()
	s.current, s.acking = r.target.run, l
	s.mu.Unlock()
	s.srv.activity.link(s.uid, 1)
	ctx, s.unlink = context.WithCancel(ctx)
	s.unlinked = make(chan error, 1)
	unlinked := s.unlinked
	wg.Go(func() { unlinked <- l.run(ctx) })
}

// cut ends the link, or the attempt to get one. The loop hears of it.
func (s *socket) cut() {
	if s.dialing != nil {
		s.dialing()
	}
	if s.link != nil {
		s.unlink()
	}
}

// disconnected takes the end of a link.
func (s *socket) disconnected(err error) endReason {
	s.from = s.link.from()
	s.unlink()
	s.link = nil
	s.srv.activity.link(s.uid, -1)
	var closed websocket.CloseError
	switch {
	case errors.Is(err, errClientGone):
		return endClient
	case errors.As(err, &closed) && closed.Code == protocol.CloseReplaced:
		return endReplaced
	case errors.As(err, &closed) && closed.Code == protocol.CloseEnded:
		s.ended, s.farewell = s.linkRun, closed.Reason
		s.log.Info("kernel ended", "run", s.linkRun, "reason", clip(closed.Reason, 64))
	default:
		s.pending.resend()
		s.backoff = firstBackoff
		if errors.Is(err, errNoRoom) { // the agent keeps the frame
			s.backoff = maxBackoff
			s.srv.metrics.noRoom.Inc()
		}
		s.nextDial = s.srv.now().Add(s.backoff)
		s.log.Debug("link lost", "run", s.linkRun, "error", err)
	}
	return ""
}

// greet passes the agent's greeting on, in the link's goroutine.
func (s *socket) greet(h *protocol.Hello) error {
	s.keeps.Store(h.Keeps)
	if h.ExecutionState != wire.StateStarting {
		s.spoken()
	}
	if err := s.client.greet(h.Epoch, h.Next); err != nil {
		return fmt.Errorf("%w: %w", errClientGone, err)
	}
	return nil
}

// spoken notes that the kernel itself runs. Its object may show that seconds later.
func (s *socket) spoken() {
	s.mu.Lock()
	run := s.current
	s.mu.Unlock()
	s.spoke.Store(run)
}

// runs reports whether the kernel is known to run.
func (s *socket) runs(k *v1alpha1.JupyterKernel) bool {
	switch phaseOf(k) {
	case v1alpha1.KernelReady:
		return true
	case v1alpha1.KernelStarting:
		return s.link != nil && s.spoke.Load() == k.Status.Run
	default:
		return false
	}
}

// deliver passes a message of the kernel's on to the client and learns from
// it. frame begins with its number. It runs in the link's goroutine.
func (s *socket) deliver(m *wire.Message, frame []byte) error {
	switch m.Channel {
	case wire.IOPub:
		pass, err := s.published(m)
		if err != nil {
			return fmt.Errorf("%w: %w", errClientGone, err)
		}
		if !pass {
			return nil
		}
	case wire.Shell, wire.Control:
		if !s.replied(m) {
			return nil
		}
	case wire.Stdin:
		s.srv.activity.note(s.uid, "", s.srv.now())
	}
	if err := s.client.pass(m, frame); err != nil {
		return fmt.Errorf("%w: %w", errClientGone, err)
	}
	return nil
}

// published learns from an iopub message. It is not to be passed on if it says
// that the kernel is dead: this kernel comes back with the next cell, but a
// JupyterLab that read so would never send one.
func (s *socket) published(m *wire.Message) (pass bool, err error) {
	fields := m.Fields()
	var state wire.State
	if fields.Type == wire.TypeStatus {
		state = wire.State(m.ExecutionState())
		if state == wire.StateBusy || state == wire.StateIdle {
			s.spoken()
		}
		s.client.speakAs(fields.Session)
		if state == wire.StateRestarting {
			s.pending.restarted()
		}
	}
	s.srv.activity.note(s.uid, state, s.srv.now())
	pass = state != wire.StateDead
	if !s.pending.following() {
		return pass, nil
	}
	r := s.pending.markStarted(wire.ParseFields(m.ParentHeader).ID)
	if r == nil || !r.executes() {
		return pass, nil
	}
	return pass, s.notices.clear(r, s.arrival(r))
}

// replied learns from a reply, which is not to be passed on if the request has
// been answered in the kernel's stead.
func (s *socket) replied(m *wire.Message) (pass bool) {
	s.srv.activity.note(s.uid, "", s.srv.now())
	s.spoken()
	if m.Type() == wire.TypeKernelInfoReply {
		s.srv.infos.learn(s.uid, m.Content)
	}
	return s.pending.answered(wire.ParseFields(m.ParentHeader).ID)
}

// arrival is what remains to be read in a cell when the kernel takes it up:
// that this is a fresh process, if the user knows an earlier one.
func (s *socket) arrival(r *request) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.known
	s.known = s.current
	if s.current <= known {
		return ""
	}
	s.traceSign(r)
	waited := s.srv.now().Sub(r.at)
	s.srv.metrics.waits.Observe(waited.Seconds())
	if known == 0 {
		return "" // the first start
	}
	return back(waited, s.keeps.Load())
}
