package agent

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keep/keeper"
	"github.com/elastichub/elastichub/kernels/agent/keep/store"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// Keep is how the state of a kernel is kept while it is parked.
type Keep struct {
	Kernel string      // UID of the JupyterKernel
	Keys   []store.Key // the kernel's; the first seals
	Run    int64       // that this is
	Loads  int64       // run whose state is loaded; 0: the one before; less: none
	Files  string      // directory of python/keep and the adapters, as the kernel sees it
	// Short is after how much idle time the kernel is parked if all of its state is
	// kept; 0: never before IdleTimeout.
	Short time.Duration
	// YieldAny: who waits for what the kernel holds gets it also if not everything
	// is kept.
	YieldAny    bool
	TTL         time.Duration
	MaxBytes    int64 // 0: any number
	FreePercent int   // of the volume, left to others
	FreeAtMost  int64 // of these, bytes; 0: all
}

func (c *Keep) store(v store.Volume) (*store.Store, error) {
	return store.Open(v, store.Config{Kernel: c.Kernel, Keys: c.Keys, TTL: c.TTL, MaxBytes: c.MaxBytes,
		FreePercent: c.FreePercent, FreeAtMost: c.FreeAtMost})
}

// kept is the state of one process of the kernel being kept. It is the
// supervisor's; steps that take time run beside it, one at a time, and their ends
// are carried out by the supervisor.
type kept struct {
	a       *agent
	cfg     *Keep
	k       *kernel
	keeper  *keeper.Keeper
	life    context.Context // of the steps
	end     context.CancelFunc
	ends    chan func()
	settled bool               // clients may talk to the process
	off     bool               // the process cannot be kept
	step    context.CancelFunc // interrupts the step that goes on; nil if none does
	plan    keeper.Plan
	saved   keeper.Saved
	kept    *protocol.Kept // what is committed
	parked  bool           // the door is shut: what is committed is the last state
	said    string         // what people are told of the state when the kernel is parked
	short   time.Duration  // the limit at which it was parked, if that was the short one
}

// keepState begins to keep a process's state, if that is to be done; else it
// returns nil, and everything is as without.
func (a *agent) keepState(k *kernel) *kept {
	cfg := a.keep.Load()
	if cfg == nil {
		return nil
	}
	s, err := cfg.store(volume{a.processes})
	a.activity.refuse(refusal{whole: !cfg.YieldAny, never: err != nil})
	if err != nil {
		a.log.Error("the state of the kernel is not kept", slog.Any("error", err))
		return nil
	}
	p := &kept{a: a, cfg: cfg, k: k, ends: make(chan func())}
	p.keeper = keeper.New(keeper.Config{
		Store: s, Run: cfg.Run, Loads: cfg.Loads, Files: cfg.Files, Pipes: filepath.Dir(a.cfg.Socket),
		MaxBytes: cfg.MaxBytes, Limits: keeper.DefaultLimits(),
	})
	p.life, p.end = context.WithCancel(a.ctx)
	return p
}

// leave ends the step that goes on. That of a process that has died while it was
// loading says in which record.
func (p *kept) leave() {
	if p == nil {
		return
	}
	select {
	case <-p.k.done:
		if !p.settled && p.step != nil {
			select {
			case end := <-p.ends:
				end()
			case <-time.After(killTime + drainTime):
			}
		}
	default:
	}
	p.end()
	outdated := p.plan.Committed() && !p.parked // it has been used since, or is about to be
	briefly(func() {
		p.saved.Discard()
		if outdated {
			_ = p.keeper.Forget()
		}
	})
}

// briefly does what nothing may wait for long: the user's volume may be slow, or he
// may have made it so.
func briefly(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(flushTime):
	}
}

// finished are the ends of steps, to be carried out by the supervisor.
func (p *kept) finished() <-chan func() {
	if p == nil {
		return nil
	}
	return p.ends
}

