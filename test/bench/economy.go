package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/elastichub/elastichub/test/bench/economy"
)

const (
	economySeeds  = 20 // days that are replayed
	economyFew    = 8  // of those, in the tight pool
	economyLeast  = 4  // of those, by the ways that are only looked at besides
	economyUsers  = 100
	economyAmple  = 104 // GPUs: one for everybody, on nodes of eight
	economyTight  = 24
	economyTuned  = 200 // keep.idleSeconds
	economyStep   = 15 * time.Minute
	economyYields = 60
	economyWarm   = 8
	economyImport = 3 * time.Second
	economyLossy  = 0.1
)

// economySweep are the keep.idleSeconds that are tried.
var economySweep = []int64{30, 60, 120, economyTuned, 600}

// spread is a figure of several days.
type spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

func spreadOf(values []float64) spread {
	return spread{round(quantile(values, 0.5), 3), round(slices.Min(values), 3), round(slices.Max(values), 3)}
}

func (s spread) String() string {
	return fmt.Sprintf("%s (%s to %s)", plain(s.Median), plain(s.Low), plain(s.High))
}

// lent is what came of lending in one way.
type lent struct {
	Way   string `json:"way"`
	Days  int    `json:"days"`
	Held  spread `json:"held"` // GPU-hours
	Busy  spread `json:"busy"`
	Ready spread `json:"ready"` // of Held: kernels that are kept ready
	Ratio spread `json:"ratio"` // held / busy
	// Seconds that cells begin later than where everybody has a GPU of their own: the quantiles and the mean of a
	// day's cells, and the share of cells that do.
	WaitP50  spread `json:"waitP50"`
	WaitP90  spread `json:"waitP90"`
	WaitP99  spread `json:"waitP99"`
	WaitMean spread `json:"waitMean"`
	Late     spread `json:"late"`
	// Saved of the GPU-hours of a GPU of one's own, and of those of Enterprise Gateway's cull, in the same pool.
	Saved     spread `json:"saved"`
	SavedCull spread `json:"savedCull"`
	Peak      spread `json:"peak"` // GPUs
	Parks     spread `json:"parks"`
	Hurried   spread `json:"hurried"` // parkings whose kernel was wanted again within a minute
	FromWarm  spread `json:"fromWarm"`
	// Kernels whose variables were lost, cells that had been run in them, and the GPU-hours of these.
	LostKernels spread `json:"lostKernels"`
	LostCells   spread `json:"lostCells"`
	LostHours   spread `json:"lostHours"`
}

// course is how many GPUs one way held and had busy through a day, in steps.
type course struct {
	Way  string    `json:"way"`
	Held []float64 `json:"held"`
	Busy []float64 `json:"busy"`
}

// economyFigures are those of days of notebook users.
type economyFigures struct {
	Users int    `json:"users"`
	Ample int    `json:"ample"` // GPUs
	Tight int    `json:"tight"`
	Cells spread `json:"cells"`
	// Idle is which share of the time GPUs are idle that everybody has to themselves.
	Idle     spread   `json:"idle"`
	Pool     []lent   `json:"pool"`     // with Ample
	Sweep    []lent   `json:"sweep"`    // the same by keep.idleSeconds
	Seconds  []int64  `json:"seconds"`  // those
	Shortage []lent   `json:"shortage"` // with Tight
	Others   []lent   `json:"others"`   // with Ample
	AllWork  []lent   `json:"allWork"`  // with Ample, where nobody has a GPU for nothing
	Step     int      `json:"step"`     // minutes
	Day      []course `json:"day"`      // the first, with Ample
}

// days are replayed by several ways.
type days struct {
	b        *bench
	measured economy.Measured
	sessions [][]economy.Session
	base     []*economy.Outcome // a GPU of one's own for everybody
}

