package admission

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func (n *node) reserve(want Resources) {
	if n.free == nil {
		n.free = Resources{}
	}
	for name, v := range want {
		n.free[name] -= v
		n.used[name] += v
	}
}

// named is the node of that name, or nil.
func (u *usage) named(name string) *node {
	for _, n := range u.nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

func (u *usage) eligible(f func(string) bool) []*node {
	if f == nil {
		return u.nodes
	}
	var list []*node
	for _, n := range u.nodes {
		if f(n.Name) {
			list = append(list, n)
		}
	}
	return list
}

// bestFit finds the fullest node that still has room, so that large gaps stay
// large; nil when there is none.
func (u *usage) bestFit(want Resources, eligible func(string) bool) *node {
	var best *node
	for _, n := range u.eligible(eligible) {
		if n.free.covers(want) && (best == nil || n.warmPod(want) < best.warmPod(want)) {
			best = n
		}
	}
	return best
}

// roomiest finds the node with most room among those large enough when empty;
// nil when none is.
func (u *usage) roomiest(want Resources, eligible func(string) bool) *node {
	var best *node
	for _, n := range u.eligible(eligible) {
		if n.Total.covers(want) && (best == nil || n.warmPod(want) > best.warmPod(want)) {
			best = n
		}
	}
	return best
}

func (n *node) warmPod(want Resources) int64 {
	var warmPod int64
	for name := range want {
		warmPod += n.free[name]
	}
	return warmPod
}

// noNode says why no node has room, and sets room aside on the node that is
// most likely to have some next.
func (u *usage) noNode(r *Request) result {
	names := slices.Sorted(maps.Keys(r.Wants))
	v := result{queue: "nodes/" + strings.Join(names, "+"), reason: u.shortage(r, names)}
	if u.makeRoom(r) {
		v.reason = "A kernel that was kept warm ends to make room."
		u.group[account(r.Policies, u.policies)] += r.Wants.Sum()
		u.claim(r)
		return v
	}
	if n := u.roomiest(r.Wants, r.Eligible); n != nil {
		v.starved = true
		for name, want := range r.Wants {
			n.free[name] -= want // not used: nobody has it yet
		}
		u.group[account(r.Policies, u.policies)] += r.Wants.Sum()
		u.claim(r)
	}
	return v
}

func (u *usage) shortage(r *Request, names []string) string {
	nodes := u.eligible(r.Eligible)
	for _, name := range names {
		var total, largest, used, foreign int64
		for _, n := range nodes {
			total += n.Total[name]
			largest = max(largest, n.Total[name])
			used += n.used[name]
			foreign += n.Total[name] - n.Free[name]
		}
		want := r.Wants[name]
		switch {
		case total == 0:
			return fmt.Sprintf("No node offers %s.", name)
		case largest < want:
			return fmt.Sprintf("No node has %d %s; the largest has %d.", want, name, largest)
		case used+foreign >= total && total == 1:
			return fmt.Sprintf("The only %s of the cluster is in use.", name)
		case used+foreign >= total:
			return fmt.Sprintf("All %d %s of the cluster are in use.", total, name)
		case used+foreign+want > total:
			return fmt.Sprintf("%d of the %d %s of the cluster are in use, and %d are needed.", used+foreign, total, name, want)
		}
	}
	return fmt.Sprintf("Others have waited longer for %s, or no single node has enough of it free.", strings.Join(names, " and "))
}
