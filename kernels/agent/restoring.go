package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"syscall"

	"github.com/elastichub/elastichub/kernels/agent/keep/keeper"
	"github.com/elastichub/elastichub/kernels/agent/keep/store"
)

// mostDeaths is in how many records of a snapshot processes may die before it is
// given up.
const mostDeaths = 2

// restoring is what the run's processes have in common: the first of them gets the
// state of the run before. The supervisor's.
type restoring struct {
	over    bool // it was loaded, or given up
	none    bool // there is none
	died    bool // a process has just died of it
	spoilt  bool // the process has some of what could not be loaded, and is to go
	without []keeper.Record
	// undebugged: a process died when its debugger was set, which is left off.
	undebugged bool
	fatal      lastSteps
}

// lastSteps says what was brought back when a process died, and without what it is
// started again.
type lastSteps struct{ what, without string }

// retry takes leave of a process that died of the state it was loading, if it did,
// and tells people. No client has spoken to it: what they sent waits for the next.
func (a *agent) retry(k *kernel, how string) bool {
	r := &a.restored
	if !r.died {
		return false
	}
	r.died = false
	k.leave()
	fatal := r.fatal
	if r.over {
		fatal = lastSteps{"its variables were", "them"}
	}
	a.tellAll(fmt.Sprintf("[the kernel died while %s brought back: %s; it is started again without %s]\n", fatal.what, how, fatal.without))
	return true
}

// discard ends a process that has some of a state that could not be loaded: settings,
// modules, or what hangs in a constructor. No client has spoken to it.
func (a *agent) discard(k *kernel) (ended bool) {
	a.restored.spoilt = false
	_ = k.signal(syscall.SIGKILL)
	ended = k.exited(killTime)
	k.leave()
	return ended
}

// settle gets a process ready for clients: what is there before their first cell is
// noted, and the state of the run before is loaded.
func (p *kept) settle() {
	restore, none, without, undebugged := !p.a.restored.over, p.a.restored.none, p.a.restored.without, p.a.restored.undebugged
	p.begin(func(ctx context.Context) (end, undo func()) {
		if !keeper.Keeps(implementation(p.k.info)) {
			return p.cannot, nothing
		}
		if err := p.keeper.Begin(ctx, keptKernel{p.k}); err != nil {
			return func() {
				p.cannot()
				p.a.log.Warn("the state of the kernel cannot be kept", slog.Any("error", err))
			}, nothing
		}
		if !restore {
			return func() { p.settled = true }, nothing
		}
		if none {
			return p.nothingKept, nothing
		}
		switch _, err := p.keeper.Waits(); {
		case errors.Is(err, store.ErrNoSnapshot), errors.Is(err, store.ErrOtherRun):
			return p.nothingKept, nothing
		case err != nil:
			return func() { p.settled = true; p.restored(keeper.Report{}, err) }, nothing
		}
		report, err := p.keeper.Load(ctx, keptKernel{p.k}, without)
		if err == nil {
			err = p.setDebugger(ctx, &report, undebugged)
		}
		return func() { p.restored(report, err) }, nothing
	})
}

// cannot is for a process whose state cannot be kept.
func (p *kept) cannot() {
	p.off = true
	p.a.activity.refuse(refusal{whole: !p.cfg.YieldAny, never: true})
	p.nothingKept()
}

// nothingKept is for a process that has no state to load. That there was one before,
// whose state was not kept, people are told.
func (p *kept) nothingKept() {
	if !p.a.restored.over && p.cfg.Run > 1 {
		p.a.greet("Variables from before are gone; files are kept.")
	}
	p.settled, p.a.restored.over = true, true
}

// restored takes the end of a load, and tells people.
func (p *kept) restored(report keeper.Report, err error) {
	r := &p.a.restored
	var died *keeper.DiedError
	if errors.As(err, &died) && len(r.without) < mostDeaths {
		r.without, r.died = append(r.without, died.Record), true
		r.fatal = lastSteps{fmt.Sprintf("`%s` was", died.Record.Name), "that"}
		p.a.log.Warn("the kernel died of its state", slog.Any("error", err))
		return
	}
	if errors.Is(err, errDebuggerDied) {
		r.undebugged, r.died, r.fatal = true, true, lastSteps{"its breakpoints were", "them"}
		p.a.log.Warn("the kernel died of its debugger")
		return
	}
	r.over, r.died = true, errors.Is(err, keeper.ErrGone)
	r.spoilt = err != nil && !r.died && !p.settled
	p.settled = err == nil || p.settled
	text := keeper.NotReturned(err)
	if err == nil {
		text = keeper.Returned(report, r.without)
		p.a.log.Info("state loaded", slog.Int("variables", report.Variables), slog.Int64("bytes", report.Bytes), slog.Float64("seconds", report.Seconds))
	} else {
		p.a.log.Warn("state not loaded", slog.Any("error", err))
	}
	p.a.greet(text)
}

// implementation is the one that a kernel_info_reply names, if it does.
func implementation(kernelInfo []byte) string {
	var info struct{ Implementation string }
	_ = json.Unmarshal(kernelInfo, &info)
	return info.Implementation
}
