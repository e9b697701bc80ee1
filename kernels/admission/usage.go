package admission

import (
	"cmp"
	"maps"
	"slices"
)

type outcome int

const (
	waits outcome = iota
	admitted
	refused
)

type result struct {
	outcome outcome
	queue   string // what is waited for; only for waits
	reason  Reason
	warmPod string // what is taken over; only for admitted
	// starved: it waits for room that nobody is making; only for waits.
	starved bool
}

type userUse struct {
	kernels int64
	holds   Resources
	// waiting and aside are the user's requests that are next in line: a
	// user's later requests must not set aside what the quota forbids anyway.
	waiting int64
	aside   Resources
}

// usage is what is held, promised, or set aside.
type usage struct {
	policies map[string]Policy
	users    map[string]*userUse
	// pool counts what each policy's kernels really hold, aside what the
	// requests before have a claim to.
	pool, aside map[string]int64
	// group is the share of each policy, all resources together.
	group map[string]int64
	nodes []*node // nil when capacity is not known
	// warmPods are in the order in which they are taken.
	warmPods []*warmPod
}

type node struct {
	Node
	free Resources // may fall below zero: set aside, or overcommitted
	used Resources // by kernels, for the words only
	// coming is what warm Pods that were given up leave over once they are gone.
	coming Resources
}

func newUsage(in Input) *usage {
	u := &usage{
		policies: in.Policies, users: map[string]*userUse{},
		pool: map[string]int64{}, aside: map[string]int64{}, group: map[string]int64{},
	}
	if in.Nodes != nil {
		u.nodes = []*node{}
	}
	for _, n := range in.Nodes {
		u.nodes = append(u.nodes, &node{Node: n, free: maps.Clone(n.Free), used: Resources{}, coming: Resources{}})
	}
	slices.SortFunc(u.nodes, func(a, b *node) int { return cmp.Compare(a.Name, b.Name) })
	holders := slices.Clone(in.Holders)
	slices.SortFunc(holders, func(a, b Holder) int {
		// bound ones first, then the largest: the rest must fit around them
		return cmp.Or(cmp.Compare(b2i(a.Node == ""), b2i(b.Node == "")), cmp.Compare(b.Holds.Sum(), a.Holds.Sum()), cmp.Compare(a.ID, b.ID))
	})
	for _, h := range holders {
		u.book(h.User, h.Policies, h.Holds)
		u.occupy(h.Node, h.Holds, h.Eligible, h.Unschedulable)
	}
	u.addWarmPods(in.WarmPods)
	return u
}

// occupy takes room for a Pod: where it is, or where it is likely to go. It
// returns the node, or nil.
func (u *usage) occupy(at string, holds Resources, eligible func(string) bool, unschedulable bool) *node {
	var n *node
	switch {
	case at != "":
		n = u.named(at)
	case unschedulable || len(holds) == 0:
		return nil
	default:
		if n = u.bestFit(holds, eligible); n == nil {
			n = u.roomiest(holds, eligible)
		}
	}
	if n != nil {
		n.reserve(holds)
	}
	return n
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (u *usage) user(name string) *userUse {
	if u.users[name] == nil {
		u.users[name] = &userUse{holds: Resources{}, aside: Resources{}}
	}
	return u.users[name]
}

func (u *usage) book(user string, policies []string, holds Resources) {
	use := u.user(user)
	use.kernels++
	group := account(policies, u.policies)
	for name, n := range holds {
		use.holds[name] += n
		u.group[group] += n
		if giver := Giver(name, policies, u.policies); giver != "" {
			u.pool[giver] += n
		}
	}
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
		n := u.bestFit(r.Wants, r.Eligible)
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

// claim notes that a request waits for capacity and is next in line for its user.
func (u *usage) claim(r *Request) {
	use := u.user(r.User)
	use.waiting++
	for name, n := range r.Wants {
		use.aside[name] += n
	}
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

// Sum is the number of units of all resources together.
func (r Resources) Sum() int64 {
	var n int64
	for _, v := range r {
		n += v
	}
	return n
}

func (r Resources) covers(want Resources) bool {
	for name, n := range want {
		if r[name] < n {
			return false
		}
	}
	return true
}
