package keeper

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keep/store"
)

// Outcome of a save.
type Outcome int

// The outcomes.
const (
	Failed    Outcome = iota // there is no snapshot, and one of the same state would not be better
	Postponed                // work goes on beside the cells, or the save was interrupted
	Part                     // not everything is kept
	Whole                    // everything is kept
)

func (o Outcome) String() string {
	return [...]string{"failed", "postponed", "part", "whole"}[o]
}

// Saved is what came of a save. If it is Part or Whole, it is to be committed or
// discarded.
type Saved struct {
	Outcome    Outcome
	Why        error  // of Failed and Postponed
	Background []Work // that is why it is Postponed
	Report     Report

	draft *store.Draft
}

// interruptAgain is how long a kernel may take to notice an interrupt.
const interruptAgain = time.Second

// Save has the kernel's state stored. Unless it is forced, nothing is saved while
// something of the user's is at work beside the cells. Ending ctx interrupts the
// kernel and waits for its answer. The kernel is free, and will not be interrupted any
// more, when release is called, which is once: the volume may take longer.
func (k *Keeper) Save(ctx context.Context, kernel Kernel, force bool, release func()) Saved {
	release = sync.OnceFunc(release)
	defer release()
	if !force {
		switch work, err := k.busy(ctx, kernel); {
		case ctx.Err() != nil:
			return Saved{Outcome: Postponed, Why: errInterrupted}
		case err != nil:
			return Saved{Why: fmt.Errorf("asking what the kernel does: %w", err)}
		case len(work) > 0:
			return Saved{Outcome: Postponed, Why: errAtWork, Background: work}
		}
	}
	p, err := k.pipe("save")
	if err != nil {
		return Saved{Why: err}
	}
	defer p.close()
	return k.save(ctx, kernel, p, release)
}

var (
	errInterrupted = errors.New("a cell was to be run")
	errAtWork      = errors.New("something of the user's is at work beside the cells")
	errTooSlow     = errors.New("the save takes too long")
	errNoAnswer    = errors.New("the kernel does not answer")
)

// stored is what the store says of a stream.
type stored struct {
	draft *store.Draft
	err   error
}

func (k *Keeper) save(ctx context.Context, kernel Kernel, p *pipe, release func()) Saved {
	limits := k.cfg.Limits
	options := map[string]any{"seconds": limits.Save.Seconds(), "record_seconds": limits.Record.Seconds()}
	if k.cfg.MaxBytes > 0 {
		options["max_bytes"] = k.cfg.MaxBytes
	}
	storing, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	found := make(chan stored, 1)
	broken := make(chan struct{})
	go func() {
		draft, err := k.cfg.Store.Save(storing, k.cfg.Run, p.read)
		if err != nil {
			close(broken)
		}
		found <- stored{draft, err}
	}()
	report, err := k.ask(ctx, kernel, step{"save", p.path, options}, limits.Save, broken)
	release()

	// The kernel has closed its end: what it wrote is still there to be read. A stream that was
	// given up is closed before it can seem to have ended early, which would be told instead.
	if err != nil || report.Outcome != outcomeSaved {
		giveUp()
		_ = p.read.Close()
	} else {
		_ = p.read.SetReadDeadline(time.Now().Add(limits.Save)) // if another of its processes has the end open
	}
	_ = p.write.Close()
	s := <-found
	switch {
	case ctx.Err() != nil:
		return s.refuse(Postponed, errInterrupted)
	case errors.Is(err, ErrGone):
		return s.refuse(Failed, err)
	case s.err != nil && !closed(s.err) && !errors.Is(s.err, context.Canceled):
		return s.refuse(Failed, s.err)
	case err != nil:
		return s.refuse(Failed, err)
	case report.Outcome == "interrupted":
		return s.refuse(Postponed, errInterrupted)
	case report.Outcome == "too large":
		return s.refuse(Failed, store.ErrTooLarge)
	case report.Outcome == "deadline":
		return s.refuse(Failed, errTooSlow)
	case report.Outcome != outcomeSaved || s.err != nil:
		return s.refuse(Failed, fmt.Errorf("the kernel says: %s %s", report.Outcome, report.Error))
	}
	saved := Saved{Outcome: Part, Report: report, draft: s.draft}
	if report.Whole {
		saved.Outcome = Whole
	}
	return saved
}

func (s stored) refuse(outcome Outcome, why error) Saved {
	if s.draft != nil {
		s.draft.Discard()
	}
	return Saved{Outcome: outcome, Why: why}
}

// step is a call of a function that writes or reads a stream.
type step struct {
	function, stream string
	options          map[string]any
}

// ask has the kernel take a step, which ends with a report. When ctx ends, when the time
// is over or the other side of the pipe is broken, the kernel is interrupted until
// it answers or its grace is over.
func (k *Keeper) ask(ctx context.Context, kernel Kernel, s step, limit time.Duration, broken <-chan struct{}) (Report, error) {
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit+k.cfg.Limits.Grace)
	defer cancel()
	type answer struct {
		report Report
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		var a answer
		a.err = k.call(asking, kernel, s.function, s.stream, s.options, &a.report)
		answered <- a
	}()
	overdue := time.NewTimer(limit)
	defer overdue.Stop()
	select {
	case a := <-answered:
		return a.report, a.err
	case <-ctx.Done():
	case <-broken:
		// A kernel that was writing has noticed by itself.
		select {
		case a := <-answered:
			return a.report, a.err
		case <-ctx.Done():
		case <-time.After(interruptAgain):
		}
	case <-overdue.C:
	}
	over := time.NewTimer(k.cfg.Limits.Grace)
	defer over.Stop()
	for {
		if err := kernel.Interrupt(); err != nil {
			return Report{}, fmt.Errorf("interrupting the kernel: %w", err)
		}
		select {
		case a := <-answered:
			return a.report, a.err
		case <-time.After(interruptAgain):
		case <-over.C:
			return Report{}, errNoAnswer
		}
	}
}

// Commit makes what was saved the snapshot.
func (s *Saved) Commit() (store.Snapshot, error) {
	draft := s.draft
	s.draft = nil
	return draft.Commit()
}

// Discard gives up what was saved, if anything was.
func (s *Saved) Discard() {
	if s.draft != nil {
		s.draft.Discard()
		s.draft = nil
	}
}
