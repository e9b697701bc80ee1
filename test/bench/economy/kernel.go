package economy

import (
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keep/keeper"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/usage"
)

// kernel is that of a session, over all of its runs.
type kernel struct {
	*Session
	limits protocol.IdleLimits
	keeps  bool // its state is kept
	lossy  bool // but not whole

	status v1alpha1.JupyterKernelStatus
	up     bool // its server is
	over   bool // nobody wants it any more
	node   string
	since  time.Duration // in the queue
	ready  time.Duration
	held   time.Duration // since when it holds a GPU

	asked, done int // cells
	running     bool
	used        time.Duration // when it was last
	look        int           // the look that counts
	yields      bool

	plan    keeper.Plan
	saving  bool
	stopped bool          // the save, for a cell
	busy    time.Duration // of this run
	parked  time.Duration
	kept    bool // by the run before
	final   usage.Meter
	lostAt  int // cells done when its variables were lost last
}

// lookAt looks whether to save or to park, as an agent does.
func (r *replay) lookAt(k *kernel) {
	if k.status.Phase != v1alpha1.KernelReady || k.running || k.saving || k.over {
		return
	}
	idle := r.now - k.used
	step := keeper.Wait
	switch {
	case k.keeps:
		step = k.plan.Next(keeper.Situation{
			Now: wall(r.now), Used: wall(k.used), Idle: idle, May: k.limits.CullConnected,
			Short: k.limits.Short, Long: k.limits.Long, Yields: k.yields, YieldAny: true,
		})
	case k.limits.Long > 0 && idle >= k.limits.Long, k.yields:
		step = keeper.Park
	}
	switch step {
	case keeper.Wait:
		r.lookLater(k, idle)
	case keeper.Save, keeper.SaveAll:
		k.saving = true
		r.after(r.measured.Save, func() { r.saved(k) })
	case keeper.Commit: // what a save takes has that in it
		k.plan.CommitEnded(true)
		r.lookAt(k)
	case keeper.Park:
		r.park(k)
	case keeper.Discard, keeper.Forget, keeper.Interrupt: // of a state that has been used since
		r.lookAt(k)
	}
}

// lookLater looks again when an idle limit is reached.
func (r *replay) lookLater(k *kernel, idle time.Duration) {
	k.look++
	this := k.look
	for _, limit := range []time.Duration{k.limits.Short, k.limits.Long} {
		if limit > idle {
			r.at(k.used+limit+tick, func() {
				if k.look == this {
					r.lookAt(k)
				}
			})
			return
		}
	}
}

// saved is the end of a save.
func (r *replay) saved(k *kernel) {
	k.saving = false
	outcome := keeper.Whole
	switch {
	case k.stopped:
		outcome = keeper.Postponed
	case k.lossy:
		outcome = keeper.Part
	}
	k.stopped = false
	k.plan.Saved(wall(r.now), outcome)
	r.proceed(k)
}

// proceed runs the next cell, if there is one.
func (r *replay) proceed(k *kernel) {
	if k.status.Phase != v1alpha1.KernelReady || k.running {
		return
	}
	if k.done == k.asked {
		if !r.stopIfOver(k) {
			r.lookAt(k)
		}
		return
	}
	if k.keeps {
		// A save gives way; the cell begins when it has, at the latest when it would have ended.
		switch k.plan.Next(keeper.Situation{Now: wall(r.now), Used: wall(r.now), Busy: true}) {
		case keeper.Interrupt:
			k.stopped = true
			r.outcome.Interrupted++
		case keeper.Wait, keeper.Save, keeper.SaveAll, keeper.Commit, keeper.Discard, keeper.Park, keeper.Forget:
		}
	}
	if k.saving {
		return
	}
	cell := k.Cells[k.done]
	k.running, k.yields = true, false
	r.outcome.began(k, r.now)
	r.after(cell.Takes, func() {
		k.running = false
		k.done++
		k.busy += cell.Takes
		k.used = r.now
		r.outcome.computed(r.now-cell.Takes, r.now)
		r.proceed(k)
	})
}

// park ends a run.
func (r *replay) park(k *kernel) {
	r.outcome.Parks++
	k.kept = k.keeps
	if !k.keeps {
		r.outcome.lose(k)
	}
	k.parked = r.now
	r.end(k, v1alpha1.KernelParked)
}

// end has the Pod go, and the GPU after it.
func (r *replay) end(k *kernel, phase v1alpha1.KernelPhase) {
	k.status.Phase, k.yields = phase, false
	r.changed = true
	k.plan = keeper.Plan{}
	k.look++
	r.after(podEnds, func() {
		r.outcome.had(k.held, r.now)
		k.status.Held, k.node = nil, ""
		// what its agent has counted at its end
		k.final = usage.Meter{Held: (r.now - k.held).Milliseconds(), Busy: k.busy.Milliseconds()}
		r.book()
		k.busy = 0
		if k.asked > k.done {
			r.enqueue(k)
		}
	})
}

// stopIfOver stops the server of a session when its time is over and its last cell has run.
func (r *replay) stopIfOver(k *kernel) bool {
	if k.over || r.now < k.Stop || k.done < len(k.Cells) {
		return k.over
	}
	k.over, k.up = true, false
	r.book()
	switch {
	case k.status.Phase.HasPod():
		r.end(k, v1alpha1.KernelDead)
	case k.status.Phase == v1alpha1.KernelQueued:
		k.status.Phase = v1alpha1.KernelDead
	}
	return true
}

// oneGPU is what every kernel holds.
var oneGPU = usage.Amounts{gpu: 1000}

// shown is what the ledger is shown.
func (k *kernel) shown() usage.Kernel {
	shown := usage.Kernel{
		UID: k.User, Name: k.User, Run: k.status.Run, Key: usage.Key{User: k.User, Group: policyName, KernelSpec: kernelSpec},
		Holds: lifecycle.Counted(k.status), Server: k.User, Amounts: oneGPU, Asked: wall(k.since),
	}
	if k.status.Phase != v1alpha1.KernelQueued { // else what is known is of the run before
		shown.Began, shown.Final, shown.FinalRun = wall(k.held), &k.final, k.status.Run
	}
	return shown
}
