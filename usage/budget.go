package usage

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // images have none
)

// Calendar is a part of the calendar, which begins at midnight in a time zone.
type Calendar string

// Parts of the calendar. A week begins on Monday.
const (
	Day   Calendar = "day"
	Week  Calendar = "week"
	Month Calendar = "month"
)

// Window is a length of time that ends now, or a part of the calendar.
type Window struct {
	Rolling  time.Duration // zero: Calendar
	Calendar Calendar
	// Zone is the IANA name of the time zone of the calendar and of what people are told;
	// empty: UTC.
	Zone string
}

// Location is the window's time zone, and UTC where nobody knows it.
func (w Window) Location() *time.Location {
	zone, err := time.LoadLocation(w.Zone)
	if err != nil {
		return time.UTC
	}
	return zone
}

// String is the window as a policy names it.
func (w Window) String() string {
	switch {
	case w.Rolling <= 0:
		return string(w.Calendar)
	case w.Rolling%time.Hour == 0:
		return strconv.Itoa(int(w.Rolling/time.Hour)) + "h"
	}
	return w.Rolling.String()
}

// InWords is the window for a sentence, after "per": day, 7 days, 10 minutes.
func (w Window) InWords() string {
	if w.Rolling <= 0 {
		return string(w.Calendar)
	}
	for _, unit := range []struct {
		name string
		long time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}} {
		switch n := w.Rolling / unit.long; {
		case w.Rolling%unit.long != 0, n == 1 && unit.name == "day": // per day is the calendar's
		case n == 1:
			return unit.name
		default:
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return fmt.Sprintf("%d seconds", w.Rolling/time.Second)
}

// Begin is when the window began that now is in.
func (w Window) Begin(now time.Time) time.Time {
	if w.Rolling > 0 {
		return now.Add(-w.Rolling)
	}
	return w.calendar(now, 0)
}

// End is when the window of the calendar ends that now is in.
func (w Window) End(now time.Time) time.Time { return w.calendar(now, 1) }

// calendar is when the part of the calendar begins that is so many after that of now.
func (w Window) calendar(now time.Time, after int) time.Time {
	at := now.In(w.Location())
	year, month, day := at.Date()
	switch w.Calendar {
	case Week:
		day += 7*after - (int(at.Weekday())+6)%7
	case Month:
		month, day = month+time.Month(after), 1
	case Day:
		day += after
	default:
		day += after
	}
	return time.Date(year, month, day, 0, 0, 0, 0, at.Location())
}

// Budget bounds what may be held of a resource in a window.
type Budget struct {
	// Policy is that which those are accounted to whom it bounds.
	Policy   string
	Resource string
	// Limit is in thousandths of a unit times milliseconds, and more than zero.
	Limit int64
	// PerUser: each of them has as much; else all of them together.
	PerUser bool
	Window  Window
}

// Binds reports whether a budget bounds kernels that hold these devices. One of cores or
// memory bounds all of them.
func (b Budget) Binds(holds func(device string) bool) bool {
	return !IsDevice(b.Resource) || holds(b.Resource)
}

// Standing is how much of a budget is used.
type Standing struct {
	Budget
	// Used is what was held in the window, as Limit.
	Used int64
	// Again is when the budget allows something again if nothing more is held until then;
	// zero if it is not spent.
	Again time.Time
}

// Low is the share of a budget from which on people are told how much is used.
const Low = 0.8

// Spent reports whether nothing is left.
func (s Standing) Spent() bool { return s.Used >= s.Limit }

// Share is how much of the budget is used; 1 is all of it.
func (s Standing) Share() float64 { return float64(s.Used) / float64(s.Limit) }

// UsedHours and LimitHours are of one unit of the resource.
func (s Standing) UsedHours() float64  { return float64(s.Used) / msPerHour }
func (s Standing) LimitHours() float64 { return float64(s.Limit) / msPerHour }

// LimitText is how many hours the budget is, as a policy has it.
func (b Budget) LimitText() string {
	return strconv.FormatFloat(float64(b.Limit)/msPerHour, 'g', 6, 64)
}

// account is who has a budget: a user, or all.
type account struct {
	budget Budget
	user   string
	client bool
}

// accountOf takes all spellings of a user's name for one, as quotas do.
func accountOf(b Budget, user string, client bool) account {
	if !b.PerUser {
		return account{budget: b}
	}
	return account{budget: b, user: strings.ToLower(user), client: client}
}

// Standings are how budgets stood at a moment. They are not changed any more.
type Standings struct {
	At    time.Time
	known map[Budget]bool
	used  map[account]Standing
}

// NewStandings sums up what counts for budgets at a moment.
func NewStandings(books []*Book, budgets []Budget, now time.Time) *Standings {
	s := &Standings{At: now, known: map[Budget]bool{}, used: map[account]Standing{}}
	sum := &summing{byPolicy: map[string][]Budget{}, begins: map[Budget]int64{}, earliest: now.UnixMilli(), end: now.Add(spansKept).UnixMilli(),
		holders: map[holder][]*counted{}, accounts: map[account]*counted{}}
	for _, b := range budgets {
		if b.Limit <= 0 || s.known[b] {
			continue
		}
		s.known[b], sum.begins[b] = true, b.Window.Begin(now).UnixMilli()
		sum.byPolicy[b.Policy] = append(sum.byPolicy[b.Policy], b)
		sum.earliest = min(sum.earliest, sum.begins[b])
	}
	if len(sum.byPolicy) == 0 {
		return s
	}
	for _, book := range books {
		book.spans(now, sum.add)
	}
	for _, book := range books {
		book.spans(now, sum.collect)
	}
	for at, c := range sum.accounts {
		st := Standing{Budget: at.budget, Used: c.used}
		if st.Spent() {
			st.Again = c.again(now)
		}
		s.used[at] = st
	}
	return s
}

// summing is the making of Standings. Spans are looked at by whoever held them, and not by
// budget: there are many of them.
type summing struct {
	byPolicy map[string][]Budget
	begins   map[Budget]int64
	// earliest is when the first window began. A rolling one has no end but that of all time: a
	// clock may have been set back.
	earliest, end int64
	holders       map[holder][]*counted
	accounts      map[account]*counted
}

// holder is whose spans are.
type holder struct {
	user, group string
	client      bool
}

// counted is what an account has used.
type counted struct {
	budget Budget
	begin  int64
	used   int64
	parts  []part // of a rolling budget that is spent
}

// part is what was held between two moments, at a steady rate.
type part struct{ from, to, held int64 }

func (p part) since(begin int64) int64 {
	switch {
	case begin <= p.from:
		return p.held
	case begin >= p.to:
		return 0
	}
	return int64(float64(p.held) * float64(p.to-begin) / float64(p.to-p.from))
}

// of are the accounts that a span counts for.
func (s *summing) of(span *Span) []*counted {
	if span.To <= s.earliest {
		return nil
	}
	by := holder{span.User, span.Group, span.Client}
	found, known := s.holders[by]
	if known {
		return found
	}
	for _, b := range s.byPolicy[span.Group] {
		at := accountOf(b, span.User, span.Client)
		if s.accounts[at] == nil {
			s.accounts[at] = &counted{budget: b, begin: s.begins[b]}
		}
		found = append(found, s.accounts[at])
	}
	s.holders[by] = found
	return found
}

func (s *summing) add(span *Span) {
	for _, c := range s.of(span) {
		c.used += span.within(c.budget.Resource, c.begin, s.end)
	}
}

func (s *summing) collect(span *Span) {
	for _, c := range s.of(span) {
		if c.budget.Window.Rolling > 0 && c.used >= c.budget.Limit && span.To > c.begin && span.Held[c.budget.Resource] > 0 {
			c.parts = append(c.parts, part{span.From, span.To, span.Held[c.budget.Resource]})
		}
	}
}

// again is when a spent budget allows something again.
func (c *counted) again(now time.Time) time.Time {
	w := c.budget.Window
	if w.Rolling <= 0 {
		return w.End(now)
	}
	latest := int64(0) // nothing is left of what was held once all of it is older than the window
	for _, p := range c.parts {
		latest = max(latest, p.to-c.begin)
	}
	after := sort.Search(int(latest), func(ms int) bool {
		var used int64
		for _, p := range c.parts {
			used += p.since(c.begin + int64(ms))
		}
		return used < c.budget.Limit
	})
	return now.Add(time.Duration(after) * time.Millisecond).In(w.Location())
}

// spans are all of a book, and what its open runs hold: up to now, where that was written
// less than a while ago.
func (b *Book) spans(now time.Time, do func(*Span)) {
	for _, s := range b.Spans {
		do(s)
	}
	for _, run := range b.Runs {
		open := *run
		if passed := now.UnixMilli() - run.To; run.To > 0 && run.Gap == 0 && passed > 0 && passed <= unwritten.Milliseconds() {
			open.To = now.UnixMilli()
		}
		if open.To > open.From {
			do(open.span())
		}
		if run.Gap > 0 {
			open.From, open.To = run.GapEnd-run.Gap, run.GapEnd
			do(open.span())
		}
	}
}

// unwritten is how long an open run is taken to go on that nobody has written since.
const unwritten = 90 * time.Second

// Of is how a budget stands for a user, or a client of a gateway; false: that is not known.
func (s *Standings) Of(b Budget, user string, client bool) (standing Standing, known bool) {
	if s == nil || !s.known[b] {
		return Standing{}, false
	}
	if st, used := s.used[accountOf(b, user, client)]; used {
		return st, true
	}
	return Standing{Budget: b}, true
}

// Longest is that of some standings that allows something again last. There has to be one.
func Longest(standings []Standing) Standing {
	return slices.MaxFunc(standings, func(a, b Standing) int {
		return cmp.Or(a.Again.Compare(b.Again), cmp.Compare(a.Share(), b.Share()))
	})
}

// Most is how much is used of a budget by whom of those bounded by it has used most.
func (s *Standings) Most(b Budget) Standing {
	most := Standing{Budget: b}
	for at, st := range s.used {
		if at.budget == b && st.Used > most.Used {
			most = st
		}
	}
	return most
}

// ToldTime is a moment as people are told it, to the second that follows, with the zone's name.
func ToldTime(t time.Time) string {
	whole := t.Truncate(time.Second)
	if whole.Before(t) {
		whole = whole.Add(time.Second)
	}
	return whole.Format("15:04:05 on 2 January 2006") + " (" + whole.Location().String() + ")"
}
