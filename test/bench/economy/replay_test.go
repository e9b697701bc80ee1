package economy

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// anHour is a small trace in which everything happens: five users who work for an hour.
func anHour() Shape {
	return Shape{Users: 5, Starts: [2]time.Duration{9 * time.Hour, 9*time.Hour + 5*time.Minute}, Lasts: [2]time.Duration{55 * time.Minute, time.Hour}, AllWork: true}
}

func measured(t *testing.T) Measured {
	m, err := Read("../results")
	require.NoError(t, err)
	return m
}

func defaults(t *testing.T) Way {
	w, err := Defaults("../../../charts/elastichub/values.yaml")
	require.NoError(t, err)
	return w
}

// TestNothingIsLost: by every way and in every pool, each cell runs once and in its turn, each GPU
// is held by one kernel at a time, and the ledger has booked what happened.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	elastic, m := defaults(t), measured(t)
	ways := []Way{Keeps(), Culls(), elastic, elastic.KeepFor(30), elastic.KeepFor(30).Warm(2), elastic.KeepFor(60).Yields(20), elastic.KeepFor(30).Losing(1), elastic.KeepFor(30).Importing(3 * time.Second)}
	seen := Outcome{}
	for seed := range uint64(2) {
		sessions := Day(seed, anHour())
		wanted := 0.0
		for i := range sessions {
			for _, c := range sessions[i].Cells {
				wanted += c.Takes.Hours()
			}
		}
		for _, gpus := range []int{2, 100} {
			for _, way := range ways {
				o := Replay(seed, sessions, way, gpus, m)
				about := []any{"%s with %d GPUs, seed %d", way.Name, gpus, seed}
				for i := range sessions {
					free := sessions[i].Start
					require.Len(t, o.Begins[i], len(sessions[i].Cells), about...)
					for n, c := range sessions[i].Cells {
						assert.GreaterOrEqual(t, o.Begins[i][n], max(free, c.Asked), about...)
						free = o.Begins[i][n] + c.Takes
					}
				}
				assert.LessOrEqual(t, o.Peak(), gpus, about...)
				assert.InDelta(t, wanted, o.Busy, 1e-9, about...)
				assert.InDelta(t, hours(o.computes), o.Busy, 1e-9, about...)
				assert.InDelta(t, hours(o.holds), o.Held, 1e-9, about...)
				assert.GreaterOrEqual(t, o.Held, o.Busy, about...)
				assert.EqualValues(t, len(o.holds), o.Runs, about...)
				assert.EqualValues(t, len(sessions)+o.Returns, o.Runs, about...)
				seen.Parks += o.Parks
				seen.Returns += o.Returns
				seen.Yields += o.Yields
				seen.FromWarm += o.FromWarm
				seen.Interrupted += o.Interrupted
			}
		}
	}
	for name, n := range map[string]int{"parking": seen.Parks, "return": seen.Returns, "yield": seen.Yields, "warm Pod taken": seen.FromWarm} {
		assert.Positive(t, n, "no %s: the test tests less than it says", name)
	}
}

// TestAGPUOfOnesOwn holds it from the start of the server to its stop, and nobody waits.
func TestAGPUOfOnesOwn(t *testing.T) {
	t.Parallel()
	sessions := Day(1, anHour())
	o := Replay(1, sessions, Keeps(), len(sessions), measured(t))
	for i := range sessions {
		free := time.Duration(0)
		for n, c := range sessions[i].Cells {
			assert.Equal(t, max(free, c.Asked), o.Begins[i][n])
			free = o.Begins[i][n] + c.Takes
		}
		span := o.holds[slices.IndexFunc(o.holds, func(s Span) bool { return s.From == sessions[i].Start })]
		assert.Equal(t, max(free, sessions[i].Stop)+podEnds, span.To)
	}
	assert.Zero(t, o.Parks)
}

// TestTheSameSeedIsTheSameDay, and another one another.
func TestTheSameSeedIsTheSameDay(t *testing.T) {
	t.Parallel()
	elastic, m := defaults(t), measured(t)
	way := elastic.KeepFor(30).Warm(2).Yields(20)
	run := func(seed uint64) *Outcome {
		o := Replay(seed, Day(seed, anHour()), way, 3, m)
		o.at = nil // by pointer
		return o
	}
	assert.Equal(t, run(7), run(7))
	assert.NotEqual(t, run(7).Begins, run(8).Begins)
}

// TestTraceIsAsPublished: the quantiles that are published are those of the trace.
func TestTraceIsAsPublished(t *testing.T) {
	t.Parallel()
	shape := Office(400)
	shape.AllWork, shape.Noon, shape.Lunch = true, [2]time.Duration{}, [2]time.Duration{}
	var takes, apart []time.Duration
	for _, s := range Day(1, shape) {
		for i, c := range s.Cells {
			takes = append(takes, c.Takes)
			if i > 0 {
				apart = append(apart, c.Asked-s.Cells[i-1].Asked)
			}
		}
	}
	slices.Sort(takes)
	slices.Sort(apart)
	at := func(list []time.Duration, q float64) float64 { return list[int(q*float64(len(list)))].Seconds() }
	assert.InEpsilon(t, 120, at(takes, 0.5), 0.03)
	assert.InEpsilon(t, 300, at(takes, 0.75), 0.03)
	assert.InEpsilon(t, 300, at(apart, 0.5), 0.03)
	assert.GreaterOrEqual(t, apart[0], 240*time.Second)

	unused, little, all := 0, 0, Day(1, Office(4000))
	for i := range all {
		used := time.Duration(0)
		for _, c := range all[i].Cells {
			used += c.Takes
		}
		switch {
		case used == 0:
			unused++
		case used.Seconds() <= mostLittle*(all[i].Stop-all[i].Start).Seconds():
			little++
		}
	}
	assert.InDelta(t, 0.69, float64(unused)/float64(len(all)), 0.02)
	assert.InDelta(t, 0.75, float64(unused+little)/float64(len(all)), 0.02)
}
