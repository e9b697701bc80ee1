package admission

import (
	"cmp"
	"maps"
	"slices"
)

// Decide gives every request its outcome. It depends on nothing but its input,
// and not on the order of the slices in it.
func Decide(in Input) Decision {
	u := newUsage(in)
	d := Decision{Wait: map[string]QueuePosition{}, Refuse: map[string]Reason{}, AssignWarm: map[string]string{}, MakeWarm: map[string]int64{}}
	var waiting []waiter
	for q := newQueues(in.Requests, in.Policies); ; {
		r, ok := q.next(u)
		if !ok {
			break
		}
		res := u.decide(r)
		switch res.outcome {
		case admitted:
			d.Admit = append(d.Admit, r.ID)
			if res.warmPod != "" {
				d.AssignWarm[r.ID] = res.warmPod
			}
		case refused:
			d.Refuse[r.ID] = res.reason
		case waits:
			waiting = append(waiting, waiter{id: r.ID, queue: res.queue, reason: res.reason})
			if res.starved {
				d.Starved = append(d.Starved, r.ID)
			}
		}
	}
	lengths := map[string]int32{}
	for i := range waiting {
		lengths[waiting[i].queue]++
		waiting[i].position = lengths[waiting[i].queue]
	}
	for _, w := range waiting {
		d.Wait[w.id] = QueuePosition{Position: w.position, Length: lengths[w.queue], Reason: w.reason}
	}
	d.EndWarm = u.givenUp()
	for id, n := range u.refill(in.Targets) {
		d.MakeWarm[id] = n
	}
	return d
}

type waiter struct {
	id, queue string
	reason    Reason
	position  int32
}

// queues are the requests of each group, in the order of ahead.
type queues struct {
	groups map[string][]*Request
	weight map[string]int64
}

func newQueues(requests []Request, policies map[string]Policy) *queues {
	q := &queues{groups: map[string][]*Request{}, weight: map[string]int64{}}
	for i := range requests {
		group := account(requests[i].Policies, policies)
		q.groups[group] = append(q.groups[group], &requests[i])
		q.weight[group] = max(policies[group].Weight, 1)
	}
	for _, g := range q.groups {
		slices.SortFunc(g, ahead)
	}
	return q
}

// ahead is less than 0 if a comes before b where their groups do not matter.
func ahead(a, b *Request) int {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
}

// next takes a request of the highest priority there is: the oldest of the group that
// holds least for its weight.
func (q *queues) next(u *usage) (*Request, bool) {
	best, found := "", false
	for _, group := range slices.Sorted(maps.Keys(q.groups)) {
		if !found || q.before(u, group, best) {
			best, found = group, true
		}
	}
	if !found {
		return nil, false
	}
	r := q.groups[best][0]
	if q.groups[best] = q.groups[best][1:]; len(q.groups[best]) == 0 {
		delete(q.groups, best)
	}
	return r, true
}

func (q *queues) before(u *usage, a, b string) bool {
	firstOfA, firstOfB := q.groups[a][0], q.groups[b][0]
	if firstOfA.Priority != firstOfB.Priority {
		return firstOfA.Priority > firstOfB.Priority
	}
	// a.used / a.weight < b.used / b.weight, without fractions
	left, right := u.group[a]*q.weight[b], u.group[b]*q.weight[a]
	if left != right {
		return left < right
	}
	return ahead(firstOfA, firstOfB) < 0
}

// account is the policy that a kernel's use is booked on: the first that
// exists, or the first named when none does, or none.
func account(names []string, policies map[string]Policy) string {
	for _, name := range names {
		if _, ok := policies[name]; ok {
			return name
		}
	}
	if len(names) > 0 {
		return names[0]
	}
	return ""
}

// decide decides one request and books what follows from it.
func (u *usage) decide(r *Request) result {
	switch {
	case r.Gone != "":
		return result{outcome: refused, reason: Reason{Code: r.Gone}}
	case r.Unknown != "":
		return result{queue: "membership", reason: Reason{Code: r.Unknown}}
	}
	l := limitsOf(r.Policies, u.policies)
	if l.bounded && l.missing {
		return result{queue: "policy", reason: Reason{Code: PolicyMissing, Policy: l.account}}
	}
	if reason := l.never(r); reason != (Reason{}) {
		return result{outcome: refused, reason: reason}
	}
	if r.Budget.Code == BudgetSpent {
		return result{outcome: refused, reason: r.Budget}
	}
	if r.Budget != (Reason{}) {
		return result{queue: "budget", reason: r.Budget}
	}
	if reason := u.userLimit(r, l); reason != (Reason{}) {
		if l.refuse && !r.Returning {
			return result{outcome: refused, reason: reason}
		}
		return result{queue: "user/" + r.User, reason: reason}
	}
	if v, full := u.poolLimit(r, l); full {
		return v
	}
	if s := u.warmPodFor(r); s != nil {
		s.assigned = true
		u.book(r.User, r.Policies, r.Wants)
		return result{outcome: admitted, warmPod: s.ID}
	}
	if len(r.Wants) > 0 && u.nodes != nil {
		n := u.bestFit(r.Wants, r.Eligible, there)
		if n == nil {
			if v, making := u.makeRoom(r); making {
				return v
			}
			n = u.bestFit(r.Wants, r.Eligible, toCome)
		}
		if n == nil {
			return u.noNode(r)
		}
		n.reserve(r.Wants)
	}
	u.book(r.User, r.Policies, r.Wants)
	return result{outcome: admitted}
}

func (u *usage) userLimit(r *Request, l limits) Reason {
	if !l.bounded {
		return Reason{}
	}
	use := u.user(r.User)
	if n := use.kernels + use.waiting; l.kernelsMax > 0 && n >= l.kernelsMax {
		return Reason{Code: UserKernelsInUse, Used: n, Limit: l.kernelsMax, Policy: l.kernelsBy, Queued: use.waiting > 0}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Wants)) {
		if n := use.holds[name] + use.aside[name]; n+r.Wants[name] > l.perUser[name] {
			return Reason{
				Code: UserGPUsInUse, Resource: name, Used: n, Limit: l.perUser[name], Policy: l.perUserBy[name], Queued: use.aside[name] > 0,
			}
		}
	}
	return Reason{}
}

func (u *usage) poolLimit(r *Request, l limits) (result, bool) {
	for _, name := range slices.Sorted(maps.Keys(r.Wants)) {
		p, limited := l.pools[name]
		want := r.Wants[name]
		if !limited || u.pool[p.policy]+u.aside[p.policy]+want <= p.size {
			continue
		}
		u.aside[p.policy] += want
		u.claim(r)
		reason := Reason{Code: PoolInUse, Resource: name, Used: u.pool[p.policy], Limit: p.size, Policy: p.policy}
		if u.pool[p.policy]+want <= p.size {
			reason.Code = PoolAwaited
		}
		return result{queue: "pool/" + p.policy, reason: reason, starved: true}, true
	}
	return result{}, false
}
