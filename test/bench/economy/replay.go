package economy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/usage"
)

const (
	gpusPerNode = 8
	// yieldEvery is how often kernels are asked to yield while somebody waits, and yieldPause the least
	// time between two rounds, as in package queue.
	yieldEvery = 5 * time.Second
	yieldPause = time.Second
	// hurried is how soon after its parking a kernel was wanted again that had better stayed.
	hurried = time.Minute
)

// midnight is that of the day.
var midnight = time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)

func wall(at time.Duration) time.Time { return midnight.Add(at) }

// replay is one day by one way.
type replay struct {
	agenda
	way      *Way
	measured Measured
	rng      *rand.Rand
	nodes    []admission.Node
	policies map[string]admission.Policy
	kernels  []*kernel
	byID     map[string]*kernel
	pool     *pool
	ledger   *usage.Ledger
	shown    []usage.Kernel // to the ledger
	outcome  *Outcome
	changed  bool          // since the last decision
	yieldDue time.Duration // the next round; 0: there is none
	yielded  time.Duration // the last
}

// Replay lets a day pass with so many GPUs. The same arguments have the same outcome.
func Replay(seed uint64, sessions []Session, way Way, gpus int, measured Measured) *Outcome {
	r := &replay{
		way: &way, measured: measured, rng: rand.New(rand.NewPCG(seed, 41)), byID: map[string]*kernel{}, outcome: newOutcome(sessions),
		policies: map[string]admission.Policy{policyName: {Name: policyName, Allowed: []string{kernelSpec}, GPUResource: gpu, GPUsPerKernel: 1, GPUsPerUser: 1}},
		ledger:   usage.NewLedger([usage.Shards]usage.Loaded{}, usage.Now{API: midnight}),
	}
	for left := int64(gpus); left > 0; left -= gpusPerNode {
		n := admission.Resources{gpu: min(left, gpusPerNode)}
		r.nodes = append(r.nodes, admission.Node{Name: fmt.Sprintf("node%02d", len(r.nodes)), Total: n, Free: n})
	}
	r.pool = newPool(r)
	for i := range sessions {
		in := way.parts(sessions[i].User)
		k := &kernel{
			Session: &sessions[i], limits: podspec.IdleRuleOf(way.config, in).Limits(), keeps: podspec.KeepOf(way.config, in).Enabled,
			lossy: rand.New(rand.NewPCG(seed, uint64(i))).Float64() < way.Lossy,
		}
		r.kernels, r.byID[k.User] = append(r.kernels, k), k
		r.at(k.Start, func() {
			k.up = true
			r.enqueue(k) // its notebook is opened
		})
		for _, cell := range k.Cells {
			r.at(cell.Asked, func() { r.ask(k) })
		}
		r.at(k.Stop, func() { r.stopIfOver(k) })
	}
	r.book()
	r.run(r.decide)
	r.book()
	r.outcome.total(r)
	return r.outcome
}

// ask is that the next cell of a session is run.
func (r *replay) ask(k *kernel) {
	k.asked++
	switch k.status.Phase {
	case v1alpha1.KernelReady:
		r.proceed(k)
	case v1alpha1.KernelParked:
		if k.asked == k.done+1 && r.now-k.parked < hurried {
			r.outcome.Hurried++
		}
		if len(k.status.Held) == 0 {
			r.enqueue(k)
		}
	case v1alpha1.KernelQueued, v1alpha1.KernelStarting, v1alpha1.KernelDead:
	}
}

// enqueue begins a run.
func (r *replay) enqueue(k *kernel) {
	r.changed = true
	k.status.Phase, k.since = v1alpha1.KernelQueued, r.now
	k.status.Run++
}

// input is what admission looks at.
func (r *replay) input() admission.Input {
	in := admission.Input{Policies: r.policies, Nodes: r.nodes, WarmPods: r.pool.listed(), Targets: r.pool.targets()}
	for _, k := range r.kernels {
		switch {
		case len(k.status.Held) > 0:
			in.Holders = append(in.Holders, admission.Holder{ID: k.User, User: k.User, Policies: []string{policyName}, Holds: admission.Resources{gpu: 1}, Node: k.node})
		case k.status.Phase == v1alpha1.KernelQueued:
			in.Requests = append(in.Requests, admission.Request{
				ID: k.User, User: k.User, Policies: []string{policyName}, KernelSpec: kernelSpec, Since: wall(k.since),
				Wants: admission.Resources{gpu: 1}, Returning: k.status.Run > 1, Class: r.pool.class(k),
			})
		}
	}
	return in
}

