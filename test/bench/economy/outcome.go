package economy

import (
	"cmp"
	"slices"
	"time"

	"github.com/elastichub/elastichub/usage"
)

// Outcome is what came of a day.
type Outcome struct {
	// Held and Busy are GPU-hours of kernels, and Runs theirs, as the ledger has them. Ready are the GPU-hours of kernels
	// that were kept ready: nobody's.
	Held, Busy, Ready float64
	Runs              int64
	// Begins is when each cell of each session began.
	Begins [][]time.Duration
	// Parks and Returns count runs; Hurried are the parkings after which the kernel was wanted
	// within a minute, Interrupted the saves that gave way to a cell, Yields those who gave
	// way to somebody who waited, FromWarm the runs that were kept ready.
	Parks, Returns, Hurried, Interrupted, Yields, FromWarm int
	// LostKernels are those whose variables were lost, LostCells what had been run in
	// them, and LostHours how long that had taken.
	LostKernels, LostCells int
	LostHours              float64

	at                     map[*Session]int
	holds, computes, ready []Span
}

// Span is a time in which a GPU is held or busy.
type Span struct{ From, To time.Duration }

func newOutcome(sessions []Session) *Outcome {
	o := &Outcome{Begins: make([][]time.Duration, len(sessions)), at: map[*Session]int{}}
	for i := range sessions {
		o.at[&sessions[i]] = i
	}
	return o
}

func (o *Outcome) began(k *kernel, at time.Duration) {
	i := o.at[k.Session]
	o.Begins[i] = append(o.Begins[i], at)
}

func (o *Outcome) computed(from, to time.Duration)  { o.computes = append(o.computes, Span{from, to}) }
func (o *Outcome) had(from, to time.Duration)       { o.holds = append(o.holds, Span{from, to}) }
func (o *Outcome) keptReady(from, to time.Duration) { o.ready = append(o.ready, Span{from, to}) }

func (o *Outcome) lose(k *kernel) {
	if k.done == k.lostAt {
		return
	}
	o.LostKernels++
	for _, c := range k.Cells[k.lostAt:k.done] {
		o.LostCells++
		o.LostHours += c.Takes.Hours()
	}
	k.lostAt = k.done
}

// total sums up.
func (o *Outcome) total(r *replay) {
	line := usage.Total(usage.Report(r.ledger.Books(), usage.Period{Days: 3}, usage.ByDate, nil, wall(max(r.now, 24*time.Hour))))
	h := line.Resources[gpu]
	o.Held, o.Busy, o.Runs = h.Held, h.Busy, line.Runs
	o.Ready = hours(o.ready)
}

func hours(spans []Span) (sum float64) {
	for _, s := range spans {
		sum += (s.To - s.From).Hours()
	}
	return sum
}

// Ratio is what was held of each hour that was busy.
func (o *Outcome) Ratio() float64 { return (o.Held + o.Ready) / o.Busy }

// Added is by how much later each cell began than in another outcome of the same day.
func (o *Outcome) Added(base *Outcome) []time.Duration {
	var list []time.Duration
	for i, begins := range o.Begins {
		for n, at := range begins {
			list = append(list, at-base.Begins[i][n])
		}
	}
	return list
}

// Peak is how many GPUs were held at most at one time.
func (o *Outcome) Peak() (most int) {
	type change struct {
		at time.Duration
		by int
	}
	var changes []change
	for _, spans := range [][]Span{o.holds, o.ready} {
		for _, s := range spans {
			changes = append(changes, change{s.From, 1}, change{s.To, -1})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by)) })
	now := 0
	for _, c := range changes {
		now += c.by
		most = max(most, now)
	}
	return most
}

// Course is how many GPUs were held and busy on average in each step of the day.
func (o *Outcome) Course(step time.Duration) (held, busy []float64) {
	over := func(all ...[]Span) []float64 {
		sums := make([]float64, int(24*time.Hour/step))
		for _, spans := range all {
			for _, s := range spans {
				for i := int(s.From / step); i < len(sums) && time.Duration(i)*step < s.To; i++ {
					at := time.Duration(i) * step
					sums[i] += float64(min(s.To, at+step)-max(s.From, at)) / float64(step)
				}
			}
		}
		return sums
	}
	return over(o.holds, o.ready), over(o.computes)
}
