package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
)

const (
	mostCrashes  = 5                // in a row, before the agent gives up; as in jupyter_client
	stableAfter  = 10 * time.Second // a kernel that lived so long did not crash in a row
	firstBackoff = 100 * time.Millisecond
	tick         = 250 * time.Millisecond // how late idleness may be noticed
	flushTime    = 2 * time.Second        // for clients to get the last messages

	interruptTime     = 500 * time.Millisecond // for an interrupted cell to end
	interruptPatience = time.Second            // for a reply to an interrupt_request, before SIGINT
)

// errNotReady means that a restarted kernel did not answer in time.
var errNotReady = errors.New("agent: the kernel did not answer in time")

// order is what the server asks of the supervisor.
type order struct {
	shutdown bool       // or else restart
	keep     *Keep      // or that the kernel's state is kept so
	done     chan error // of a restart: nil when the kernel is ready; of keep: nil when it is so
}

// crashes counts crashes in a row.
type crashes int

// next tells how long to wait before the kernel is started again after it
// lived for that long once it was ready (0: it never was), or to give up.
func (c *crashes) next(lived time.Duration) (wait time.Duration, giveUp bool) {
	if lived >= stableAfter {
		*c = 0
	}
	if *c++; *c > mostCrashes {
		return 0, true
	}
	return firstBackoff << (*c - 1), false
}

// endReason is what watch found.
type endReason int

const (
	endCrashed endReason = iota
	endRestart
	endSilent // it did not answer in time
	endShutdown
	endIdle
	endTerminated
	endOrphaned
	endSpoilt // a state could be loaded in part only
	endLost   // the kernel's container has ended, or run-kernel does not answer
)

// supervise owns the kernel from the first start to the end.
func (a *agent) supervise(ctx context.Context, control net.Listener) protocol.Result {
	var row crashes
	var waiting []chan error // restarts that are not done
	answer := func(err error) {
		for _, w := range waiting {
			w <- err
		}
		waiting = nil
	}
	defer func() { answer(errNotReady) }()
	if early := a.awaitContainer(ctx, control, &waiting); early != nil {
		return a.finish(nil, *early)
	}
	measuring, stop := context.WithCancel(ctx)
	defer stop()
	go a.measure(measuring)
	for wasReady := false; ; {
		a.usage, _ = a.processes.usage(false) // what is not known is not said
		k, err := newKernel(a.ctx, a)
		if errors.Is(err, errGone) || errors.Is(err, errNoAnswer) {
			return a.finish(nil, a.lost(err))
		}
		if err != nil {
			return a.finish(nil, protocol.Result{Reason: protocol.ReasonStartFailed, Message: err.Error()})
		}
		a.log.Info("kernel started", slog.Int("pid", k.id))
		found := a.watch(ctx, k, &waiting, answer)
		wasReady = wasReady || !k.up.IsZero()
		switch found {
		case endShutdown:
			return a.finish(k, protocol.Result{Reason: protocol.ReasonShutdown})
		case endTerminated:
			return a.finish(k, protocol.Result{Reason: protocol.ReasonTerminated, Message: terminatedMessage})
		case endIdle:
			return a.finish(k, protocol.Result{Reason: protocol.ReasonIdle})
		case endOrphaned:
			return a.finish(k, protocol.Result{Reason: protocol.ReasonOrphaned, Message: fmt.Sprintf(
				"Nobody has asked after the kernel for %s, and it was idle.", span(a.cfg.OrphanAfter))})
		case endLost:
			a.leave(k)
			return a.finish(nil, a.lost(errGone))
		case endSilent:
			if !wasReady {
				r := a.finish(k, protocol.Result{Reason: protocol.ReasonStartFailed})
				r.Message = fmt.Sprintf("The kernel did not answer within %v.\n%s", a.cfg.StartTimeout, k.output())
				return r
			}
			answer(errNotReady)
			if !k.stop(a.cfg.ShutdownGrace, false) {
				return a.finish(nil, a.lost(errNoAnswer))
			}
			fallthrough
		case endCrashed:
			how := a.death(k)
			if !wasReady {
				k.leave()
				return a.finish(nil, protocol.Result{Reason: protocol.ReasonStartFailed, ExitCode: k.exitCode(), Message: fmt.Sprintf(
					"The kernel ended before it answered: %s.\n%s", how, k.output())})
			}
			if a.retry(k, how) {
				continue
			}
			wait, giveUp := row.next(k.lived())
			a.log.Warn("kernel crashed", slog.String("ending", how), slog.Int("in_a_row", int(row)))
			a.crashed(k, how, giveUp)
			if giveUp {
				return a.finish(nil, protocol.Result{Reason: protocol.ReasonKernelExited, ExitCode: k.exitCode(), Message: fmt.Sprintf(
					"The kernel crashed %d times in a row, at last with %s.\n%s", row, how, k.output())})
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done(): // the next watch sees it
			}
		case endSpoilt:
			if !a.discard(k) {
				return a.finish(nil, a.lost(errNoAnswer))
			}
			continue
		case endRestart:
			a.setState(wire.StateRestarting)
			a.restored = restoring{over: true} // whoever restarts wants to begin anew
			go a.forget()
			stopped := k.stop(a.cfg.ShutdownGrace, true)
			a.leave(k)
			if !stopped {
				return a.finish(nil, a.lost(errNoAnswer))
			}
			a.answerFor(wire.Failure{Name: "KernelRestarted", Value: "The kernel was restarted before it answered."})
		}
		a.mu.Lock()
		a.restarts++
		a.mu.Unlock()
	}
}

