package agent

import (
	"sync"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
)

// mostTracked bounds each of the sets of requests that are remembered.
const mostTracked = 4096

// suspectAfter is how long a kernel may be called busy by iopub alone, in
// silence, before it is asked: its PUB socket may have dropped the "idle".
const suspectAfter = 30 * time.Second

// hungAfter is how long an execute_request may wait to begin while the kernel
// answers nothing on control either.
const hungAfter = 30 * time.Second

// activity decides what is work, and when to park. It is pure but for its lock:
// time comes in with every call and is compared on the monotonic clock.
//
// Busy is: an execute_request of a client is open, or iopub said busy and not
// yet idle for another of its requests; or the kernel's container computes,
// on CPUs or GPUs, while nothing is open (use.go). Not busy is a kernel that waits
// for a human (input_request, a breakpoint), and one that hangs: its execute_request has
// not begun, and nothing is answered on control. A busy kernel is never
// parked, however silent.
//
// Activity is: a client's message, the end of being busy. What clients send by
// themselves when they connect (kernel_info_request, comm_info_request,
// debug_request) is not: a notebook that reconnects does not hold a GPU. Nor is
// a silent execute_request, which variable inspectors send: it is work as long as it
// runs, and idle time goes on where it was. Nor is what the kernel says that nobody asked for: it is as long as the kernel likes.
type activity struct {
	mu            sync.Mutex
	timeout       time.Duration // 0: never
	cullConnected bool
	last          time.Time
	since         time.Time            // a time-out was set where there was none: idle time begins here
	wish          parkWish             // that it be parked at the next look
	executes      map[string]*execute  // execute_requests without reply
	asked         map[string]bool      // other requests of clients that are not over; whether silent
	busy          map[string]time.Time // those of them for which iopub said busy, and when
	input         bool                 // an open execute_request waits for an input_reply
	stopped       bool                 // the debugger has stopped the kernel
	answeredLast  time.Time            // on control
	iopubLast     time.Time
	cpu, gpu      use
	gpuTotal      time.Duration // how long a GPU was used, by its utilisation
	measured      time.Time
	short         time.Duration // as timeout, for a kernel whose state is kept whole; 0: never
	own           bool          // the kernel works for the agent
	touched       time.Time     // when what is no activity may have changed a variable
	refuses       refusal
	began         time.Time     // when the agent did
	worked        time.Duration // for how long the kernel has been busy, up to settled
	working       bool          // it was busy at settled
	settled       time.Time
}

// parkWish is that a kernel be parked before its time.
type parkWish struct {
	idle   time.Duration // if it has been idle for so long; 0: there is no such wish
	byHand bool          // of somebody who does not wait for what it holds
	budget bool          // since a budget is spent: clients do not hold it
	whole  bool          // only if everything is kept
}

// refusal is when a kernel does not yield to whoever waits for what it holds.
type refusal struct {
	whole bool      // it yields only if all of its state is kept, which
	never bool      // it never is
	found bool      // it was not
	used  time.Time // when the kernel was used last, as that was found
}

// execute is an open execute_request.
type execute struct {
	sent   time.Time
	begun  bool
	silent bool // nobody has run it
}

func newActivity(now time.Time, timeout time.Duration, cullConnected bool, busyCPU, busyGPU float64) *activity {
	return &activity{
		timeout: timeout, cullConnected: cullConnected, last: now, answeredLast: now,
		executes: map[string]*execute{}, asked: map[string]bool{}, busy: map[string]time.Time{},
		cpu: use{threshold: busyCPU}, gpu: use{threshold: busyGPU / 100}, measured: now, began: now, settled: now,
	}
}

func passive(msgType string) bool {
	switch msgType {
	case wire.TypeKernelInfoRequest, wire.TypeCommInfoRequest, wire.TypeDebugRequest, "":
		return true
	}
	return false
}

