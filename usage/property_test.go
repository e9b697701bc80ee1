package usage

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// world is a cluster with kernels that come and go, and leaders that crash. Times are true
// milliseconds since its beginning; the API server's clock is ahead of them by offset.
type world struct {
	*rand.Rand
	t       *testing.T
	now     int64
	offset  int64
	kernels []*worldKernel
	// stored are the books as they lie in the cluster, and when they were written by the API
	// server's clock.
	stored  [Shards][]byte
	written [Shards]time.Time

	ledger  *Ledger
	booted  int64 // when the leader's process began
	lastAt  [Shards]int64
	leaders int
	// quiet: nothing begins any more. steps: the API server's clock is set by minutes while
	// nobody leads.
	quiet, steps bool
}

type worldKernel struct {
	uid, user, spec string
	run             int64
	began, ended    int64 // of the present run; ended 0: it goes on
	agentBegan      int64
	busyShare       float64
	tells           bool // its agent counts
	final           bool // the end of its Pod was seen
	ends            int64
	// what was true of all runs that are over.
	held, busy, runs int64
}

func (w *world) api(ms int64) time.Time {
	return time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC).Add(time.Duration(ms+w.offset) * time.Millisecond)
}

func (w *world) clock() Now {
	return Now{Mono: time.Duration(w.now-w.booted) * time.Millisecond, API: w.api(w.now)}
}

func (k *worldKernel) meter(at int64) Meter {
	held := max(0, at-k.agentBegan)
	return Meter{Held: held, Busy: int64(float64(held) * k.busyShare)}
}

// step lets time pass, in which runs end, and, where somebody leads, begin.
func (w *world) step(ms int64) {
	w.now += ms
	for _, k := range w.kernels {
		running := k.began != 0 && k.ended == 0
		switch {
		case running && w.now >= k.ends:
			k.ended = k.ends
			k.held, k.busy, k.runs = k.held+k.ended-k.began, k.busy+k.meter(k.ended).Busy, k.runs+1
			if !k.tells {
				k.busy -= k.meter(k.ended).Busy
			}
		case !running && w.ledger != nil && !w.quiet && w.Float64() < 0.02:
			k.run++
			k.began, k.ended = w.now, 0
			k.agentBegan = w.now + w.Int64N(300)
			k.ends = k.agentBegan + 500 + w.Int64N(1+w.Int64N(20*60_000))
			k.busyShare = w.Float64()
		}
	}
}

func (w *world) kernel(k *worldKernel) Kernel {
	v := Kernel{UID: k.uid, Run: k.run, Key: Key{User: k.user, Group: "ml", KernelSpec: k.spec}, Server: "server", Amounts: Amounts{"nvidia.com/gpu": 1000}}
	if k.began == 0 {
		return v
	}
	v.Began, v.Asked = w.api(k.began).Truncate(time.Second), w.api(k.began)
	if k.ended == 0 {
		v.Holds = true
		return v
	}
	v.Ended = w.api(k.ended).Truncate(time.Second)
	if k.tells && k.final {
		meter := k.meter(k.ended)
		v.Final, v.FinalRun = &meter, k.run
	}
	return v
}

// look is one of the leader's, now and then delivered twice.
func (w *world) look() {
	var shown []Kernel
	for _, k := range w.kernels {
		shown = append(shown, w.kernel(k))
		if k.began != 0 && k.ended == 0 && k.tells && w.now > k.agentBegan && (w.steps || w.Float64() < 0.05) {
			w.ledger.Answer(k.uid, k.run, k.meter(w.now), w.clock().Mono)
		}
	}
	servers := []Server{{UID: "s", Name: "server", User: "user-0", Group: "ml", Start: "1", Up: true}}
	w.ledger.Look(w.clock(), shown, servers)
	if w.Float64() < 0.1 {
		w.ledger.Look(w.clock(), shown, servers)
	}
}

func (w *world) write() {
	for i := range Shards {
		changed, urgent := w.ledger.State(i)
		if urgent || changed && w.now-w.lastAt[i] >= 60_000 {
			packed, dropped, err := w.ledger.books[i].encode()
			require.NoError(w.t, err)
			require.Zero(w.t, dropped)
			w.stored[i], w.written[i], w.lastAt[i] = packed, w.api(w.now).Truncate(time.Second), w.now
			w.ledger.Written(i)
			if !w.steps && w.Float64() < 0.02 { // the leader crashes once it is written, before it knows
				w.ledger = nil
				return
			}
		}
	}
}

