package economy

import (
	"fmt"
	"slices"
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/queue/warm"
)

// pool is the kernels that are kept ready.
type pool struct {
	r       *replay
	budgets []warm.Budget
	pods    []*warmPod
	chosen  map[string]bool // classes
	made    int
	later   bool // a pass is due
}

// warmPod is one of them.
type warmPod struct {
	id, class, node string
	since           time.Duration
	ready, going    bool
}

func newPool(r *replay) *pool {
	p := &pool{r: r, chosen: map[string]bool{}}
	for _, w := range r.way.gateway.KeptReady() {
		p.budgets = append(p.budgets, warm.Budget{KernelSpec: w.KernelSpec, Count: int64(w.Count), Policies: w.Policies})
	}
	return p
}

// wanted reports whether any are kept ready.
func (p *pool) wanted() bool { return len(p.budgets) > 0 }

// class is that of a session's: they have its home.
func (p *pool) class(k *kernel) string {
	if !p.wanted() {
		return ""
	}
	return k.User
}

// plan chooses for whom kernels are kept ready.
func (p *pool) plan() {
	if !p.wanted() {
		return
	}
	s := warm.Snapshot{Now: wall(p.r.now), Budgets: p.budgets}
	var requests []admission.Request
	for _, k := range p.r.kernels {
		if !k.up {
			continue
		}
		n := warm.Notebook{
			ID: k.User, Policies: []string{policyName}, Started: wall(k.Start), Can: map[string]bool{},
			Open: map[string]time.Time{}, Ran: map[string]time.Time{}, Made: map[string]time.Time{},
		}
		switch k.status.Phase {
		case v1alpha1.KernelReady:
			n.Ran[kernelSpec] = s.Now
		case v1alpha1.KernelParked: // its page stays open, and the gateway says so from time to time
			n.Ran[kernelSpec] = wall(k.parked)
			n.Open[kernelSpec] = wall(p.r.now - (p.r.now-k.parked)%v1alpha1.PageOpenEvery)
		case v1alpha1.KernelQueued, v1alpha1.KernelStarting, v1alpha1.KernelDead:
		}
		for _, pod := range p.pods {
			if pod.class == k.User {
				n.Made[kernelSpec] = wall(pod.since)
			}
		}
		s.Notebooks = append(s.Notebooks, n)
		requests = append(requests, admission.Request{ID: "next of " + k.User, User: k.User, Policies: n.Policies, KernelSpec: kernelSpec, Wants: admission.Resources{gpu: 1}})
	}
	for i, free := range admission.Unbounded(p.r.input(), requests) {
		s.Notebooks[i].Can[kernelSpec] = free
	}
	choices, again := warm.Plan(s)
	clear(p.chosen)
	for _, c := range choices {
		p.chosen[c.Notebook] = true
	}
	if again > 0 && !p.later {
		p.later = true
		p.r.after(again, func() { p.later, p.r.changed = false, true })
	}
}

// listed are those that there are, as admission is shown them.
func (p *pool) listed() []admission.WarmPod {
	var list []admission.WarmPod
	for _, pod := range p.pods {
		list = append(list, admission.WarmPod{ID: pod.id, Class: pod.class, Ready: pod.ready, Going: pod.going, Holds: admission.Resources{gpu: 1}, Node: pod.node})
	}
	return list
}

// targets are those that are missing.
func (p *pool) targets() []admission.WarmTarget {
	var list []admission.WarmTarget
	for _, k := range p.r.kernels {
		has := slices.ContainsFunc(p.pods, func(pod *warmPod) bool { return pod.class == k.User && !pod.going })
		if p.chosen[k.User] && !has {
			list = append(list, admission.WarmTarget{ID: k.User, Order: len(list), Missing: 1, Wants: admission.Resources{gpu: 1}})
		}
	}
	return list
}

// carryOut ends those that are in the way or not wanted any more, and makes new ones.
func (p *pool) carryOut(d admission.Decision) {
	for _, pod := range p.pods {
		if !pod.going && (slices.Contains(d.EndWarm, pod.id) || !p.chosen[pod.class]) {
			pod.going = true
			p.r.after(podEnds, func() { p.remove(pod) })
		}
	}
	for _, k := range p.r.kernels {
		if d.MakeWarm[k.User] == 0 {
			continue
		}
		p.made++
		pod := &warmPod{id: fmt.Sprintf("warm%04d", p.made), class: k.User, node: p.r.place(), since: p.r.now}
		p.pods = append(p.pods, pod)
		p.r.after(draw(p.r.rng, p.r.measured.Cold), func() { pod.ready, p.r.changed = true, true })
	}
}

// take gives one to a kernel that has been admitted, and tells where it is.
func (p *pool) take(id string) (node string) {
	for _, pod := range p.pods {
		if pod.id == id {
			p.remove(pod)
			return pod.node
		}
	}
	panic("economy: admission has assigned a warm Pod that there is not")
}

func (p *pool) remove(pod *warmPod) {
	if at := slices.Index(p.pods, pod); at >= 0 {
		p.pods, p.r.changed = slices.Delete(p.pods, at, at+1), true
		p.r.outcome.keptReady(pod.since, p.r.now)
	}
}
