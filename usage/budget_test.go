package usage

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const gpu = "nvidia.com/gpu"

func hours(h float64) int64 { return int64(h * msPerHour) }

// TestWindowsOfTheCalendar begin at midnight where the zone says, also when clocks are set there.
func TestWindowsOfTheCalendar(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		window          Window
		now, begin, end string
	}{
		{Window{Calendar: Day}, "2026-11-28T12:00:00Z", "2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z"},
		{Window{Calendar: Day, Zone: "Asia/Tokyo"}, "2026-11-28T15:00:00Z", "2026-11-28T15:00:00Z", "2026-11-29T15:00:00Z"},
		{Window{Calendar: Day, Zone: "Europe/Berlin"}, "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		{Window{Calendar: Week, Zone: "Europe/Berlin"}, "2026-11-29T22:59:59Z", "2026-11-22T23:00:00Z", "2026-11-29T23:00:00Z"},
		{Window{Calendar: Week, Zone: "Europe/Berlin"}, "2026-11-29T23:00:00Z", "2026-11-29T23:00:00Z", "2026-12-06T23:00:00Z"},
		{Window{Calendar: Month, Zone: "America/New_York"}, "2026-12-01T04:59:59Z", "2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z"},
		{Window{Calendar: Month}, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
	} {
		now, err := time.Parse(time.RFC3339, c.now)
		require.NoError(t, err)
		assert.Equal(t, c.begin, c.window.Begin(now).UTC().Format(time.RFC3339), "%v", c)
		assert.Equal(t, c.end, c.window.End(now).UTC().Format(time.RFC3339), "%v", c)
	}
}

// interval is what was held, as the naive model of a budget knows it.
type interval struct {
	user     string
	from, to int64 // Unix milliseconds
	n        int64
}

// naive adds up what intervals have in a window; an empty user stands for all.
func naive(intervals []interval, user string, from, to int64) (sum int64) {
	for _, i := range intervals {
		if part := min(i.to, to) - max(i.from, from); part > 0 && (user == "" || i.user == user) {
			sum += part * i.n
		}
	}
	return sum
}

// TestBudgetsAreExact holds what budgets count, and when they allow something again, against
// a naive model.
func TestBudgetsAreExact(t *testing.T) {
	t.Parallel()
	spent, open := 0, 0
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			l := NewLedger([Shards]Loaded{}, at(0))
			l.Look(at(0), nil, nil)
			users := []string{"Ann", "ben", "cat"}
			kernels, began := make([]Kernel, 9), make([]int64, 9)
			for i := range kernels {
				kernels[i] = Kernel{UID: fmt.Sprint(i), Name: fmt.Sprint(i), Key: Key{User: users[i%3], Group: "ml"}, Amounts: Amounts{gpu: 1000 * int64(1+i/3), CPU: 500}}
			}
			var over []interval
			rolling := Window{Rolling: time.Duration(1+r.Int64N(40)) * time.Minute}
			budgets := []Budget{
				{Policy: "ml", Resource: gpu, Limit: hours(0.1 + r.Float64()), PerUser: true, Window: rolling},
				{Policy: "ml", Resource: gpu, Limit: hours(0.5 + 2*r.Float64()), Window: rolling},
				{Policy: "ml", Resource: gpu, Limit: hours(3), Window: Window{Calendar: Day, Zone: "Asia/Kolkata"}},
				{Policy: "other", Resource: gpu, Limit: hours(1), Window: rolling},
			}
			for now, step := time.Duration(0), 0; step < 3000; step++ {
				now += 300*time.Millisecond + time.Duration(r.Int64N(int64(1400*time.Millisecond)))
				ms := noon.Add(now.Truncate(time.Millisecond)).UnixMilli()
				for i := range kernels {
					k := &kernels[i]
					switch {
					case r.Float64() > 0.01:
					case k.Holds:
						k.Holds = false
						over = append(over, interval{k.User, began[i], ms, k.Amounts[gpu]})
					default:
						k.Holds, began[i] = true, ms
						k.Run++
						k.Began = noon.Add(now)
					}
				}
				l.Look(at(now), kernels, nil)
				if step%100 != 0 {
					continue
				}
				all := append([]interval{}, over...)
				for i := range kernels {
					if kernels[i].Holds {
						all = append(all, interval{kernels[i].User, began[i], ms, kernels[i].Amounts[gpu]})
					}
				}
				if step%500 == 0 { // as another leader reads them
					for i, b := range l.books {
						packed, _, err := b.encode()
						require.NoError(t, err)
						l.books[i], err = decode(packed)
						require.NoError(t, err)
					}
				}
				s := NewStandings(l.books[:], budgets, noon.Add(now))
				for _, b := range budgets {
					for _, user := range users {
						st, known := s.Of(b, user, false)
						require.True(t, known)
						whose := ""
						if b.PerUser {
							whose = user
						}
						model := func(at int64) int64 {
							return naive(all, whose, b.Window.Begin(time.UnixMilli(at)).UnixMilli(), ms)
						}
						if b.Policy == "other" {
							assert.Zero(t, st.Used)
							continue
						}
						const second = 1000 * 1000 // of one GPU
						require.InDelta(t, model(ms), st.Used, second*float64(len(all))/20, "%v at %d", b, step)
						if !st.Spent() {
							require.Zero(t, st.Again)
							open++
							continue
						}
						spent++
						again := st.Again.UnixMilli()
						assert.GreaterOrEqual(t, model(again-5000), b.Limit, "it is not told too late")
						assert.Less(t, model(again+5000), b.Limit, "nor too early")
					}
				}
				capital, _ := s.Of(budgets[0], "ANN", false)
				small, _ := s.Of(budgets[0], "ann", false)
				assert.Equal(t, small, capital, "one user, however spelt")
			}
			if _, known := NewStandings(l.books[:], budgets[:1], noon).Of(budgets[1], "ann", false); known {
				t.Error("a budget is not known that nobody has asked for")
			}
		})
	}
	assert.Greater(t, spent, 100, "it has tested something")
	assert.Greater(t, open, 100)
}

