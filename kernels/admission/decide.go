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

// queues are the requests of each group, oldest first.
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
		slices.SortFunc(g, older)
	}
	return q
}

func older(a, b *Request) int {
	return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
}

// next takes the oldest request of the group that holds least for its weight.
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
	// a.used / a.weight < b.used / b.weight, without fractions
	left, right := u.group[a]*q.weight[b], u.group[b]*q.weight[a]
	if left != right {
		return left < right
	}
	return older(q.groups[a][0], q.groups[b][0]) < 0
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