func (w *world) lead() {
	w.leaders++
	if w.steps {
		w.offset += w.Int64N(600_000) - 300_000
	}
	w.booted = w.now - w.Int64N(1000_000)
	var loaded [Shards]Loaded
	for i, packed := range w.stored {
		if packed == nil {
			loaded[i].Book = NewBook(w.api(0))
			continue
		}
		b, err := decode(packed)
		require.NoError(w.t, err)
		loaded[i] = Loaded{b, w.written[i]}
	}
	w.ledger = NewLedger(loaded, w.clock())
	w.lastAt = [Shards]int64{}
}

// TestEveryRunIsBookedOnce plays random runs under leaders that crash at any moment, before
// and after they have written, and holds the sums against what was true.
func TestEveryRunIsBookedOnce(t *testing.T) {
	t.Parallel()
	var leaders, runs int
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := &world{Rand: rand.New(rand.NewPCG(seed, 1)), t: t}
			w.steps = seed%3 == 0
			for i := range 6 {
				w.kernels = append(w.kernels, &worldKernel{
					uid: fmt.Sprint("k", i), user: fmt.Sprint("user-", i%4), spec: fmt.Sprint("spec-", i),
					tells: i != 0 || w.steps, final: i > 1 || w.steps,
				})
			}
			for w.now < 25*60_000 {
				if w.ledger == nil {
					w.step(w.Int64N(1 + w.Int64N(8*60_000)))
					w.lead()
				}
				w.look()
				w.write()
				if w.steps && w.Float64() < 0.003 {
					w.ledger = nil
				}
				w.step(500 + w.Int64N(1000))
				if !w.steps && w.Float64() < 0.003 {
					w.ledger = nil
				}
			}
			w.quiet = true
			for _, k := range w.kernels {
				k.ends = min(k.ends, w.now)
			}
			w.ledger0()
			w.step(1000)
			w.look()
			for _, k := range w.kernels {
				require.True(t, k.began == 0 || k.ended != 0)
				line := Line{Resources: map[string]Hours{}}
				for _, found := range Report(w.ledger.books[:], Period{Days: 2}, ByKernelSpec, nil, w.api(w.now)) {
					if found.Name == k.spec {
						line = found
					}
				}
				runs += int(line.Runs)
				assert.Equal(t, k.runs, line.Runs, k.spec)
				assert.Zero(t, line.Estimated, "everything is still there to see")
				booked := line.Resources["nvidia.com/gpu"]
				// A second for each run, and for each change of leader that it may have lived through.
				tolerance := 2*float64(k.runs) + 3*float64(w.leaders)
				assert.InDelta(t, float64(k.held)/1000, booked.Held*3600, tolerance, "%s held, %d leaders", k.spec, w.leaders)
				assert.LessOrEqual(t, booked.Busy, booked.Held+1e-9)
				if k.final {
					assert.InDelta(t, float64(k.busy)/1000, booked.Busy*3600, tolerance, "%s busy", k.spec)
				}
				assert.LessOrEqual(t, booked.Busy*3600, float64(k.busy)/1000+tolerance, "%s busy", k.spec)
			}
			w.assertBudgets()
			leaders += w.leaders
		})
	}
	assert.Greater(t, leaders, 60, "it has tested something")
	assert.Greater(t, runs, 300)
}

// ledger0 makes sure that somebody leads.
func (w *world) ledger0() {
	if w.ledger == nil {
		w.lead()
		w.look()
	}
}

// assertBudgets holds what budgets count against what was true: of each user, and of all.
func (w *world) assertBudgets() {
	held, runs, sum := map[string]int64{}, map[string]int64{}, int64(0)
	all := int64(0)
	for _, k := range w.kernels {
		held[k.user], runs[k.user] = held[k.user]+1000*k.held, runs[k.user]+k.runs
		sum, all = sum+1000*k.held, all+k.runs
	}
	window := Window{Rolling: 24 * time.Hour}
	mine := Budget{Policy: "ml", Resource: gpu, Limit: hours(1), PerUser: true, Window: window}
	ours := Budget{Policy: "ml", Resource: gpu, Limit: hours(1), Window: window}
	s := NewStandings(w.ledger.books[:], []Budget{mine, ours}, w.api(w.now))
	const second = 1000 * 1000
	for user, want := range held {
		st, _ := s.Of(mine, user, false)
		assert.InDelta(w.t, want, st.Used, second*(2*float64(runs[user])+3*float64(w.leaders)*3), user)
	}
	st, _ := s.Of(ours, "nobody", false)
	assert.InDelta(w.t, sum, st.Used, second*(2*float64(all)+3*float64(w.leaders*len(w.kernels))), "of all")
	// What spans say is what days do: nothing counts twice, and nothing is left out.
	booked := 0.0
	for _, line := range Report(w.ledger.books[:], Period{Days: 2}, ByUser, nil, w.api(w.now)) {
		booked += line.Resources[gpu].Held
	}
	assert.InDelta(w.t, booked, st.UsedHours(), 1e-6)
}