// TestSpansThatFindNoRoom become coarser: their sums stay.
func TestSpansThatFindNoRoom(t *testing.T) {
	t.Parallel()
	b := NewBook(noon)
	var want int64
	for i := range 6000 {
		run := &Run{Key: Key{User: fmt.Sprint("user-", i%3), Group: "ml"}, Amounts: Amounts{gpu: 1000}}
		length := int64(10_000 + i*7919%50_000)
		b.hold(run, length, noon.Add(time.Duration(i)*time.Minute))
		b.note(run)
		want += 1000 * length
	}
	const most = 24 << 10
	packed, dropped, err := b.fit(most)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(packed), most)
	assert.Zero(t, dropped)
	read, err := decode(packed)
	require.NoError(t, err)
	var sum int64
	for _, s := range read.Spans {
		sum += s.Held[gpu]
	}
	assert.Equal(t, want, sum)
	assert.Less(t, len(read.Spans), 2000, "of days ago there is one for each hour")
	assert.Greater(t, len(read.Spans), 1400, "of today all are left")
	b.forget(noon.AddDate(0, 0, 60))
	assert.Empty(t, b.Spans)
}

// TestABudgetOutlivesItsLeaders: three are killed while a run holds, and the API server's clock is
// set by five minutes each time. What the agent has counted is what counts.
func TestABudgetOutlivesItsLeaders(t *testing.T) {
	t.Parallel()
	const began = 10 * time.Second
	var offset time.Duration
	clock := func(d time.Duration) Now { return Now{Mono: d, API: noon.Add(d + offset)} }
	kernel := func(d time.Duration, holds bool) []Kernel {
		k := alices(asItIs)
		k[0].Holds, k[0].Began, k[0].Amounts = holds, clock(began).API.Truncate(time.Second), Amounts{gpu: 1000}
		if !holds {
			k[0].Final, k[0].FinalRun = &Meter{Held: (d - began).Milliseconds()}, 1
		}
		return k
	}
	l := NewLedger([Shards]Loaded{}, clock(0))
	now := time.Duration(0)
	l.Look(clock(now), nil, nil)
	now = began
	l.Look(clock(now), kernel(now, true), nil)
	for _, step := range []time.Duration{5 * time.Minute, -5 * time.Minute, -5 * time.Minute} {
		for i := range 100 {
			now += 977 * time.Millisecond
			if i%30 == 10 { // as often as agents are asked
				l.Answer("k", 1, Meter{Held: (now - began).Milliseconds()}, now)
			}
			l.Look(clock(now), kernel(now, true), nil)
		}
		packed, _, err := l.books[ShardOf("alice")].encode()
		require.NoError(t, err)
		at := clock(now).API.Truncate(time.Second)
		for range 30 { // not written any more
			now += 977 * time.Millisecond
			l.Look(clock(now), kernel(now, true), nil)
		}
		now += 20 * time.Second // nobody leads
		offset += step
		b, err := decode(packed)
		require.NoError(t, err)
		var loaded [Shards]Loaded
		loaded[ShardOf("alice")] = Loaded{b, at}
		l = NewLedger(loaded, clock(now))
		l.Look(clock(now), kernel(now, true), nil)
		now += 3 * time.Second
		l.Answer("k", 1, Meter{Held: (now - began).Milliseconds()}, now)
		l.Look(clock(now), kernel(now, true), nil)
	}
	now += time.Second
	budget := Budget{Policy: "ml", Resource: gpu, Limit: (now - began).Milliseconds() * 1000, PerUser: true, Window: Window{Rolling: 24 * time.Hour}}
	open, _ := NewStandings(l.books[:], []Budget{budget}, clock(now).API).Of(budget, "alice", false)
	assert.InDelta(t, budget.Limit, open.Used, 1000*1000, "while it is open: within a second")
	l.Look(clock(now), kernel(now, false), nil)
	done, _ := NewStandings(l.books[:], []Budget{budget}, clock(now).API).Of(budget, "alice", false)
	assert.InDelta(t, budget.Limit, done.Used, 1000*1000, "and when it is over")
}

func TestWindowsInWords(t *testing.T) {
	t.Parallel()
	for want, w := range map[string]Window{
		"month": {Calendar: Month}, "7 days": {Rolling: 168 * time.Hour}, "24 hours": {Rolling: 24 * time.Hour}, "36 hours": {Rolling: 36 * time.Hour},
		"hour": {Rolling: time.Hour}, "10 minutes": {Rolling: 10 * time.Minute}, "minute": {Rolling: time.Minute}, "90 seconds": {Rolling: 90 * time.Second},
	} {
		assert.Equal(t, want, w.InWords())
	}
}
