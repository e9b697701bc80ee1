package gateway

import (
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// linkState is how far a socket is connected to its kernel's agent.
type linkState int

const (
	linkNone linkState = iota
	linkDialing
	linkUp
)

// situation is all that decides what a socket does next.
type situation struct {
	kernel *v1alpha1.JupyterKernel // nil once it is gone
	link   linkState
	// linkRun is the run that the link is for; meaningless with linkNone.
	linkRun int64
	// ended is the run whose agent said goodbye; it is not dialled again.
	ended int64
	// settled is the run whose end has been dealt with (action.settle).
	settled int64
	// asked is the run that has been asked for, successfully.
	asked int64
	// wanted: an execute_request is held.
	wanted bool
	// endedFor is how long the object has shown the run's end while the link
	// is still up: what the agent said last may still be on its way.
	endedFor time.Duration
}

// lingerLink is how long a link may outlive its kernel's end.
const lingerLink = 3 * time.Second

// action is what to do. At most one of the fields that act is set, except
// that settle and wake follow each other in the next pass.
type action struct {
	deleted bool   // the kernel is deleted: say so and close
	unlink  bool   // close the link, or stop dialling
	dial    target // connect, if run is not zero
	settle  bool   // the run is over: answer what can no longer be answered
	wake    bool   // ask for the next run
	parked  bool   // no run and none asked for: answer what needs no kernel
	linger  bool   // come back when lingerLink is over
}

// decide is the heart of a socket, free of I/O.
func decide(s situation) action {
	k := s.kernel
	if k == nil {
		return action{deleted: true}
	}
	switch phase := phaseOf(k); phase {
	case v1alpha1.KernelStarting, v1alpha1.KernelReady:
		t, ok := targetOf(k)
		switch {
		case s.link != linkNone && s.linkRun != k.Status.Run:
			return action{unlink: true}
		case s.link == linkNone && ok && s.ended != t.run:
			return action{dial: t}
		}
		return action{}
	case v1alpha1.KernelParked, v1alpha1.KernelDead:
		switch {
		case s.link == linkDialing, s.link == linkUp && s.endedFor >= lingerLink:
			return action{unlink: true}
		case s.link == linkUp:
			return action{linger: true}
		case s.settled < k.Status.Run:
			return action{settle: true}
		case s.asked > k.Status.Run:
			return action{} // the object does not show it yet
		case s.wanted:
			return action{wake: true}
		}
		return action{parked: true}
	default: // queued, or a phase of a newer controller: it has no agent
		if s.link != linkNone {
			return action{unlink: true}
		}
		return action{}
	}
}