// awaitContainer waits until run-kernel is there. It returns how the run ends
// if it ends before.
func (a *agent) awaitContainer(ctx context.Context, control net.Listener, waiting *[]chan error) *protocol.Result {
	limited, cancel := context.WithTimeout(ctx, a.cfg.ContainerTimeout)
	defer cancel()
	type accepted struct {
		processes *processes
		err       error
	}
	there := make(chan accepted, 1)
	go func() {
		p, err := acceptProcesses(limited, control)
		there <- accepted{p, err}
	}()
	shutdown := false
	for {
		select {
		case o := <-a.orders:
			if o.keep != nil {
				o.done <- errNotUp
				continue
			}
			if !o.shutdown {
				*waiting = append(*waiting, o.done)
				continue
			}
			shutdown = true
			cancel()
		case found := <-there:
			a.processes = found.processes // also if it comes too late: it is to be ended
			switch {
			case shutdown:
				return &protocol.Result{Reason: protocol.ReasonShutdown}
			case ctx.Err() != nil:
				return &protocol.Result{Reason: protocol.ReasonTerminated, Message: terminatedMessage}
			case limited.Err() != nil:
				return &protocol.Result{Reason: protocol.ReasonStartFailed, Message: fmt.Sprintf(
					"The kernel's container did not begin within %s.", span(a.cfg.ContainerTimeout))}
			case found.err != nil:
				return &protocol.Result{Reason: protocol.ReasonStartFailed, Message: found.err.Error()}
			}
			return nil
		}
	}
}

const terminatedMessage = "The agent was told to end."

// lost is the end of a run whose container has ended or is out of reach. The
// sessions are told.
func (a *agent) lost(err error) protocol.Result {
	r := protocol.Result{Reason: protocol.ReasonKernelExited, ExitCode: 128 + int(syscall.SIGKILL), Message: "The kernel's container ended."}
	a.log.Warn("kernel lost", slog.Any("error", err))
	hint := ""
	if errors.Is(err, errNoAnswer) {
		r.Message = "The kernel could not be ended or started: what runs it in its container does not answer."
	} else if a.usage.MemoryLimit > 0 {
		hint = fmt.Sprintf("; most often it needed more than the %s of memory that it may have", gibibytes(a.usage.MemoryLimit))
	}
	a.tellAll("[the kernel died: its container has ended" + hint + "]\n")
	a.answerFor(wire.Failure{Name: "KernelDied", Value: "The kernel died: " + r.Message})
	a.announce(wire.StateDead)
	return r
}

// measure asks what the kernel's container uses, until ctx ends.
func (a *agent) measure(ctx context.Context) {
	gpu := a.cfg.BusyGPU > 0 && a.cfg.GPUs > 0 // without GPUs of its own it may see those of others
	ticker := time.NewTicker(useEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.processes.gone:
			return
		case <-ticker.C:
			u, err := a.processes.usage(gpu)
			if err == nil && u.CPUSeconds >= 0 && u.CPUSeconds < mostCPUSeconds && u.GPUPercent >= 0 && u.GPUPercent <= 100 {
				a.activity.used(time.Now(), time.Duration(u.CPUSeconds*float64(time.Second)), u.GPUPercent)
			}
		}
	}
}

// mostCPUSeconds is more than any container computes; it fits a time.Duration.
const mostCPUSeconds = 1e9