// request is called for every message of a client; silent is that of an
// execute_request.
func (a *activity) request(now time.Time, f wire.Fields, silent bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.settle(now)
	if silent || f.Type == wire.TypeDebugRequest {
		a.touched = now
	}
	if passive(f.Type) {
		return
	}
	if !silent {
		a.last = now
	}
	switch {
	case f.Type == wire.TypeInputReply:
		a.input = false
	case f.Type == wire.TypeExecuteRequest:
		if len(a.executes) < mostTracked {
			a.executes[string(f.ID)] = &execute{sent: now, silent: silent}
		}
	case len(a.asked) < mostTracked:
		a.asked[string(f.ID)] = false
	}
}

// reply is called for every message of the kernel on shell, control and stdin.
func (a *activity) reply(now time.Time, f, parent wire.Fields) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.settle(now)
	id := string(parent.ID)
	switch {
	case f.Type == wire.TypeInputRequest:
		if e := a.executes[id]; e != nil && !a.input {
			e.begun, a.input, a.last = true, true, now
		}
	case !passive(parent.Type):
		e := a.executes[id]
		a.over(now, id)
		if e != nil && e.begun { // its output may still be on its way, before "idle"
			a.asked[id], a.busy[id] = e.silent, now
		}
	case parent.Type == wire.TypeDebugRequest:
		a.touched = now
	}
}

// over forgets a request that is done. It counts once.
func (a *activity) over(now time.Time, id string) {
	e, executing := a.executes[id]
	silent, asked := a.asked[id]
	if !executing && !asked {
		return
	}
	delete(a.executes, id)
	delete(a.asked, id)
	delete(a.busy, id)
	if silent || executing && e.silent {
		a.touched = now
	} else {
		a.last = now
	}
	if executing {
		a.input, a.stopped = false, false
	}
}

// published is called for every message on iopub; state is empty unless it is a status.
func (a *activity) published(now time.Time, parent wire.Fields, state wire.State) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.settle(now)
	a.iopubLast = now
	id := string(parent.ID)
	switch state {
	case wire.StateBusy:
		if _, ok := a.asked[id]; ok {
			a.busy[id] = now
		}
	case wire.StateIdle: // follows the reply
		a.over(now, id)
		return
	case wire.StateStarting, wire.StateRestarting, wire.StateDead:
		return
	}
	if e := a.executes[id]; e != nil {
		e.begun = true
	}
}

// debugged is called for every event of the debugger.
func (a *activity) debugged(now time.Time, event string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.settle(now)
	switch event {
	case debugStopped:
		if len(a.executes) > 0 && !a.stopped {
			a.stopped, a.last = true, now
		}
	case debugContinued, debugTerminated, debugExited:
		if a.stopped {
			a.stopped, a.last = false, now
		}
	}
}

// alive is called when the kernel has answered on control.
func (a *activity) alive(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.settle(now)
	a.answeredLast = now
}

// forget is called when the kernel's process has ended: nothing is running.
func (a *activity) forget(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.settle(now)
	clear(a.executes)
	clear(a.asked)
	clear(a.busy)
	a.input, a.stopped = false, false
	a.last, a.answeredLast = now, now
	a.cpu.reset()
	a.gpu.reset()
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

func (a *activity) setShort(short time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.short = short
}

// refuse sets when the kernel does not yield.
func (a *activity) refuse(r refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuses = r
}

// works tells that the kernel works for the agent, or no longer: what it computes
// then is nobody's work.
func (a *activity) works(own bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.own = own
	a.cpu.reset()
	a.gpu.reset()
}

// suspect reports whether to ask the kernel if it is really busy.
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
			delete(a.asked, id)
		}
	}
}

// stalled reports whether to ask on control if the kernel is alive: something
// waits to begin.
func (a *activity) stalled(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	since, stalled := a.waitsToBegin()
	return stalled && now.Sub(since) > hungAfter/3
}

// waitsToBegin tells since when an execute_request has waited while no other
// request is being worked on.
func (a *activity) waitsToBegin() (since time.Time, waits bool) {
	if len(a.busy) > 0 {
		return time.Time{}, false
	}
	for _, e := range a.executes {
		if e.begun {
			return time.Time{}, false
		}
		if !waits || e.sent.Before(since) {
			since, waits = e.sent, true
		}
	}
	return since, waits
}

