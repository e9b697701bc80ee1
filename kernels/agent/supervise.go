package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	done     chan error // of a restart: nil when the kernel is ready
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
)

// supervise owns the kernel from the first start to the end.
func (a *agent) supervise(ctx context.Context) protocol.Result {
	var row crashes
	var waiting []chan error // restarts that are not done
	answer := func(err error) {
		for _, w := range waiting {
			w <- err
		}
		waiting = nil
	}
	defer func() { answer(errNotReady) }()
	for wasReady := false; ; {
		a.oomKills = memory{cgroupRoot}.kills()
		k, err := newKernel(a.ctx, a)
		if err != nil {
			return a.finish(nil, protocol.Result{Reason: protocol.ReasonStartFailed, Message: err.Error()})
		}
		a.log.Info("kernel started", slog.Int("pid", k.cmd.Process.Pid))
		found := a.watch(ctx, k, &waiting, answer)
		wasReady = wasReady || !k.up.IsZero()
		switch found {
		case endShutdown:
			return a.finish(k, protocol.Result{Reason: protocol.ReasonShutdown})
		case endTerminated:
			return a.finish(k, protocol.Result{Reason: protocol.ReasonTerminated, Message: "The agent was told to end."})
		case endIdle:
			return a.finish(k, protocol.Result{Reason: protocol.ReasonIdle})
		case endOrphaned:
			return a.finish(k, protocol.Result{Reason: protocol.ReasonOrphaned, Message: fmt.Sprintf(
				"Nobody has asked after the kernel for %s, and it was idle.", span(a.cfg.OrphanAfter))})
		case endSilent:
			if !wasReady {
				return a.finish(k, protocol.Result{Reason: protocol.ReasonStartFailed, Message: fmt.Sprintf(
					"The kernel did not answer within %v.\n%s", a.cfg.StartTimeout, k.tail)})
			}
			answer(errNotReady)
			k.stop(a.cfg.ShutdownGrace, false)
			fallthrough
		case endCrashed:
			how := a.death(k)
			if !wasReady {
				k.leave()
				return a.finish(nil, protocol.Result{Reason: protocol.ReasonStartFailed, ExitCode: k.exitCode(), Message: fmt.Sprintf(
					"The kernel ended before it answered: %s.\n%s", how, k.tail)})
			}
			wait, giveUp := row.next(k.lived())
			a.log.Warn("kernel crashed", slog.String("ending", how), slog.Int("in_a_row", int(row)))
			a.crashed(k, how, giveUp)
			if giveUp {
				return a.finish(nil, protocol.Result{Reason: protocol.ReasonKernelExited, ExitCode: k.exitCode(), Message: fmt.Sprintf(
					"The kernel crashed %d times in a row, at last with %s.\n%s", row, how, k.tail)})
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done(): // the next watch sees it
			}
		case endRestart:
			a.setState(wire.StateRestarting)
			k.stop(a.cfg.ShutdownGrace, true)
			a.leave(k)
			a.answerFor(wire.Failure{Name: "KernelRestarted", Value: "The kernel was restarted before it answered."})
		}
		a.mu.Lock()
		a.restarts++
		a.mu.Unlock()
	}
}

// watch waits until something is to be done about the kernel.
func (a *agent) watch(ctx context.Context, k *kernel, waiting *[]chan error, answer func(error)) endReason {
	ready := k.ready
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
			a.present(k)
			answer(nil)
		case <-timeout.C:
			return endSilent
		case <-k.done:
			return a.howItLeft(k, time.Now())
		case o := <-a.orders:
			if o.shutdown {
				return endShutdown
			}
			*waiting = append(*waiting, o.done)
			if ready == nil {
				return endRestart
			} // else it is on its way already
		case <-ctx.Done():
			return endTerminated
		case <-ticker.C:
			if ready != nil {
				continue
			}
			now := time.Now()
			if a.activity.suspect(now) && now.Sub(*k.asked.Load()) > suspectAfter {
				_ = k.ask() // a connection that broke is made anew
			}
			if a.decideToPark(now) {
				return endIdle
			}
			a.warnBeforeParking(now)
			if a.orphaned(now) {
				return endOrphaned
			}
		}
	}
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
	m := memory{cgroupRoot}
	if k.exitCode() == 128+int(syscall.SIGKILL) && m.kills() > a.oomKills {
		if limit := m.limit(); limit != "" {
			return "it needed more than the " + limit + " of memory that the kernel may have"
		}
		return "it needed more memory than the kernel may have"
	}
	return k.ending()
}

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
// a moment to say so to whoever waits for its cell.
func (k *kernel) stop(grace time.Duration, restart bool) {
	busy := func() bool { return k.a.activity.idleness(time.Now(), 0).busy }
	if busy() {
		_ = k.interrupt() // SIGTERM follows
		for until := time.Now().Add(interruptTime); busy() && time.Now().Before(until); {
			if k.exited(5 * time.Millisecond) {
				return
			}
		}
	}
	err := k.order(wire.TypeShutdownRequest, map[string]bool{"restart": restart})
	if err == nil && k.exited(grace/2) {
		return
	}
	_ = k.signal(syscall.SIGTERM)
	if k.exited(grace / 2) {
		return
	}
	_ = k.signal(syscall.SIGKILL)
	<-k.done
}

// finish ends the run: the clients are told, then the kernel is ended, if there still is one.
func (a *agent) finish(k *kernel, r protocol.Result) protocol.Result {
	a.mu.Lock()
	a.ending = true
	a.state = wire.StateDead
	a.mu.Unlock()
	if r.Reason == protocol.ReasonIdle {
		idle := a.activity.idleness(time.Now(), 0)
		r.Message = a.parkedNotice(idle)
		for _, s := range a.everySession() {
			s.showParked(a.builder, r.Message)
		}
		a.hangUp(r.Reason)
	}
	if k != nil {
		k.stop(a.cfg.ShutdownGrace, false)
		a.leave(k)
		a.answerFor(wire.Failure{Name: "KernelEnded", Value: "The kernel was ended before it answered."})
		r.ExitCode = k.exitCode()
	}
	a.hangUp(r.Reason)
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