func (b *bench) days(ctx context.Context, count int, shape economy.Shape, measured economy.Measured) (*days, error) {
	d := &days{b: b, measured: measured}
	for seed := range uint64(count) {
		sessions := economy.Day(seed, shape)
		d.sessions = append(d.sessions, sessions)
		d.base = append(d.base, economy.Replay(seed, sessions, economy.Keeps(), economyAmple, measured))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return d, nil
}

// replay replays the first count days by ways, of which the first two are a GPU of one's own
// and Enterprise Gateway's, with so many GPUs.
func (d *days) replay(ctx context.Context, count, gpus int, ways ...economy.Way) ([]lent, [][]*economy.Outcome, error) {
	outcomes := make([][]*economy.Outcome, len(ways))
	var list []lent
	for i, way := range ways {
		for seed := range count {
			o := d.base[seed]
			if i > 0 || gpus != economyAmple {
				o = economy.Replay(uint64(seed), d.sessions[seed], way, gpus, d.measured)
			}
			outcomes[i] = append(outcomes[i], o)
			if ctx.Err() != nil {
				return nil, nil, ctx.Err()
			}
		}
		l := d.lent(way.Name, outcomes[i], outcomes[0], outcomes[min(1, i)])
		d.b.say("  %3d GPUs, %-48s held/busy %.2f, added p50 %.2f s, p90 %.2f s, parks %.0f", gpus, way.Name, l.Ratio.Median, l.WaitP50.Median, l.WaitP90.Median, l.Parks.Median)
		list = append(list, l)
	}
	return list, outcomes, nil
}

// lent sums up the days of one way beside those of two others.
func (d *days) lent(name string, outcomes, own, culled []*economy.Outcome) lent {
	of := func(value func(seed int, o *economy.Outcome) float64) spread {
		var values []float64
		for seed, o := range outcomes {
			values = append(values, value(seed, o))
		}
		return spreadOf(values)
	}
	added := make([][]float64, len(outcomes))
	for seed, o := range outcomes {
		for _, wait := range o.Added(d.base[seed]) {
			added[seed] = append(added[seed], wait.Seconds())
		}
	}
	wait := func(q float64) spread {
		return of(func(seed int, _ *economy.Outcome) float64 { return quantile(added[seed], q) })
	}
	all := func(o *economy.Outcome) float64 { return o.Held + o.Ready }
	return lent{
		Way: name, Days: len(outcomes),
		Held: of(func(_ int, o *economy.Outcome) float64 { return all(o) }), Busy: of(func(_ int, o *economy.Outcome) float64 { return o.Busy }),
		Ready: of(func(_ int, o *economy.Outcome) float64 { return o.Ready }), Ratio: of(func(_ int, o *economy.Outcome) float64 { return o.Ratio() }),
		WaitP50: wait(0.5), WaitP90: wait(0.9), WaitP99: wait(0.99),
		WaitMean: of(func(seed int, _ *economy.Outcome) float64 {
			sum := 0.0
			for _, s := range added[seed] {
				sum += s
			}
			return sum / float64(len(added[seed]))
		}),
		Late: of(func(seed int, _ *economy.Outcome) float64 {
			late := 0
			for _, s := range added[seed] {
				if s > 0 {
					late++
				}
			}
			return float64(late) / float64(len(added[seed]))
		}),
		Saved:     of(func(seed int, o *economy.Outcome) float64 { return 1 - all(o)/all(own[seed]) }),
		SavedCull: of(func(seed int, o *economy.Outcome) float64 { return 1 - all(o)/all(culled[seed]) }),
		Peak:      of(func(_ int, o *economy.Outcome) float64 { return float64(o.Peak()) }),
		Parks:     of(func(_ int, o *economy.Outcome) float64 { return float64(o.Parks) }),
		Hurried:   of(func(_ int, o *economy.Outcome) float64 { return float64(o.Hurried) }),
		FromWarm:  of(func(_ int, o *economy.Outcome) float64 { return float64(o.FromWarm) }),

		LostKernels: of(func(_ int, o *economy.Outcome) float64 { return float64(o.LostKernels) }),
		LostCells:   of(func(_ int, o *economy.Outcome) float64 { return float64(o.LostCells) }),
		LostHours:   of(func(_ int, o *economy.Outcome) float64 { return o.LostHours }),
	}
}

// lending replays days of notebook users through the code that lends GPUs.
func lending(ctx context.Context, b *bench) (any, error) {
	measured, err := economy.Read(b.results)
	if err != nil {
		return nil, err
	}
	defaults, err := economy.Defaults(filepath.Join(b.source, "charts", "elastichub", "values.yaml"))
	if err != nil {
		return nil, err
	}
	shape := economy.Office(economyUsers)
	d, err := b.days(ctx, economySeeds, shape, measured)
	if err != nil {
		return nil, err
	}
	own, culls, tuned := economy.Keeps(), economy.Culls(), defaults.KeepFor(economyTuned)
	f := &economyFigures{Users: economyUsers, Ample: economyAmple, Tight: economyTight, Seconds: economySweep, Step: int(economyStep.Minutes())}
	var cells, idle []float64
	for seed, sessions := range d.sessions {
		n := 0
		for _, s := range sessions {
			n += len(s.Cells)
		}
		cells, idle = append(cells, float64(n)), append(idle, 1-d.base[seed].Busy/d.base[seed].Held)
	}
	f.Cells, f.Idle = spreadOf(cells), spreadOf(idle)

	sweep := []economy.Way{own, culls, defaults}
	for _, seconds := range economySweep {
		sweep = append(sweep, defaults.KeepFor(seconds))
	}
	all, outcomes, err := d.replay(ctx, economySeeds, economyAmple, sweep...)
	if err != nil {
		return nil, err
	}
	f.Pool, f.Sweep = all[:3], all[3:]
	for i := range f.Pool {
		held, busy := outcomes[i][0].Course(economyStep)
		f.Day = append(f.Day, course{f.Pool[i].Way, rounded(held), rounded(busy)})
	}
	if all, _, err = d.replay(ctx, economyFew, economyTight, own, culls, defaults, defaults.Yields(economyYields), tuned, tuned.Yields(economyYields)); err != nil {
		return nil, err
	}
	f.Shortage = all
	if all, _, err = d.replay(ctx, economyLeast, economyAmple, own, culls, defaults.Importing(economyImport), tuned.Importing(economyImport), tuned.Losing(economyLossy), tuned.Warm(economyWarm)); err != nil {
		return nil, err
	}
	f.Others = all[2:]
	shape.AllWork = true
	if d, err = b.days(ctx, economyLeast, shape, measured); err != nil {
		return nil, err
	}
	f.AllWork, _, err = d.replay(ctx, economyLeast, economyAmple, own, culls, defaults, tuned)
	return f, err
}

func rounded(values []float64) []float64 {
	for i := range values {
		values[i] = round(values[i], 2)
	}
	return values
}

// decodeEconomy reads the figures, and a line that says what they are of.
func decodeEconomy(raw []byte) (f economyFigures, versions string, err error) {
	var r struct {
		Machine map[string]string
		Figures *economyFigures
	}
	r.Figures = &f
	if err = json.Unmarshal(raw, &r); err != nil {
		return f, "", err
	}
	if len(f.Pool) == 0 || len(f.Sweep) != len(f.Seconds) {
		return f, "", fmt.Errorf("%d ways, and %d figures for %d values of keep.idleSeconds", len(f.Pool), len(f.Sweep), len(f.Seconds))
	}
	return f, fmt.Sprintf("elastichub %s, %d users, %d days in virtual time, %s", r.Machine["elastichub"], f.Users, f.Pool[0].Days, r.Machine["date"]), nil
}
