package gateway

import (
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
)

// settle answers what can no longer be answered after a run has ended. What a
// parked kernel has not begun waits for its next run.
func (s *socket) settle(k *v1alpha1.JupyterKernel) {
	s.settled = k.Status.Run
	if phaseOf(k) == v1alpha1.KernelDead {
		s.traceEnd(string(k.Status.Cause))
	}
	dead := phaseOf(k) == v1alpha1.KernelDead || couldNotReturn(k)
	lost := s.pending.endRun(!dead)
	if dead {
		lost = append(lost, s.pending.remove(func(*request) bool { return true })...)
	}
	name, text := over(k)
	if dead && len(lost) == 0 {
		if parent := s.pending.lastExecute(); parent != nil {
			_ = s.client.say(func(b *wire.Builder) []wire.Message { return []wire.Message{b.Stream(parent, "stderr", text+"\n")} })
		}
	}
	_ = s.notices.refuse(lost, name, text)
	_ = s.client.say(func(b *wire.Builder) []wire.Message { return []wire.Message{b.Status(nil, wire.StateIdle)} })
}

// bury answers everything that waits for a kernel that is gone for good, and says that
// it is. There is no link any more: nobody else answers.
func (s *socket) bury() {
	lost := s.pending.endRun(false)
	lost = append(lost, s.pending.remove(func(*request) bool { return true })...)
	name, text := gone(s.sub.lastSeen(), s.farewell)
	_ = s.notices.refuse(lost, name, text)
	_ = s.client.say(func(b *wire.Builder) []wire.Message { return []wire.Message{b.Status(nil, wire.StateDead)} })
}

// abandon answers what was held when this process stops: nobody else knows of
// it, but for a client that will send it again.
func (s *socket) abandon() {
	if s.client.framing == framingResume {
		return
	}
	held := s.pending.remove(func(*request) bool { return true })
	_ = s.notices.refuse(held, "GatewayRestarted", "The kernel gateway was restarted while this waited for the kernel. Run it again.")
}

// interrupt gives up the cells that wait, when the user has interrupted a
// kernel that does not run.
func (s *socket) interrupt(k *v1alpha1.JupyterKernel) {
	if at := k.Annotations[v1alpha1.AnnotationInterrupted]; at != s.interrupted {
		s.interrupted = at
		s.giveUp()
	}
}

func (s *socket) giveUp() {
	if s.link != nil {
		return // the kernel itself was interrupted
	}
	s.traceEnd("interrupted")
	given := s.pending.remove(func(r *request) bool { return r != nil && r.executes() })
	_ = s.notices.refuse(given, "KeyboardInterrupt", "Interrupted while waiting for the kernel.")
}

// standIn answers, while the kernel is not there, what needs no kernel:
// kernel_info_request as speakOfKernel has it, interrupt_request at once, and
// when the kernel is parked everything else but what somebody runs, and what waits
// patiently. It returns when to look again.
func (s *socket) standIn(k *v1alpha1.JupyterKernel, parked bool, now time.Time) time.Duration {
	wait := time.Hour
	if !s.runs(k) {
		wait = s.speakOfKernel(parked, now)
	}
	if s.link != nil {
		return wait
	}
	interrupts := s.pending.remove(func(r *request) bool { return r != nil && r.kind == wire.TypeInterruptRequest })
	if len(interrupts) > 0 {
		s.giveUp()
	}
	for _, r := range interrupts {
		_ = s.notices.answer(r, map[string]string{"status": "ok"})
	}
	if !parked {
		return wait
	}
	// A kernel_info_request that came since speakOfKernel is the next pass's.
	rest := s.pending.remove(func(r *request) bool {
		return r == nil || !r.executes() && !r.patient && r.kind != wire.TypeKernelInfoRequest
	})
	for _, r := range rest {
		if r.kind == wire.TypeCommInfoRequest {
			_ = s.notices.answer(r, map[string]any{"status": "ok", "comms": map[string]any{}})
			continue
		}
		_ = s.notices.refuse([]*request{r}, "KernelParked", "The kernel is parked. Run a cell to bring it back.")
	}
	return wait
}

// speakOfKernel answers kernel_info_request for a kernel that is not up, where
// that misleads nobody:
//
//	                          parked    queued or starting
//	a client that is hasty    at once   after quickInfo
//	a page of JupyterLab      what the kernel itself has said: at once, after infoPatience;
//	                          if that is not known it waits for the kernel
//	any other client          at once   never: to it, an answer means that the kernel runs
func (s *socket) speakOfKernel(parked bool, now time.Time) time.Duration {
	before := now.Add(-s.patience)
	if parked {
		before = now.Add(s.patience) // all of them: one may be younger than now
	}
	known := s.srv.infos.knows(s.uid)
	asked, oldest := s.pending.speakFor(func(r *request) bool {
		switch {
		case r.kind != wire.TypeKernelInfoRequest:
			return false
		case s.hasty.Load():
			return true
		case fromPage(r.header):
			return known
		default:
			return parked
		}
	}, before)
	for _, r := range asked {
		_ = s.notices.answer(r, s.srv.infos.content(s.uid, s.spec))
	}
	if len(asked) > 0 && !parked { // it is not idle, as the answer made it seem
		_ = s.client.say(func(b *wire.Builder) []wire.Message { return []wire.Message{b.Status(nil, wire.StateStarting)} })
	}
	if oldest.IsZero() {
		return time.Hour
	}
	return oldest.Add(s.patience).Sub(now)
}

// explainWait shows in the waiting cell what it waits for, once that has taken
// long enough to be worth telling. It returns when to look again.
func (s *socket) explainWait(k *v1alpha1.JupyterKernel, now time.Time) time.Duration {
	r := s.pending.oldestWaiting()
	if r == nil || s.link != nil && s.runs(k) {
		return time.Hour
	}
	if wait := r.at.Add(s.grace(k)).Sub(now); wait > 0 {
		return wait
	}
	text := waiting(k, s.spec, s.ended == k.Status.Run)
	if s.apart != "" && phaseOf(k).HasPod() {
		text = s.apart
	}
	if s.wakeFailure {
		text = "The cluster does not answer; trying again…"
	}
	_ = s.notices.showWait(r, text, s.pending.stillWaits)
	return time.Hour
}

// grace is how long a cell waits before it is told why: not at all when the
// kernel comes back, because the user will read about that anyway.
func (s *socket) grace(k *v1alpha1.JupyterKernel) time.Duration {
	s.mu.Lock()
	fresh := s.known > 0
	s.mu.Unlock()
	switch {
	case fresh && !s.runs(k):
		return 0
	case k.Status.Queue != nil && phaseOf(k) == v1alpha1.KernelQueued:
		return s.srv.timing.grace / 2
	default:
		return s.srv.timing.grace
	}
}