// decide is a pass of the leader.
func (r *replay) decide() {
	if !r.changed {
		return
	}
	r.changed = false
	waits := slices.ContainsFunc(r.kernels, func(k *kernel) bool { return k.status.Phase == v1alpha1.KernelQueued })
	if !waits && !r.pool.wanted() {
		return
	}
	r.pool.plan()
	in := r.input()
	d := admission.Decide(in)
	for _, id := range d.Admit {
		r.admit(r.byID[id], d.AssignWarm[id])
	}
	r.pool.carryOut(d)
	if len(d.Starved) > 0 && r.way.gateway.Spec.YieldIdleSeconds > 0 {
		r.yieldAt(max(r.now, r.yielded+yieldPause))
	}
}

// admit starts a kernel.
func (r *replay) admit(k *kernel, warmPod string) {
	k.held = r.now
	var takes time.Duration
	if warmPod == "" {
		k.node, takes = r.place(), draw(r.rng, r.measured.Cold)
	} else {
		k.node, takes = r.pool.take(warmPod), draw(r.rng, r.measured.Warm)
		r.outcome.FromWarm++
	}
	if k.status.Run > 1 {
		r.outcome.Returns++
		takes += r.way.Imports
	}
	if k.kept {
		takes += r.measured.Load
	}
	k.status.Phase = v1alpha1.KernelStarting
	k.status.Held = podspec.ToList(admission.Resources{gpu: 1})
	r.book()
	r.after(takes, func() {
		if k.status.Phase != v1alpha1.KernelStarting {
			return // it was stopped meanwhile
		}
		k.status.Phase = v1alpha1.KernelReady
		k.ready, k.used = r.now, r.now
		r.changed = true
		r.proceed(k)
	})
}

// place is the node that the scheduler chooses: the first with a free GPU.
func (r *replay) place() string {
	used := map[string]int64{}
	for _, k := range r.kernels {
		if len(k.status.Held) > 0 {
			used[k.node]++
		}
	}
	for _, p := range r.pool.pods {
		used[p.node]++
	}
	for _, n := range r.nodes {
		if used[n.Name] < n.Total[gpu] {
			return n.Name
		}
	}
	panic("economy: admission has admitted more than there is")
}

// yieldAt has a round of yieldRound begin, if none does earlier.
func (r *replay) yieldAt(at time.Duration) {
	if r.yieldDue != 0 && r.yieldDue <= at {
		return
	}
	r.yieldDue = at
	r.at(at, func() {
		if r.yieldDue == at {
			r.yieldDue, r.yielded = 0, r.now
			r.yieldRound()
		}
	})
}

// yieldRound asks idle kernels to yield to who waits.
func (r *replay) yieldRound() {
	grace := time.Duration(r.way.gateway.Spec.YieldIdleSeconds) * time.Second
	idle, waits := map[string]time.Duration{}, false
	for _, k := range r.kernels {
		waits = waits || k.status.Phase == v1alpha1.KernelQueued
		if k.status.Phase == v1alpha1.KernelReady && !k.running && !k.yields && !k.saving && r.now-k.used >= grace && r.now-k.ready >= grace {
			idle[k.User] = r.now - k.used
		}
	}
	if waits {
		r.yieldAt(r.now + yieldEvery)
	}
	if !waits || len(idle) == 0 {
		return
	}
	in := r.input() // as if who yields were gone
	in.Holders = slices.DeleteFunc(in.Holders, func(h admission.Holder) bool { return r.byID[h.ID].yields || r.byID[h.ID].status.Phase.IsOver() })
	if len(admission.Decide(in).Admit) > 0 {
		return
	}
	for _, id := range admission.Yield(in, idle) {
		r.byID[id].yields = true
		r.outcome.Yields++
		r.lookAt(r.byID[id])
	}
}

// book shows the ledger everything, as the leader does each second; here, whenever what is held changes.
func (r *replay) book() {
	r.changed = true
	r.shown = r.shown[:0]
	for _, k := range r.kernels {
		if k.status.Run > 0 {
			r.shown = append(r.shown, k.shown())
		}
	}
	r.ledger.Look(usage.Now{Mono: r.now, API: wall(r.now)}, r.shown, nil)
}
