package usage

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// at is so long after noon.
func at(d time.Duration) Now { return Now{Mono: d, API: noon.Add(d)} }

func alices(change func(*Kernel)) []Kernel {
	k := Kernel{UID: "k", Name: "k", Run: 1, Key: Key{User: "alice", Group: "ml", KernelSpec: "gpu"}, Holds: true, Server: "jupyter-alice", Amounts: Amounts{"nvidia.com/gpu": 2000}}
	change(&k)
	return []Kernel{k}
}

func asItIs(*Kernel)     {}
func atItsEnd(k *Kernel) { k.Holds = false }

func total(l *Ledger, p Period, d time.Duration) map[string]Line {
	lines := map[string]Line{}
	for _, line := range Report(l.books[:], p, ByDate, nil, noon.Add(d)) {
		lines[line.Name] = line
	}
	return lines
}

// TestDaysAreApart: what is held over midnight is booked to both days, a long outage to all.
func TestDaysAreApart(t *testing.T) {
	t.Parallel()
	l := NewLedger([Shards]Loaded{}, at(0))
	l.Look(at(0), nil, nil)
	l.Look(at(0), alices(asItIs), nil)
	l.Look(at(13*time.Hour), alices(asItIs), nil)
	days := total(l, Period{Days: 3}, 13*time.Hour)
	assert.InDelta(t, 24, days["2026-11-28"].Resources["nvidia.com/gpu"].Held, 1e-9)
	assert.InDelta(t, 2, days["2026-11-29"].Resources["nvidia.com/gpu"].Held, 1e-9)
	assert.EqualValues(t, 1, days["2026-11-28"].Runs)
	assert.EqualValues(t, 0, days["2026-11-29"].Runs, "it began before")

	packed, _, err := l.books[ShardOf("alice")].encode()
	require.NoError(t, err)
	b, err := decode(packed)
	require.NoError(t, err)
	var loaded [Shards]Loaded
	loaded[ShardOf("alice")] = Loaded{b, noon.Add(13 * time.Hour)}
	l = NewLedger(loaded, at(61*time.Hour)) // two days without a leader
	l.Look(at(61*time.Hour), alices(atItsEnd), nil)
	days = total(l, Period{Days: 5}, 61*time.Hour)
	assert.InDelta(t, 2, days["2026-11-29"].Resources["nvidia.com/gpu"].Held, 1e-9, "nobody knows when it ended")
	assert.EqualValues(t, 1, days["2026-12-01"].Estimated)

	b, err = decode(packed)
	require.NoError(t, err)
	loaded[ShardOf("alice")] = Loaded{b, noon.Add(13 * time.Hour)}
	l = NewLedger(loaded, at(61*time.Hour))
	l.Look(at(61*time.Hour), alices(func(k *Kernel) { k.Holds, k.Ended = false, noon.Add(37*time.Hour) }), nil)
	days = total(l, Period{Days: 5}, 61*time.Hour)
	sum := 0.0
	for _, line := range days {
		sum += line.Resources["nvidia.com/gpu"].Held
	}
	assert.InDelta(t, 2*37, sum, 1e-9)
}

// TestWhatIsSaved is what a server would have held besides, had it kept the most that its
// kernels held at one time.
func TestWhatIsSaved(t *testing.T) {
	t.Parallel()
	l := NewLedger([Shards]Loaded{}, at(0))
	server := func(start string, up bool) []Server {
		return []Server{{UID: "s", Name: "jupyter-alice", User: "alice", Start: start, Up: up}}
	}
	saved := func() float64 {
		return total(l, Period{Days: 1}, 0)["2026-11-28"].Resources["nvidia.com/gpu"].Saved
	}
	l.Look(at(0), nil, server("1", true))
	l.Look(at(time.Hour), nil, server("1", true))
	assert.Zero(t, saved(), "it has never held one")
	l.Look(at(time.Hour), alices(asItIs), server("1", true))
	l.Look(at(2*time.Hour), alices(asItIs), server("1", true))
	assert.Zero(t, saved(), "it holds all that it would keep")
	l.Look(at(2*time.Hour), alices(atItsEnd), server("1", true))
	l.Look(at(3*time.Hour), alices(atItsEnd), server("1", true))
	assert.InDelta(t, 2, saved(), 1e-9, "two GPUs for an hour")
	l.Look(at(4*time.Hour), alices(func(k *Kernel) { k.Run, k.Amounts = 2, Amounts{"nvidia.com/gpu": 1000} }), server("1", true))
	before := saved()
	l.Look(at(5*time.Hour), alices(func(k *Kernel) { k.Run = 2 }), server("1", true))
	assert.InDelta(t, before+1, saved(), 1e-9, "it holds one of two")
	l.Look(at(5*time.Hour), alices(func(k *Kernel) { k.Run, k.Holds = 2, false }), server("1", false))
	before = saved()
	l.Look(at(6*time.Hour), nil, server("2", true))
	l.Look(at(7*time.Hour), nil, server("2", true))
	assert.InDelta(t, before, saved(), 1e-9, "it was stopped: another start has held nothing yet")
}

// TestBusyIsNeverMoreThanHeld, whatever an agent says.
func TestBusyIsNeverMoreThanHeld(t *testing.T) {
	t.Parallel()
	l := NewLedger([Shards]Loaded{}, at(0))
	l.Look(at(0), nil, nil)
	l.Look(at(0), alices(asItIs), nil)
	l.Answer("k", 1, Meter{Held: 1 << 40, Busy: 1 << 40}, time.Minute)
	l.Look(at(time.Minute), alices(asItIs), nil)
	l.Answer("k", 1, Meter{Held: 5, Busy: 5}, 2*time.Minute) // backwards
	l.Answer("other", 1, Meter{Held: 5, Busy: 5}, 2*time.Minute)
	l.Look(at(2*time.Minute), alices(asItIs), nil)
	got := total(l, Period{Months: 1}, 0)["2026-11"].Resources["nvidia.com/gpu"]
	assert.InDelta(t, 2.0/30, got.Held, 1e-9)
	assert.InDelta(t, 1.0/30, got.Busy, 1e-9)
}

// TestABookIsBounded in age and in size.
func TestABookIsBounded(t *testing.T) {
	t.Parallel()
	b := NewBook(noon)
	for day := range 800 {
		b.change(noon.AddDate(0, 0, -day), Key{User: "alice"}, func(r *Row) { r.Runs++ })
	}
	b.Marks["old"] = Mark{Run: 1, Gone: noon.Add(-2 * markKept).Unix()}
	b.Marks["there"] = Mark{Run: 1}
	b.forget(noon)
	assert.Len(t, b.Days, KeptDays)
	assert.Len(t, b.Months, KeptMonths)
	assert.NotContains(t, b.Marks, "old")
	assert.Contains(t, b.Marks, "there")

	for day := range 8 {
		for i := range 200 {
			key := Key{User: fmt.Sprintf("%x-%x", i*2654435761, (i+day)*40503), Group: fmt.Sprint(i * 7919 * day), KernelSpec: "python"}
			b.change(noon.AddDate(0, 0, -day), key, func(r *Row) { r.Of["nvidia.com/gpu"] = Use{Held: int64(i * day * 7727), Busy: int64(i * 31)} })
		}
	}
	const most = 24 << 10
	packed, dropped, err := b.fit(most)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(packed), most)
	assert.Positive(t, dropped)
	assert.Contains(t, b.Days, "2026-11-28", "the newest stay")
	_, err = decode(packed)
	require.NoError(t, err)
	_, err = decode([]byte("no book"))
	require.Error(t, err)
}
