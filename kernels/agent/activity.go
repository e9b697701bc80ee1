package agent

import (
	"sync"
	"time"

	"github.com/elastichub/elastichub/kernels/wire"
)

// mostTracked bounds each of the sets of requests that are remembered.
const mostTracked = 4096

// suspectAfter is how long a kernel may be called busy by iopub alone, in
// silence, before it is asked: its PUB socket may have dropped the "idle".
const suspectAfter = 30 * time.Second

// activity decides busy, idle and when to park. It is pure but for its lock:
// time comes in with every call and is compared on the monotonic clock.
//
// Busy is: an execute_request has no reply, or iopub said busy for a request
// and not yet idle. A busy kernel is never parked, however silent.
//
// Activity is: a client's message, anything on iopub, a reply, the end of
// being busy. What clients send by themselves when they connect
// (kernel_info_request, comm_info_request, debug_request) and what follows from
// it is not: a notebook that reconnects does not hold a GPU.
type activity struct {
	mu            sync.Mutex
	timeout       time.Duration // 0: never
	cullConnected bool
	last          time.Time
	since         time.Time            // a time-out was set where there was none: idle time begins here
	yield         time.Duration        // park at the next look if idle for so long; 0: no such wish
	executes      map[string]struct{}  // execute_requests without reply
	busy          map[string]time.Time // requests for which iopub said busy, and when
	iopubLast     time.Time
}

func newActivity(now time.Time, timeout time.Duration, cullConnected bool) *activity {
	return &activity{
		timeout: timeout, cullConnected: cullConnected, last: now,
		executes: map[string]struct{}{}, busy: map[string]time.Time{},
	}
}

func passive(msgType string) bool {
	switch msgType {
	case wire.TypeKernelInfoRequest, wire.TypeCommInfoRequest, wire.TypeDebugRequest, "":
		return true
	}
	return false
}

// request is called for every message of a client.
func (a *activity) request(now time.Time, f wire.Fields) {
	if passive(f.Type) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = now
	if f.Type == wire.TypeExecuteRequest && len(a.executes) < mostTracked {
		a.executes[string(f.ID)] = struct{}{}
	}
}

// reply is called for every message of the kernel on shell, control and stdin.
func (a *activity) reply(now time.Time, f, parent wire.Fields) {
	if passive(parent.Type) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = now
	if f.Type == wire.TypeExecuteReply {
		delete(a.executes, string(parent.ID))
	}
}

// published is called for every message on iopub; state is empty unless it is a status.
func (a *activity) published(now time.Time, f, parent wire.Fields, state wire.State) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.iopubLast = now
	if f.Type != wire.TypeStatus {
		if parent.Type == "" || !passive(parent.Type) {
			a.last = now
		}
		return
	}
	if passive(parent.Type) {
		return
	}
	a.last = now
	switch state {
	case wire.StateBusy:
		if len(a.busy) < mostTracked {
			a.busy[string(parent.ID)] = now
		}
	case wire.StateIdle: // follows the reply
		delete(a.busy, string(parent.ID))
		delete(a.executes, string(parent.ID))
	case wire.StateStarting, wire.StateRestarting, wire.StateDead:
	}
}

// forget is called when the kernel's process has ended: nothing is running.
func (a *activity) forget(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.executes)
	clear(a.busy)
	a.last = now
}

// setTimeout changes the time-out. Where there was none, idle time begins now:
// a kernel that was kept ready for nobody in particular is not parked at once
// when it is taken.
func (a *activity) setTimeout(now time.Time, timeout time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timeout == 0 && timeout > 0 {
		a.since = now
	}
	a.timeout = timeout
}

func (a *activity) setCullConnected(cull bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cullConnected = cull
}

// suspect tells whether to ask the kernel if it is really busy.
func (a *activity) suspect(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.executes) == 0 && len(a.busy) > 0 && now.Sub(a.iopubLast) > suspectAfter
}

// answered is called when the kernel's main loop has answered a question of
// the agent's sent at asked: what was busy before then is over.
func (a *activity) answered(asked time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, since := range a.busy {
		if since.Before(asked) {
			delete(a.busy, id)
		}
	}
}

// idleness is what the state route tells.
type idleness struct {
	busy    bool
	last    time.Time     // last activity; now while busy
	idle    time.Duration // since then
	timeout time.Duration
	parks   bool // it will be parked, if nothing happens
	park    bool // it is time
	yields  bool // before its time, for somebody who waits
}

func (a *activity) idleness(now time.Time, connections int) idleness {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := idleness{busy: len(a.executes) > 0 || len(a.busy) > 0, last: a.last, timeout: a.timeout}
	if i.busy {
		i.last = now
		a.yield = 0
		return i
	}
	i.idle = max(0, now.Sub(a.last))
	if a.since.After(a.last) {
		i.idle = max(0, now.Sub(a.since))
	}
	i.parks = a.timeout > 0 && (connections == 0 || a.cullConnected)
	i.park = i.parks && i.idle >= a.timeout
	if a.yield > 0 && i.idle >= a.yield && (connections == 0 || a.cullConnected) {
		i.park, i.yields = true, true
	} else {
		a.yield = 0
	}
	return i
}