// begin runs a step beside the supervisor. What it returns the supervisor carries
// out; if there is none any more, undo is called instead.
func (p *kept) begin(step func(ctx context.Context) (end, undo func())) {
	ctx, cancel := context.WithCancel(p.life)
	p.step = cancel
	go func() {
		end, undo := step(ctx)
		select {
		case p.ends <- func() { cancel(); p.step = nil; end() }:
		case <-p.life.Done():
			cancel()
			undo()
		}
	}()
}

func nothing() {}

// lossy reports whether parking will take something from the user.
func (p *kept) lossy(i idleness) bool {
	return p == nil || p.off || i.still != standstillNone || p.plan.Lossy(i.short)
}

// saves reports whether the kernel's state is being saved.
func (p *kept) saves() bool { return p != nil && p.plan.Saving() }

// words are what people are told of the state when the kernel is parked.
type words struct {
	text  string        // empty: it was not to be kept
	after time.Duration // the idle limit, if it is not the long one
	kept  *protocol.Kept
}

func (p *kept) words() words {
	if p == nil || p.off || !p.settled {
		return words{}
	}
	w := words{text: p.said, after: p.short, kept: &protocol.Kept{Outcome: protocol.KeptNone}}
	if _, committed := p.plan.Holds(p.a.activity.idleness(time.Now(), 0).used); committed {
		w.kept = p.kept
	}
	return w
}

// look decides whether to save, and reports whether to park. The door is shut then.
func (p *kept) look(now time.Time) (park bool) {
	if p.off {
		return p.a.decideToPark(now)
	}
	i := p.a.activity.idleness(now, p.a.connections())
	step := p.plan.Next(keeper.Situation{
		Now: now, Busy: i.running, Used: i.used, Idle: i.idle, May: i.free,
		Short: i.short, Long: i.timeout, Yields: i.yields, YieldAny: (p.cfg.YieldAny || i.byHand || i.budget) && !i.whole,
	})
	switch step {
	case keeper.Wait:
	case keeper.Interrupt:
		if p.step != nil {
			p.step()
		}
	case keeper.Save, keeper.SaveAll:
		p.save(i.used, step == keeper.SaveAll)
	case keeper.Commit:
		p.commit()
	case keeper.Discard:
		saved := p.saved
		p.saved, p.said = keeper.Saved{}, keeper.NotKept(nil)
		p.aside("state given up", func() error { saved.Discard(); return nil })
	case keeper.Forget:
		p.said = keeper.NotKept(nil)
		p.aside("state given up", p.keeper.Forget)
	case keeper.Park:
		p.short = 0
		if i.timeout == 0 || i.idle < i.timeout {
			p.short = i.short
		}
		p.parked = p.a.shutDoor(now, i.used)
		return p.parked
	}
	if i.still != standstillNone { // it answers nothing, and cannot be saved
		p.said = ""
		return p.step == nil && p.a.decideToPark(now)
	}
	return false
}

// save begins to save. Nothing reaches the kernel before the save is over, so that
// an interrupt of it cannot be one of a cell.
func (p *kept) save(used time.Time, all bool) {
	if p.step != nil {
		p.plan.Later()
		return
	}
	if !p.k.gate.TryLock() {
		p.tell(used, keeper.Failed) // the kernel does not read
		p.said = keeper.NotKept(nil)
		return
	}
	if i := p.a.activity.idleness(time.Now(), 0); i.busy || !i.used.Equal(used) {
		p.k.gate.Unlock()
		p.plan.Later()
		return
	}
	p.a.activity.works(true)
	p.begin(func(ctx context.Context) (end, undo func()) {
		saved := p.keeper.Save(ctx, keptKernel{p.k}, all, func() {
			p.a.activity.works(false)
			p.k.gate.Unlock()
		})
		end = func() {
			p.saved = saved
			p.tell(used, saved.Outcome)
			p.said = keeper.NotKept(saved.Why)
			p.a.log.Info("state saved", slog.String("outcome", saved.Outcome.String()), slog.Any("why", saved.Why), slog.Int("variables", saved.Report.Variables),
				slog.Int64("bytes", saved.Report.Bytes), slog.Float64("seconds", saved.Report.Seconds))
		}
		return end, saved.Discard
	})
}

