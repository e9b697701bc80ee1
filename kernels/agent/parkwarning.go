package agent

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/elastichub/elastichub/kernels/wire"
)

// warnBeforeParking announces in each session's last cell that the kernel will be
// parked with less than it has, ParkNotice before it is, and takes the announcement back when the
// kernel is used after all.
func (a *agent) warnBeforeParking(now time.Time, kept *kept) {
	i := a.activity.idleness(now, a.connections())
	left := i.timeout - i.idle
	near := i.parks && a.cfg.ParkNotice > 0 && i.timeout > a.cfg.ParkNotice && left <= a.cfg.ParkNotice && kept.lossy(i)
	if near == a.warned {
		return
	}
	a.warned = near
	for _, s := range a.everySession() {
		if near {
			s.warn(a.builder, warning(i.still, left))
		} else {
			s.unwarn(a.builder)
		}
	}
}

// warn shows a text under the session's last cell, if it has run any.
func (s *session) warn(b *wire.Builder, text string) {
	parent := s.parent()
	if parent == nil {
		return
	}
	s.mu.Lock()
	s.warning, s.warnedIn = "elastichub-"+uuid.NewString(), parent
	display := wire.Display{ID: s.warning, Data: wire.Notice(text)}
	s.mu.Unlock()
	s.put(b.DisplayData(parent, display))
}

// unwarn empties what warn showed; an output cannot be taken out of a cell.
func (s *session) unwarn(b *wire.Builder) {
	s.mu.Lock()
	warning, parent := s.warning, s.warnedIn
	s.warning, s.warnedIn = "", nil
	s.mu.Unlock()
	if warning != "" {
		s.put(b.UpdateDisplayData(parent, wire.Display{ID: warning, Data: map[string]string{"text/plain": ""}}))
	}
}

// showParked puts the last notice where the warning was, or under the last cell.
func (s *session) showParked(b *wire.Builder, text string) {
	s.mu.Lock()
	warning, parent := s.warning, s.warnedIn
	s.mu.Unlock()
	if warning != "" {
		s.put(b.UpdateDisplayData(parent, wire.Display{ID: warning, Data: wire.Notice(text)}))
		return
	}
	s.put(b.DisplayData(s.parent(), wire.Display{Data: wire.Notice(text)}))
}

// contacted notes that somebody with this run's key spoke to the agent.
func (a *agent) contacted(now time.Time) { a.contact.Store(&now) }

// warning announces parking. What the kernel stands still for is said, since its
// cell looks as if it were running.
func warning(still standstill, left time.Duration) string {
	when := span(left.Round(time.Second))
	switch still {
	case standstillInput:
		return fmt.Sprintf("Kernel waits for input, and will be parked in %s unless it is given.", when)
	case standstillDebug:
		return fmt.Sprintf("Kernel stands at a breakpoint, and will be parked in %s unless it goes on.", when)
	case standstillHung:
		return fmt.Sprintf("Kernel does not answer, and will be parked in %s unless it does. This cell has not begun.", when)
	case standstillNone:
	}
	return fmt.Sprintf("Kernel will be parked in %s unless a cell is run.", when)
}

// orphaned reports whether the kernel does nothing and nobody has asked after it
// for so long that whoever started it must be gone.
func (a *agent) orphaned(now time.Time) bool {
	connections := a.connections()
	if connections > 0 {
		a.contacted(now)
		return false
	}
	return now.Sub(*a.contact.Load()) > a.cfg.OrphanAfter && !a.activity.idleness(now, connections).busy
}
