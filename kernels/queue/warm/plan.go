// Package warm decides for whom kernels are kept ready: pure, and without a word of
// Pods. What the Pods are, and when there is room for them, others decide.
//
//	gateways' budgets, notebooks, their kernels ─▶ Plan ─▶ Choices: so many of a
//	                                                       kernelspec for a notebook, or for nobody
package warm

import (
	"cmp"
	"slices"
	"time"

	"github.com/elastichub/elastichub/recheck"
)

const (
	// PageFor is how long a page counts as open after its gateway saw it, which it says
	// every v1alpha1.PageOpenEvery.
	PageFor = 25 * time.Minute
	// StartedFor is how long after the start of their server a first kernel is
	// expected of people.
	StartedFor = 15 * time.Minute
	// TodayFor is how long those are expected again who have run such a kernel.
	TodayFor = 24 * time.Hour
	// settleFor is how long a choice stands although others of the same Reason have
	// come since, so that many who come at once do not drive out each other's.
	settleFor = 2 * time.Minute
)

// Reason is why a notebook's next kernel is expected, a word for people.
type Reason string

// The reasons, the strongest first.
const (
	ReasonPage    Reason = "PageOpen"      // a parked kernel of it has an open page
	ReasonStarted Reason = "ServerStarted" // its server has just been started
	ReasonToday   Reason = "RanToday"      // it ran such a kernel not long ago
)

var ranks = []Reason{ReasonPage, ReasonStarted, ReasonToday}

// Budget is how many kernels of a kernelspec a gateway keeps ready.
type Budget struct {
	KernelSpec string
	Count      int64
	// Policies are those that whom it is for have to have; none: anybody.
	Policies []string
	// Nobody: somebody could take one that is made for nobody in particular.
	Nobody bool
}

// Notebook is one whose server runs, whose kernels need its volumes, and which may
// have kernels of the gateway.
type Notebook struct {
	ID       string
	Policies []string
	// Started is when its server was.
	Started time.Time
	// Can are the kernelspecs of which it may have one more now, and that a kernel
	// which was kept ready can become.
	Can map[string]bool
	// Open is when an open page of a parked kernel was seen last, and Ran when a
	// kernel ran last, by kernelspec.
	Open, Ran map[string]time.Time
	// Made is when what is kept for it was made, by kernelspec.
	Made map[string]time.Time
}

// Snapshot is everything of one gateway that Plan looks at.
type Snapshot struct {
	Now       time.Time
	Budgets   []Budget
	Notebooks []Notebook
}

// Choice is that Count kernels of a budget are to be kept ready.
type Choice struct {
	Budget int // its index
	Count  int64
	// Notebook is the ID of that which they are for; empty: nobody's, and no Reason.
	Notebook string
	Reason   Reason
}

// Plan chooses for whom kernels are kept ready, the most expected first: one of a
// kernelspec for each notebook, and what is left of a budget for nobody in
// particular. It depends on nothing but the snapshot, and not on the order of the
// notebooks. again is after what time alone something changes; zero means never.
func Plan(s Snapshot) (choices []Choice, again time.Duration) {
	later := func(at time.Time) {
		again = recheck.Sooner(again, at.Sub(s.Now))
	}
	type taken struct{ notebook, kernelSpec string }
	has := map[taken]bool{}
	for i, budget := range s.Budgets {
		left := max(budget.Count, 0)
		for _, c := range candidates(s, budget, later) {
			id := taken{c.notebook, budget.KernelSpec}
			if left == 0 {
				break
			}
			if has[id] {
				continue
			}
			has[id] = true
			choices = append(choices, Choice{Budget: i, Count: 1, Notebook: c.notebook, Reason: c.reason})
			left--
		}
		if left > 0 && budget.Nobody {
			choices = append(choices, Choice{Budget: i, Count: left})
		}
	}
	return choices, again
}

// candidate is a notebook of which a kernel is expected.
type candidate struct {
	notebook string
	reason   Reason
	rank     int
	settled  bool      // what was made for it is to stay
	since    time.Time // of the reason
}

// candidates are all for a budget, the most expected first. later is told when one of
// them changes.
func candidates(s Snapshot, budget Budget, later func(time.Time)) []candidate {
	var list []candidate
	for _, nb := range s.Notebooks {
		if !nb.Can[budget.KernelSpec] || !containsAll(nb.Policies, budget.Policies) {
			continue
		}
		c, ok := expect(s.Now, nb, budget.KernelSpec, later)
		if !ok {
			continue
		}
		if made, is := nb.Made[budget.KernelSpec]; is {
			c.settled = s.Now.Before(made.Add(settleFor))
			later(made.Add(settleFor))
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b candidate) int {
		switch {
		case a.rank != b.rank:
			return cmp.Compare(a.rank, b.rank)
		case a.settled != b.settled:
			if a.settled {
				return -1
			}
			return 1
		}
		return cmp.Or(b.since.Compare(a.since), cmp.Compare(a.notebook, b.notebook))
	})
	return list
}

// expect tells why a kernel of a notebook is expected, by the strongest reason.
func expect(now time.Time, nb Notebook, kernelSpec string, later func(time.Time)) (candidate, bool) {
	for rank, reason := range ranks {
		since, lasts := nb.Started, StartedFor
		switch reason {
		case ReasonPage:
			since, lasts = nb.Open[kernelSpec], PageFor
		case ReasonToday:
			since, lasts = nb.Ran[kernelSpec], TodayFor
		case ReasonStarted:
		}
		if since.IsZero() || !now.Before(since.Add(lasts)) {
			continue
		}
		later(since.Add(lasts))
		if ran := nb.Ran[kernelSpec]; reason == ReasonPage && !ran.IsZero() {
			since = ran // gateways say again and again that a page is open, used or not
		}
		return candidate{notebook: nb.ID, reason: reason, rank: rank, since: since}, true
	}
	return candidate{}, false
}

func containsAll(all, some []string) bool {
	return !slices.ContainsFunc(some, func(one string) bool { return !slices.Contains(all, one) })
}
