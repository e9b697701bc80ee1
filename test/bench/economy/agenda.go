package economy

import (
	"container/heap"
	"time"
)

// agenda is what will happen, in virtual time.
type agenda struct {
	now  time.Duration // since midnight
	list entries
	made int
}

type entry struct {
	at    time.Duration
	order int
	do    func()
}

type entries []entry

func (e entries) Len() int      { return len(e) }
func (e entries) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e entries) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e *entries) Push(x any) { *e = append(*e, x.(entry)) }
func (e *entries) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	*e = (*e)[:last]
	return x
}

// at has something done at a time. What is for the same time is done in the order in which it was said.
func (a *agenda) at(at time.Duration, do func()) {
	a.made++
	heap.Push(&a.list, entry{max(at, a.now), a.made, do})
}

func (a *agenda) after(d time.Duration, do func()) { a.at(a.now+d, do) }

// run does everything, and after it, whatever is due at the same time done, then.
func (a *agenda) run(then func()) {
	for a.list.Len() > 0 {
		a.now = a.list[0].at
		for a.list.Len() > 0 && a.list[0].at == a.now {
			heap.Pop(&a.list).(entry).do()
		}
		then()
	}
}
