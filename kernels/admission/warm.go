package admission

import (
	"cmp"
	"maps"
	"slices"
)

// warmPod is a WarmPod in the course of a decision.
type warmPod struct {
	WarmPod
	node *node // where it takes room; nil for nowhere
	// assigned to a request, or ending for one: it is there no more.
	assigned, ending bool
}

// addWarmPods takes room for the warm Pods and puts them in the order of their use.
func (u *usage) addWarmPods(warmPods []WarmPod) {
	sorted := slices.Clone(warmPods)
	slices.SortFunc(sorted, func(a, b WarmPod) int {
		return cmp.Or(cmp.Compare(b2i(b.Ready), b2i(a.Ready)), cmp.Compare(b2i(a.Node == ""), b2i(b.Node == "")), cmp.Compare(a.ID, b.ID))
	})
	for _, s := range sorted {
		u.warmPods = append(u.warmPods, &warmPod{WarmPod: s, node: u.occupy(s.Node, s.Holds, s.Eligible, s.Unschedulable)})
	}
}

// warmPodFor finds a warm Pod that a request can take, or nil.
func (u *usage) warmPodFor(r *Request) *warmPod {
	if r.Class == "" {
		return nil
	}
	for _, s := range u.warmPods {
		if s.Class == r.Class && !s.Going && !s.assigned && !s.ending && !s.Unschedulable {
			return s
		}
	}
	return nil
}

// makeRoom gives up as few warm Pods as it takes for a request to have room on
// one node, and sets that room aside for it, which waits. It reports false, and
// gives up nothing, if all of them would not do.
func (u *usage) makeRoom(r *Request) (result, bool) {
	var best []*warmPod
	var at *node
	for _, n := range u.eligible(r.Eligible) {
		if n.Coming || !n.Total.covers(r.Wants) {
			continue
		}
		chosen, ok := u.enough(n, r.Wants)
		if ok && (at == nil || costs(chosen) < costs(best)) {
			best, at = chosen, n
		}
	}
	if at == nil {
		return result{}, false
	}
	for _, s := range best {
		s.ending = true
		for name, v := range s.Holds {
			at.coming[name] += v
		}
	}
	for name, want := range r.Wants {
		// the room is not there yet: nobody can be admitted to what is left of it
		soon := min(at.coming[name], want)
		at.coming[name] -= soon
		at.free[name] -= want - soon
	}
	u.group[account(r.Policies, u.policies)] += r.Wants.Sum()
	u.claim(r)
	return result{queue: nodesQueue(slices.Sorted(maps.Keys(r.Wants))), reason: Reason{Code: WarmPodEnds}}, true
}

// costs counts those that would not end anyway.
func costs(warmPods []*warmPod) (n int) {
	for _, s := range warmPods {
		n += 1 - b2i(s.Going)
	}
	return n
}

// enough chooses warmPods of a node whose end makes room for want: those that
// are going first, then in the reverse of the order in which they are taken.
func (u *usage) enough(n *node, want Resources) ([]*warmPod, bool) {
	free := Resources{}
	for name := range want {
		free[name] = n.free[name] + n.coming[name]
	}
	var chosen []*warmPod
	for _, going := range []bool{true, false} {
		for _, s := range slices.Backward(u.warmPods) {
			if free.covers(want) {
				return chosen, true
			}
			if s.node != n || s.assigned || s.ending || s.Going != going || !helps(s.Holds, free, want) {
				continue
			}
			chosen = append(chosen, s)
			for name := range want {
				free[name] += s.Holds[name]
			}
		}
	}
	return chosen, free.covers(want)
}

// helps reports whether holds has any of what is short.
func helps(holds, free, want Resources) bool {
	for name, n := range want {
		if free[name] < n && holds[name] > 0 {
			return true
		}
	}
	return false
}

// givenUp lists what is given up and would not end by itself.
func (u *usage) givenUp() []string {
	var ids []string
	for _, s := range u.warmPods {
		if s.ending && !s.Going {
			ids = append(ids, s.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// refill says how many warm Pods of each target there is room for, once everybody
// has been served and what is set aside is left alone.
func (u *usage) refill(targets []WarmTarget) map[string]int64 {
	made := map[string]int64{}
	sorted := slices.Clone(targets)
	slices.SortFunc(sorted, func(a, b WarmTarget) int { return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.ID, b.ID)) })
	for _, s := range sorted {
		for range s.Missing {
			if len(s.Wants) > 0 && u.nodes != nil {
				n := u.bestFit(s.Wants, s.Eligible, there)
				if n == nil {
					break
				}
				n.reserve(s.Wants)
			}
			made[s.ID]++
		}
	}
	return made
}

// Unbounded reports, of each request, whether no limit of its policies keeps it from
// being admitted now: none of them may be in the input, and none is booked.
func Unbounded(in Input, requests []Request) []bool {
	in.WarmPods = nil
	u := newUsage(in)
	free := make([]bool, len(requests))
	for i := range requests {
		r := &requests[i]
		l := limitsOf(r.Policies, u.policies)
		free[i] = r.Budget == (Reason{}) && !(l.bounded && l.missing) && l.never(r) == Reason{} && u.userLimit(r, l) == Reason{} && !u.poolIsFull(r, l)
	}
	return free
}

// poolIsFull reports whether what the pools of a request's policies have left is too little for it.
func (u *usage) poolIsFull(r *Request, l limits) bool {
	for name, want := range r.Wants {
		if p, limited := l.pools[name]; limited && u.pool[p.policy]+want > p.size {
			return true
		}
	}
	return false
}