// standstill is why a kernel with open requests is not busy.
type standstill int

const (
	standstillNone  standstill = iota
	standstillInput            // it waits for an input_reply
	standstillDebug            // the debugger has stopped it
	standstillHung             // it does not answer
)

func (a *activity) standstill(now time.Time) standstill {
	if len(a.executes) == 0 {
		return standstillNone
	}
	if a.input {
		return standstillInput
	}
	if a.stopped {
		return standstillDebug
	}
	if since, waits := a.waitsToBegin(); waits && now.Sub(since) > hungAfter && now.Sub(a.answeredLast) > hungAfter {
		return standstillHung
	}
	return standstillNone
}

// used is called with how much the kernel's container has computed since it
// began, and how busy its GPUs are, in percent.
func (a *activity) used(now time.Time, total time.Duration, gpu float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.settle(now)
	open := a.own || (len(a.executes) > 0 || len(a.busy) > 0) && a.standstill(now) == standstillNone
	since := now.Sub(a.measured)
	a.gpuTotal += time.Duration(gpu / 100 * float64(since))
	a.measured = now
	onCPU, onGPU := a.cpu.sample(now, total, a.timeout, open), a.gpu.sample(now, a.gpuTotal, a.timeout, open)
	if onCPU || onGPU {
		a.last = now
		if !a.working {
			a.worked += since
		}
	}
}

// settle counts the time since it was called last, in which nothing has happened, and
// notes whether the kernel is busy from now on. Every event ends with it.
func (a *activity) settle(now time.Time) {
	if a.working {
		a.worked += max(0, now.Sub(a.settled))
	}
	a.settled = now
	a.working = (len(a.executes) > 0 || len(a.busy) > 0) && a.standstill(now) == standstillNone
}

// meter tells for how long the agent has been there, and for how much of that the
// kernel was busy: by a request, or by what it computes.
func (a *activity) meter(now time.Time) protocol.Meter {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle(now)
	held := max(0, now.Sub(a.began))
	return protocol.Meter{HeldSeconds: held.Seconds(), BusySeconds: min(a.worked, held).Seconds()}
}

// idleness is what the state route tells.
type idleness struct {
	running bool          // a request is open
	busy    bool          // it works
	still   standstill    // why it runs and does not work
	last    time.Time     // last activity; now while busy
	used    time.Time     // when a client may have changed a variable last; not before last
	idle    time.Duration // since last
	timeout time.Duration
	short   time.Duration
	free    bool // no client holds it
	parks   bool // it will be parked, if nothing happens
	park    bool // it is time
	yields  bool // before its time, for somebody who waits or by hand
	byHand  bool // the latter
	budget  bool // or since a budget is spent
	whole   bool // only if everything is kept
	refuses bool // to yield for somebody who waits
}

func (a *activity) idleness(now time.Time, connections int) idleness {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle(now)
	i := idleness{running: len(a.executes) > 0 || len(a.busy) > 0, still: a.standstill(now), last: a.last, timeout: a.timeout, short: a.short}
	i.busy = i.running && i.still == standstillNone
	if i.busy {
		i.last, i.used = now, now
		a.wish = parkWish{}
		return i
	}
	i.used = i.last
	if a.touched.After(i.used) {
		i.used = a.touched
	}
	i.idle = max(0, now.Sub(a.last))
	if a.since.After(a.last) {
		i.idle = max(0, now.Sub(a.since))
	}
	i.free = connections == 0 || a.cullConnected
	i.parks = a.timeout > 0 && i.free
	i.park = i.parks && i.idle >= a.timeout
	r, w := a.refuses, a.wish
	lossy := r.never || i.still != standstillNone || r.found && r.used.Equal(i.used)
	i.refuses = r.whole && lossy
	refused := i.refuses && !w.byHand && !w.budget || w.whole && lossy
	if w.idle > 0 && i.idle >= w.idle && (i.free || w.budget) && !refused {
		i.park, i.yields, i.byHand, i.budget, i.whole, i.free = true, true, w.byHand, w.budget, w.whole, true
	} else {
		a.wish = parkWish{}
	}
	return i
}
