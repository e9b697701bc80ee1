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

// Of nodes: those that are there, those of them that an autoscaler has added, and
// those that it can add.
func there(n *node) bool  { return !n.Coming }
func grown(n *node) bool  { return n.Grown && !n.Coming }
func toCome(n *node) bool { return n.Coming }

// bestFit finds the fullest node of a kind that still has room, so that large gaps
// stay large; nil when there is none.
func (u *usage) bestFit(want Resources, eligible func(string) bool, kind func(*node) bool) *node {
	var best *node
	for _, n := range u.eligible(eligible) {
		if kind(n) && n.free.covers(want) && (best == nil || n.freeOf(want) < best.freeOf(want)) {
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
		if n.Total.covers(want) && (best == nil || n.freeOf(want) > best.freeOf(want)) {
			best = n
		}
	}
	return best
}

// freeOf sums what is free on the node of the resources that are wanted.
func (n *node) freeOf(want Resources) (free int64) {
	for name := range want {
		free += n.free[name]
	}
	return free
}

// noNode says why no node has room, and sets room aside on the node that is
// most likely to have some next.
func (u *usage) noNode(r *Request) result {
	names := slices.Sorted(maps.Keys(r.Wants))
	v := result{queue: nodesQueue(names), reason: u.shortage(r, names)}
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

// nodesQueue is the queue of those who wait for room on a node.
func nodesQueue(resources []string) string { return "nodes/" + strings.Join(resources, "+") }

// cordonedWith names those that would offer a resource.
func (u *usage) cordonedWith(resource string, eligible func(string) bool) string {
	var names []string
	for _, n := range u.cordoned {
		if n.Total[resource] > 0 && (eligible == nil || eligible(n.Name)) {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return some(names)
}

// some are the first of many names.
func some(names []string) string {
	const most = 3
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

func (u *usage) shortage(r *Request, names []string) Reason {
	nodes := u.eligible(r.Eligible)
	for _, name := range names {
		var total, largest, used, foreign int64
		for _, n := range nodes {
			total += n.Total[name]
			largest = max(largest, n.Total[name])
			used += n.used[name]
			foreign += n.Total[name] - n.Free[name]
		}
		reason := Reason{Resource: name, Wants: r.Wants[name], Used: used + foreign, Limit: total}
		switch {
		case total == 0:
			reason.Code, reason.Nodes = NoNodeOffers, u.cordonedWith(name, r.Eligible)
			if reason.Nodes != "" {
				reason.Code = NodesCordoned
			}
		case largest < reason.Wants:
			reason.Code, reason.Limit = NodesTooSmall, largest
		case reason.Used >= total:
			reason.Code = NodesInUse
		case reason.Used+reason.Wants > total:
			reason.Code = NodesNotEnough
		default:
			continue
		}
		return reason
	}
	return Reason{Code: NodesAwaited, Resource: strings.Join(names, " and ")}
}
