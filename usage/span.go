package usage

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// spansKept is how long spans are kept: as days are, and longer than any window.
	spansKept = KeptDays * 24 * time.Hour
	// spansExact is how long spans stay as they were where a book has too little room: those
	// before become one for each hour.
	spansExact = 24 * time.Hour
	// joined is by how much the end of what is held and the begin of what follows may differ:
	// the API server's clock is told in whole seconds.
	joined = 2500 * time.Millisecond
)

// Span is what was held at a steady rate between two moments, in Unix milliseconds, by a
// user under a group's first policy. It is what windows are cut from; sums of days cannot be.
type Span struct {
	User   string `json:"u"`
	Group  string `json:"g,omitempty"`
	Client bool   `json:"x,omitempty"`
	From   int64  `json:"f"`
	To     int64  `json:"t"`
	// Held is in thousandths of a unit times milliseconds, by resource.
	Held map[string]int64 `json:"h"`
}

// within is how much of a resource was held between two moments.
func (s *Span) within(resource string, from, to int64) int64 {
	held := s.Held[resource]
	if from <= s.From && s.To <= to {
		return held
	}
	part := min(to, s.To) - max(from, s.From)
	if held == 0 || part <= 0 {
		return 0
	}
	return int64(float64(held) * float64(part) / float64(s.To-s.From))
}

// span is what a run has held since it was last noted.
func (r *Run) span() *Span {
	s := &Span{User: r.User, Group: r.Group, Client: r.Client, From: r.From, To: r.To, Held: make(map[string]int64, len(r.Amounts))}
	for name, n := range r.Amounts {
		s.Held[name] = n * (r.To - r.From)
	}
	return s
}

// hold notes that a run has held what it holds for so many milliseconds, up to a moment.
func (b *Book) hold(run *Run, ms int64, until time.Time) {
	to := until.UnixMilli()
	from := to - ms
	switch {
	case run.To == 0:
		run.From, run.To = from, to
	case max(from-run.To, run.To-from) <= joined.Milliseconds():
		run.To += ms
	case to <= run.To: // what passed before, without a leader
		earlier := *run
		earlier.From, earlier.To = from, to
		b.Spans = append(b.Spans, earlier.span())
	default:
		b.note(run)
		run.From, run.To = from, to
	}
}

// note makes a span of what a run has held: it ends, or holds something else from now on.
func (b *Book) note(run *Run) {
	if run.To > run.From {
		b.Spans = append(b.Spans, run.span())
	}
	run.From, run.To = 0, 0
}

// coarsen merges what a user has held in an hour under a group, of the spans that ended
// before a moment. Sums stay as they are, but not where in the hour they were.
func (b *Book) coarsen(before int64) {
	type bucket struct {
		user, group string
		client      bool
		hour        int64
	}
	const hour = int64(time.Hour / time.Millisecond)
	merged := map[bucket]*Span{}
	kept := b.Spans[:0]
	for _, s := range b.Spans {
		if s.To > before {
			kept = append(kept, s)
			continue
		}
		left := maps.Clone(s.Held)
		for from := s.From; from < s.To; {
			to := min(s.To, (from/hour+1)*hour)
			at := bucket{s.User, s.Group, s.Client, from / hour}
			m := merged[at]
			if m == nil {
				m = &Span{User: s.User, Group: s.Group, Client: s.Client, From: from, To: to, Held: map[string]int64{}}
				merged[at] = m
			}
			m.From, m.To = min(m.From, from), max(m.To, to)
			for name := range s.Held {
				part := left[name]
				if to < s.To {
					part = s.within(name, from, to)
				}
				m.Held[name] += part
				left[name] -= part
			}
			from = to
		}
	}
	b.Spans = append(kept, slices.SortedFunc(maps.Values(merged), func(a, c *Span) int {
		return cmp.Or(cmp.Compare(a.From, c.From), strings.Compare(a.User, c.User), strings.Compare(a.Group, c.Group), compareBool(a.Client, c.Client))
	})...)
}

// latest is when the last span ended.
func (b *Book) latest() (at int64) {
	for _, s := range b.Spans {
		at = max(at, s.To)
	}
	return at
}
