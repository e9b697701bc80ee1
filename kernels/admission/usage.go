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
	// cordoned are those that would offer something.
	cordoned []Node
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
		if n.Cordoned {
			u.cordoned = append(u.cordoned, n)
			continue
		}
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
	case len(holds) == 0:
		return nil
	case unschedulable: // what was there has no room for it
		if n = u.bestFit(holds, eligible, grown); n == nil {
			n = u.bestFit(holds, eligible, toCome)
		}
	default:
		if n = u.bestFit(holds, eligible, there); n == nil {
			n = u.bestFit(holds, eligible, toCome)
		}
		if n == nil {
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

// claim notes that a request waits for capacity and is next in line for its user.
func (u *usage) claim(r *Request) {
	use := u.user(r.User)
	use.waiting++
	for name, n := range r.Wants {
		use.aside[name] += n
	}
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