// watch waits until something is to be done about the kernel.
func (a *agent) watch(ctx context.Context, k *kernel, waiting *[]chan error, answer func(error)) endReason {
	ready := k.ready
	var booted <-chan struct{}
	kept := a.keepState(k)
	defer func() { kept.leave() }()
	present := func() {
		a.present(k)
		answer(nil)
	}
	var pinged time.Time
	timeout := time.NewTimer(a.cfg.StartTimeout)
	defer timeout.Stop()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ready:
			ready = nil
			timeout.Stop()
			k.up = time.Now()
			a.log.Info("kernel ready", slog.Duration("after", k.up.Sub(k.started)))
			if kept != nil {
				kept.settle()
			} else if booted = a.boot(k); booted == nil {
				present()
			}
		case <-booted:
			booted = nil
			present()
		case end := <-kept.finished():
			settled := kept.settled
			end()
			if a.restored.spoilt {
				return endSpoilt
			}
			if kept.settled && !settled {
				present()
				if !kept.off {
					go a.swept.Do(a.sweep)
				}
			}
		case <-a.wake:
			if kept.saves() {
				kept.look(time.Now())
			}
		case <-timeout.C:
			return endSilent
		case <-k.done:
			if k.lost {
				return endLost
			}
			return a.howItLeft(k, time.Now())
		case o := <-a.orders:
			if o.shutdown {
				return endShutdown
			}
			if o.keep != nil {
				if ready != nil || booted != nil {
					o.done <- errNotUp
					continue
				}
				began, err := a.takeKeep(k, o.keep)
				if began != nil {
					kept = began
				}
				o.done <- err
				continue
			}
			*waiting = append(*waiting, o.done)
			if ready == nil && booted == nil {
				return endRestart
			} // else it is on its way already
		case <-ctx.Done():
			kept.lastSave()
			a.parked = kept.words()
			return endTerminated
		case <-ticker.C:
			if ready != nil || booted != nil || kept != nil && !kept.settled {
				continue
			}
			now := time.Now()
			if a.activity.suspect(now) && now.Sub(*k.asked.Load()) > suspectAfter {
				_ = k.ask() // a connection that broke is made anew
			}
			if a.activity.stalled(now) && now.Sub(pinged) > hungAfter/6 {
				pinged = now
				k.ping()
			}
			if a.timeToPark(kept, now) {
				a.parked = kept.words()
				return endIdle
			}
			a.warnBeforeParking(now, kept)
			a.tell()
			if a.orphaned(now) {
				return endOrphaned
			}
		}
	}
}

// timeToPark is decideToPark, by way of a save where state is kept.
func (a *agent) timeToPark(kept *kept, now time.Time) bool {
	if kept == nil {
		return a.decideToPark(now)
	}
	return kept.look(now)
}

// decideToPark judges idleness and, in the same step, shuts the door: a
// message that came before keeps the kernel, one that comes after does not
// reach it.
func (a *agent) decideToPark(now time.Time) bool {
	connections := a.connections()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ending = a.activity.idleness(now, connections).park
	return a.ending
}

// present makes a kernel that is ready the one that clients talk to.
func (a *agent) present(k *kernel) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kernel, a.state, a.info = k, wire.StateIdle, k.info
	if a.came == nil {
		began := a.activity.began
		a.came = &protocol.Came{ProcessSeconds: k.started.Sub(began).Seconds(), AnswerSeconds: k.up.Sub(began).Seconds(), ReadySeconds: time.Since(began).Seconds()}
	}
	for _, s := range a.sessions {
		k.attach(s)
	}
}

func (a *agent) setState(state wire.State) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state = state
}

// leave takes leave of a process that is done, once its last words are with the sessions.
func (a *agent) leave(k *kernel) {
	a.mu.Lock()
	a.kernel = nil
	a.mu.Unlock()
	k.leave()
	a.activity.forget(time.Now())
}

// answerFor answers whatever a process that is gone has left unanswered, so
// that no client waits for ever.
func (a *agent) answerFor(why wire.Failure) {
	for _, s := range a.everySession() {
		for _, r := range s.abandoned() {
			s.put(a.builder.ErrorReply(r.channel, r.header, why))
			s.put(a.builder.Status(r.header, wire.StateIdle))
		}
	}
}

// crashed tells the sessions what jupyter_server's restarter would, and what happened.
func (a *agent) crashed(k *kernel, how string, giveUp bool) {
	state, next := wire.StateRestarting, "it is being restarted; its variables are gone"
	if giveUp {
		state, next = wire.StateDead, "it crashed too often to be restarted again"
	}
	a.setState(state)
	a.leave(k)
	a.tellAll(fmt.Sprintf("[the kernel died: %s; %s]\n", how, next))
	a.answerFor(wire.Failure{Name: "KernelDied", Value: "The kernel died: " + how + "."})
	a.announce(state)
}

