package keeper

import "time"

// Situation of a kernel, when its supervisor looks.
type Situation struct {
	Now  time.Time
	Busy bool
	// Used is when somebody has used the kernel last, be it what is no activity: at
	// another time it is not what it was.
	Used time.Time
	Idle time.Duration // since there was activity
	// May: the kernel may be parked if it is idle for long enough.
	May bool
	// Short and Long are the idle limits; 0: never. At the short one it is parked
	// only if everything is kept.
	Short, Long time.Duration
	// Yields: somebody waits for what the kernel holds, and it has been idle for
	// long enough. YieldAny: then not everything need be kept.
	Yields, YieldAny bool
}

// Step is what is to be done.
type Step int

// The steps. Saving and committing take time: their ends are told to the Plan.
const (
	Wait      Step = iota
	Save           // if nothing is at work beside the cells
	SaveAll        // whatever is at work beside the cells
	Interrupt      // the save gives way; then tell Done as for any
	Commit         // what was saved
	Discard        // what was saved
	Park           // with what is committed, if anything is
	Forget         // what is committed: the kernel has been used since
)

// again is how soon a save is tried again that was postponed, at most.
const again = time.Minute

// mostOutdated is how many saves in a row may be outdated by what is no activity, such
// as a page that asks for variables again and again, before the short limit does not
// hold; at the long one it is as many once more.
const mostOutdated = 3

type phase int

const (
	resting phase = iota
	saving
	saved
	committing
	committed
)

// Plan decides when a kernel's state is saved and when it is parked. It is pure:
// ask Next at every look, do what it says, and tell what came of it. The zero
// value is that of a process that was not looked at yet.
type Plan struct {
	phase       phase
	used        time.Time // when the save began
	outcome     Outcome   // of the save that is saved or after
	all         bool      // the last save was a SaveAll
	interrupted bool
	after       time.Time // not saved again before
	outdated    int       // saves since there was activity
}

// Next is what to do now.
func (p *Plan) Next(s Situation) Step {
	used := s.Busy || !s.Used.Equal(p.used)
	switch p.phase {
	case saving:
		if used && !p.interrupted {
			p.interrupted = true
			return Interrupt
		}
		return Wait
	case committing:
		return Wait
	case committed:
		if used {
			p.renew()
			return Forget
		}
		if !s.May {
			return Wait
		}
		return Park
	case saved:
		if used {
			had := p.holds()
			p.renew()
			if had {
				return Discard
			}
		}
	case resting:
	}
	short := s.Short > 0 && s.Idle >= s.Short
	anyhow := s.Long > 0 && s.Idle >= s.Long || s.Yields && s.YieldAny
	due := short || anyhow || s.Yields
	if !due && !s.Busy {
		p.outdated = 0
	}
	switch {
	case s.Busy, !s.May, !due:
		return Wait
	case p.phase != resting:
		return p.park(s, anyhow)
	case anyhow && p.outdated >= 2*mostOutdated:
		return Park
	case !anyhow && p.outdated >= mostOutdated:
		return Wait
	}
	return p.save(s, anyhow)
}

// renew begins anew: what was saved is not what the kernel is like.
func (p *Plan) renew() { *p = Plan{outdated: p.outdated + 1} }

// Later tells that a save has not begun that the Plan asked for.
func (p *Plan) Later() { *p = Plan{outdated: p.outdated} }

// Begin tells of a save, of everything, that the Plan has not asked for.
func (p *Plan) Begin(used time.Time) {
	*p = Plan{phase: saving, used: used, all: true, outdated: p.outdated}
}

func (p *Plan) save(s Situation, all bool) Step {
	p.Begin(s.Used)
	p.all = all
	if all {
		return SaveAll
	}
	return Save
}

// park is for a kernel that was saved and not used since.
func (p *Plan) park(s Situation, anyhow bool) Step {
	switch p.outcome {
	case Whole:
		p.phase = committing
		return Commit
	case Part:
		if anyhow {
			p.phase = committing
			return Commit
		}
	case Postponed:
		if anyhow && !p.all || !anyhow && !s.Now.Before(p.after) {
			return p.save(s, anyhow)
		}
		if anyhow {
			return Park
		}
	case Failed:
		if anyhow {
			return Park
		}
	}
	return Wait
}

// Committed reports whether there is a snapshot of this process.
func (p *Plan) Committed() bool { return p.phase == committed }

// Saving reports whether a save goes on.
func (p *Plan) Saving() bool { return p.phase == saving }

// Holds reports whether what is saved, or even committed, is the state of a kernel
// that was used last at that time.
func (p *Plan) Holds(used time.Time) (isSaved, isCommitted bool) {
	if !p.used.Equal(used) {
		return false, false
	}
	return p.phase == saved && p.holds(), p.phase == committed
}

func (p *Plan) holds() bool { return p.outcome == Whole || p.outcome == Part }

// Saved tells how a save ended.
func (p *Plan) Saved(now time.Time, outcome Outcome) {
	p.phase, p.outcome = saved, outcome
	p.after = now.Add(again)
}

// CommitEnded tells whether the commit went well.
func (p *Plan) CommitEnded(ok bool) {
	p.phase = committed
	if !ok {
		p.phase, p.outcome = saved, Failed
	}
}

// Lossy reports whether the kernel will be parked, if nothing happens, with less
// than it has.
func (p *Plan) Lossy(short time.Duration) bool {
	return short == 0 || p.phase == saved && p.outcome != Whole
}
