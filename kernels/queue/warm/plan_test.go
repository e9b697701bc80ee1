package warm

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

// notebook is one that may have kernels a and b, and of which none is expected.
func notebook(id string, change ...func(*Notebook)) Notebook {
	nb := Notebook{
		ID: id, Policies: []string{"p"}, Started: ago(48 * time.Hour), Can: map[string]bool{"a": true, "b": true},
		Open: map[string]time.Time{}, Ran: map[string]time.Time{}, Made: map[string]time.Time{},
	}
	for _, f := range change {
		f(&nb)
	}
	return nb
}

func started(since time.Duration) func(*Notebook) {
	return func(nb *Notebook) { nb.Started = ago(since) }
}

func open(spec string, since time.Duration) func(*Notebook) {
	return func(nb *Notebook) { nb.Open[spec] = ago(since) }
}

func ran(spec string, since time.Duration) func(*Notebook) {
	return func(nb *Notebook) { nb.Ran[spec] = ago(since) }
}

func made(spec string, since time.Duration) func(*Notebook) {
	return func(nb *Notebook) { nb.Made[spec] = ago(since) }
}

func a(count int64) Budget { return Budget{KernelSpec: "a", Count: count} }

func TestPlan(t *testing.T) {
	for name, tc := range map[string]struct {
		budgets   []Budget
		notebooks []Notebook
		want      []Choice
		again     time.Duration
	}{
		"nobody is expected": {budgets: []Budget{a(2)}, notebooks: []Notebook{notebook("n")}},
		"no budget":          {notebooks: []Notebook{notebook("n", started(0))}},
		"the strongest reason first": {
			budgets: []Budget{a(3)},
			notebooks: []Notebook{
				notebook("today", ran("a", time.Minute)), notebook("started", started(10*time.Minute)), notebook("page", open("a", 20*time.Minute)),
				notebook("also today", ran("a", time.Hour)),
			},
			want:  []Choice{{0, 1, "page", ReasonPage}, {0, 1, "started", ReasonStarted}, {0, 1, "today", ReasonToday}},
			again: 5 * time.Minute,
		},
		"the last first, then by name": {
			budgets: []Budget{a(3)},
			notebooks: []Notebook{
				notebook("y", started(3*time.Minute)), notebook("x", started(3*time.Minute)), notebook("z", started(time.Minute)), notebook("w", started(4*time.Minute)),
			},
			want:  []Choice{{0, 1, "z", ReasonStarted}, {0, 1, "x", ReasonStarted}, {0, 1, "y", ReasonStarted}},
			again: 11 * time.Minute,
		},
		"of open pages, that whose kernel ran last": {
			budgets: []Budget{a(2)},
			notebooks: []Notebook{
				notebook("seen", open("a", 0), ran("a", 3*time.Hour)), notebook("used", open("a", 9*time.Minute), ran("a", 10*time.Minute)),
				notebook("of a leader before", open("a", time.Hour/4)),
			},
			want:  []Choice{{0, 1, "used", ReasonPage}, {0, 1, "of a leader before", ReasonPage}},
			again: 10 * time.Minute,
		},
		"what was just made stays, but not for a weaker reason": {
			budgets: []Budget{a(2)},
			notebooks: []Notebook{
				notebook("first", started(3*time.Minute), made("a", time.Minute)), notebook("second", started(time.Minute)),
				notebook("today", ran("a", time.Hour), made("a", time.Second)), notebook("page", open("a", 0)),
			},
			want:  []Choice{{0, 1, "page", ReasonPage}, {0, 1, "first", ReasonStarted}},
			again: time.Minute,
		},
		"and not for ever": {
			budgets: []Budget{a(1)},
			notebooks: []Notebook{
				notebook("first", started(5*time.Minute), made("a", settleFor)), notebook("second", started(time.Minute)),
			},
			want:  []Choice{{0, 1, "second", ReasonStarted}},
			again: 10 * time.Minute,
		},
		"reasons lapse": {
			budgets: []Budget{a(3)},
			notebooks: []Notebook{
				notebook("page", open("a", PageFor)), notebook("started", started(StartedFor)), notebook("today", ran("a", TodayFor)),
			},
		},
		"to a weaker one": {
			budgets:   []Budget{a(1)},
			notebooks: []Notebook{notebook("n", open("a", PageFor), started(StartedFor), ran("a", time.Hour))},
			want:      []Choice{{0, 1, "n", ReasonToday}},
			again:     23 * time.Hour,
		},
		"of that kernelspec alone": {
			budgets:   []Budget{a(1), {KernelSpec: "b", Count: 1}},
			notebooks: []Notebook{notebook("n", open("b", 0)), notebook("m", ran("b", 0))},
			want:      []Choice{{1, 1, "n", ReasonPage}},
			again:     PageFor,
		},
		"who may have none": {
			budgets:   []Budget{{KernelSpec: "c", Count: 1}},
			notebooks: []Notebook{notebook("n", started(0))},
		},
		"one for each, of two budgets of a kernelspec": {
			budgets:   []Budget{a(2), {KernelSpec: "a", Count: 2, Policies: []string{"p"}}},
			notebooks: []Notebook{notebook("n", started(0)), notebook("m", started(time.Minute)), notebook("o", started(2*time.Minute))},
			want:      []Choice{{0, 1, "n", ReasonStarted}, {0, 1, "m", ReasonStarted}, {1, 1, "o", ReasonStarted}},
			again:     13 * time.Minute,
		},
		"for those with a policy": {
			budgets: []Budget{{KernelSpec: "a", Count: 2, Policies: []string{"p", "q"}}},
			notebooks: []Notebook{
				notebook("n", started(0)), notebook("m", started(0), func(nb *Notebook) { nb.Policies = []string{"q", "r", "p"} }),
			},
			want:  []Choice{{0, 1, "m", ReasonStarted}},
			again: StartedFor,
		},
		"the rest for nobody in particular": {
			budgets:   []Budget{{KernelSpec: "a", Count: 3, Nobody: true}, {KernelSpec: "b", Count: 2, Nobody: true}, {KernelSpec: "c", Nobody: true}},
			notebooks: []Notebook{notebook("n", open("a", 0)), notebook("m", open("b", 0)), notebook("o", open("b", 0))},
			want:      []Choice{{0, 1, "n", ReasonPage}, {0, 2, "", ""}, {1, 1, "m", ReasonPage}, {1, 1, "o", ReasonPage}},
			again:     PageFor,
		},
	} {
		t.Run(name, func(t *testing.T) {
			choices, again := Plan(Snapshot{Now: now, Budgets: tc.budgets, Notebooks: tc.notebooks})
			assert.Equal(t, tc.want, choices)
			assert.Equal(t, tc.again, again)
			slices.Reverse(tc.notebooks)
			reversed, _ := Plan(Snapshot{Now: now, Budgets: tc.budgets, Notebooks: tc.notebooks})
			assert.Equal(t, choices, reversed, "the order of the notebooks means nothing")
		})
	}
}