// death says in words how a kernel's process ended.
func (a *agent) death(k *kernel) string {
	if k.exitCode() == 128+int(syscall.SIGKILL) && k.exit.Usage.MemoryKills > a.usage.MemoryKills {
		if limit := k.exit.Usage.MemoryLimit; limit > 0 {
			return "it needed more than the " + gibibytes(limit) + " of memory that the kernel may have"
		}
		return "it needed more memory than the kernel may have"
	}
	return k.ending()
}

func gibibytes(n uint64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

// lived is how long the kernel was ready.
func (k *kernel) lived() time.Duration {
	if k.up.IsZero() {
		return 0
	}
	return time.Since(k.up)
}

// interrupt stops what the kernel is doing. A kernel that does not answer the
// request, because it does not know it or reads nothing while it is busy, gets
// the signal.
func (k *kernel) interrupt() error {
	mode := k.a.cfg.InterruptMode
	if mode == protocol.InterruptSignal {
		return k.signal(syscall.SIGINT)
	}
	answered := k.awaitInterruptReply()
	err := k.order(wire.TypeInterruptRequest, struct{}{})
	switch {
	case mode == protocol.InterruptMessage:
		return err
	case err != nil:
		return k.signal(syscall.SIGINT)
	}
	k.work.Go(func() {
		select {
		case <-answered:
		case <-k.alive.Done():
		case <-time.After(interruptPatience):
			k.a.log.Debug("interrupt_request not answered: SIGINT")
			_ = k.signal(syscall.SIGINT)
		}
	})
	return nil
}

// stop ends the process: shutdown_request, after half the grace SIGTERM, after
// the other half SIGKILL, to all of its group. A busy kernel is interrupted
// first, as by jupyter_client, since it would not notice the request, and gets
// a moment to say so to whoever waits for its cell. It returns whether the
// process has ended, for which it does not wait for ever.
func (k *kernel) stop(grace time.Duration, restart bool) bool {
	running := func() bool { return k.a.activity.idleness(time.Now(), 0).running }
	if running() {
		_ = k.interrupt() // SIGTERM follows
		for until := time.Now().Add(interruptTime); running() && time.Now().Before(until); {
			if k.exited(5 * time.Millisecond) {
				return true
			}
		}
	}
	err := k.order(wire.TypeShutdownRequest, map[string]bool{"restart": restart})
	if err == nil && k.exited(grace/2) {
		return true
	}
	_ = k.signal(syscall.SIGTERM)
	if k.exited(grace / 2) {
		return true
	}
	_ = k.signal(syscall.SIGKILL)
	return k.exited(killTime)
}

// finish ends the run: the clients are told, then the kernel is ended, if there still is one.
func (a *agent) finish(k *kernel, r protocol.Result) protocol.Result {
	a.mu.Lock()
	a.ending = true
	a.state = wire.StateDead
	a.mu.Unlock()
	if k != nil { // it may have what runs it stopped, and every step below would take its time
		time.AfterFunc(a.cfg.ShutdownGrace+killTime, func() { a.over.Store(true) })
	}
	if r.Reason == protocol.ReasonIdle || r.Reason == protocol.ReasonTerminated {
		r.Kept = a.parked.kept
	}
	if r.Reason == protocol.ReasonIdle {
		idle := a.activity.idleness(time.Now(), 0)
		r.Message = a.parkedNotice(idle, a.parked)
		for _, s := range a.everySession() {
			s.showParked(a.builder, r.Message)
		}
		a.hangUp(r.Reason)
	}
	if k != nil {
		stopped := k.stop(a.cfg.ShutdownGrace, false)
		a.leave(k)
		a.answerFor(wire.Failure{Name: "KernelEnded", Value: "The kernel was ended before it answered."})
		if stopped { // else the kubelet ends it
			r.ExitCode = k.exitCode()
		}
	}
	a.hangUp(r.Reason)
	if r.Reason == protocol.ReasonShutdown {
		briefly(a.forget)
	}
	a.log.Info("kernel ended", slog.String("reason", string(r.Reason)), slog.Int("exit_code", r.ExitCode))
	return r
}

// hangUp lets clients read what there is, briefly, and closes their connections.
func (a *agent) hangUp(reason protocol.Reason) {
	deadline := time.Now().Add(flushTime)
	var all sync.WaitGroup
	for _, s := range a.everySession() {
		all.Go(func() { s.disconnect(deadline, protocol.CloseEnded, string(reason)) })
	}
	all.Wait()
}