// tell tells how a save ended of a kernel that was used last at that time.
func (p *kept) tell(used time.Time, outcome keeper.Outcome) {
	p.plan.Saved(time.Now(), outcome)
	p.a.activity.refuse(refusal{whole: !p.cfg.YieldAny, found: outcome != keeper.Whole, used: used})
}

// lastSaveTime is how long a kernel that is to end may be saved; what gives its Pod
// its grace leaves more.
const lastSaveTime = 40 * time.Second

// lastSave saves a kernel that is to end for a reason that is not its own, unless it
// is busy. The door is shut then.
func (p *kept) lastSave() {
	if p == nil || p.off || !p.settled {
		return
	}
	i := p.a.activity.idleness(time.Now(), 0)
	if i.running || !p.a.shutDoor(time.Now(), i.used) {
		return
	}
	p.parked = true // nothing is done with it any more
	overdue := time.NewTimer(lastSaveTime)
	defer overdue.Stop()
	for tried := false; ; {
		if p.step == nil {
			saved, committed := p.plan.Holds(i.used)
			switch {
			case committed:
				return
			case saved && p.saved.Outcome != keeper.Failed:
				p.commit()
			case tried:
				return
			default:
				tried = true
				p.saved.Discard()
				p.plan.Begin(i.used)
				p.save(i.used, true)
			}
			if p.step == nil {
				return
			}
		}
		select {
		case end := <-p.ends:
			end()
		case <-p.k.done:
			return
		case <-overdue.C:
			return
		}
	}
}

func (p *kept) commit() {
	saved := p.saved
	p.saved = keeper.Saved{}
	p.begin(func(context.Context) (end, undo func()) {
		snapshot, err := saved.Commit()
		return func() {
			p.plan.CommitEnded(err == nil)
			p.said = keeper.Kept(saved.Report)
			p.kept = &protocol.Kept{
				Outcome: protocol.KeptPart, Run: p.cfg.Run, Variables: saved.Report.Variables, Bytes: snapshot.StoredBytes,
				SavedAt: snapshot.SavedAt, Lost: keeper.LostIn(saved.Report, protocol.MostLost),
			}
			if saved.Report.Whole {
				p.kept.Outcome = protocol.KeptWhole
			}
			if err != nil {
				p.said = keeper.NotKept(err)
				p.a.log.Warn("state not kept", slog.Any("error", err))
			}
		}, nothing
	})
}

// aside does what nothing has to wait for.
func (p *kept) aside(what string, do func() error) {
	p.begin(func(context.Context) (end, undo func()) {
		err := do()
		return func() { p.a.log.Info(what, slog.Any("error", err)) }, nothing
	})
}

// shutDoor shuts the door on a kernel that has not been used since.
func (a *agent) shutDoor(now, used time.Time) bool {
	connections := a.connections()
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.activity.idleness(now, connections)
	a.ending = !i.busy && i.used.Equal(used)
	return a.ending
}

// sweep removes states from the home whose time is over, whichever kernel's they are:
// nobody starts a Pod for that.
func (a *agent) sweep() {
	swept, err := store.Sweep(volume{a.processes}, func(string) bool { return true }, time.Now())
	if len(swept) > 0 || err != nil {
		a.log.Info("old states removed", slog.Any("kernels", swept), slog.Any("error", err))
	}
}

// forget removes the state of a kernel that its owner has ended.
func (a *agent) forget() {
	cfg := a.keep.Load()
	if cfg == nil || a.processes == nil {
		return
	}
	s, err := cfg.store(volume{a.processes})
	if err == nil {
		err = store.ErrBusy
	}
	for begun := time.Now(); errors.Is(err, store.ErrBusy) && time.Since(begun) < flushTime; {
		if err = s.Delete(); err != nil { // a step that was ended may not be over
			time.Sleep(tick / 5)
		}
	}
	if err != nil {
		a.log.Warn("the state of the kernel could not be removed", slog.Any("error", err))
	}
}
