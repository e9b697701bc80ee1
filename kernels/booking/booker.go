package booking

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/usage"
)

const (
	// lookEvery is how often everything is looked at: runs are booked to the second.
	lookEvery = time.Second
	// writeEvery is how often a book is written in which runs go on. When one begins or
	// ends it is written at once, but for mostWrites in a minute.
	writeEvery = time.Minute
	mostWrites = usage.Shards
	// leaveTime is how long the last writes of a leader may take.
	leaveTime = 5 * time.Second
	// retryPause is after a fault.
	retryPause = 2 * time.Second
	// clockJitter is by how much the API server's timestamps differ without its clock being set.
	clockJitter = 2 * time.Second
)

// Booker keeps the ledger on the leader.
type Booker struct {
	scope    *namespaces.Scope
	client   client.Reader // reads from the cache
	live     client.Reader // reads from the API server
	store    *usage.Store
	hours    *prometheus.CounterVec
	writes   prometheus.Counter
	failures prometheus.Counter
	used     *prometheus.GaugeVec // of budgets
	words    *words
	// began is the zero of our monotonic clock: a minute before the first write, at least.
	began time.Time

	mu      sync.Mutex // of answers, which agents' askers write
	answers map[types.UID]answered

	// standings are how budgets stood at the last look; nil while nobody here leads.
	standings atomic.Pointer[usage.Standings]

	ledger *usage.Ledger
	saved  *usage.Saved
	// api is what the API server's clock said at a moment of ours.
	api usage.Now
	// wrote is when each book was written last, and recent when the last writes were.
	wrote  [usage.Shards]time.Duration
	recent [mostWrites]time.Duration
	next   int // in recent
	turn   int // the shard that comes first
}

type answered struct {
	run   int64
	meter usage.Meter
	at    time.Duration
}

// SetupWithManager has a ledger of a name kept in the scope's own namespace. The manager's cache must cover the scope.
func SetupWithManager(mgr manager.Manager, scope *namespaces.Scope, name string, registry prometheus.Registerer) (*Booker, error) {
	b := newBooker(scope, name, mgr.GetClient(), mgr.GetClient(), mgr.GetAPIReader())
	for _, c := range []prometheus.Collector{b.hours, b.writes, b.failures, b.used} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("kernels: metrics: %w", err)
		}
	}
	informer, err := mgr.GetCache().GetInformer(context.Background(), &corev1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("kernels: watch Pods: %w", err)
	}
	if _, err := informer.AddEventHandler(b.words.handler()); err != nil {
		return nil, fmt.Errorf("kernels: watch Pods: %w", err)
	}
	return b, mgr.Add(b)
}

// newBooker reads from the cache and from the API server, live, and writes by another client.
func newBooker(scope *namespaces.Scope, name string, cached client.Reader, written client.Client, live client.Reader) *Booker {
	return &Booker{
		scope: scope, client: cached, live: live,
		store: &usage.Store{Reader: live, Client: written, Namespace: scope.Own(), Name: name},
		words: &words{of: map[types.UID]word{}}, began: time.Now().Add(-time.Minute), answers: map[types.UID]answered{},
		hours: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_usage_hours_total",
			Help: "Hours of one unit of a resource (a GPU, a core, a GiB) that kernels held (held), were busy in (busy), or saved (saved), as this leader has booked them.",
		}, []string{"resource", "of"}),
		writes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "elastichub_usage_writes_total", Help: "Writes of the ledger of hours.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "elastichub_usage_write_failures_total", Help: "Writes of the ledger of hours that failed; what they held is written later.",
		}),
		used: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "elastichub_budget_used_ratio",
			Help: "Share of a policy's budget of a resource that is used: of all members, or of whom of them has used most; of several windows, the largest.",
		}, []string{"policy", "resource", "per"}),
	}
}

// Standings are how budgets stood a second ago at most; nil while that is not known. It may be
// called at any time.
func (b *Booker) Standings() *usage.Standings { return b.standings.Load() }

// Metered takes what the agent of a kernel's run has counted. It may be called at any time.
func (b *Booker) Metered(kernel types.UID, run int64, meter protocol.Meter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers[kernel] = answered{run, meterOf(meter), b.mono()}
}

func (b *Booker) mono() time.Duration { return time.Since(b.began) }

func (b *Booker) now() usage.Now {
	mono := b.mono()
	return usage.Now{Mono: mono, API: b.api.API.Add(mono - b.api.Mono)}
}

// NeedLeaderElection makes the leader book, and nobody else.
func (b *Booker) NeedLeaderElection() bool { return true }

// Start books until the context ends. What it cannot write it takes over anew.
func (b *Booker) Start(ctx context.Context) error {
	for {
		if err := b.lead(ctx); err != nil {
			log.FromContext(ctx).Error(err, "the ledger of hours is left as it was written last")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryPause):
		}
	}
}

// lead takes the ledger over and books, until the context ends or somebody else has written.
func (b *Booker) lead(ctx context.Context) error {
	defer b.standings.Store(nil)
	if err := b.takeOver(ctx); err != nil {
		return err
	}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		if replaced, err := b.store.IsReplaced(ctx, b.client, b.saved); err != nil {
			log.FromContext(ctx).Error(err, "whether somebody has replaced the ledger of hours is not known")
		} else if replaced {
			return usage.ErrTaken
		}
		if err := b.look(ctx); err != nil && ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "what is held cannot be booked yet") // the next look books it
		}
		if err := b.write(ctx, false); errors.Is(err, usage.ErrTaken) {
			return err
		} else if err != nil && ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "the ledger of hours cannot be written yet")
		}
		select {
		case <-ctx.Done():
			leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
			defer cancel()
			return b.write(leaving, true)
		case <-ticker.C:
		}
	}
}

// takeOver reads the books, and writes one, to learn what time it is.
func (b *Booker) takeOver(ctx context.Context) error {
	saved, err := b.store.Read(ctx)
	if err != nil {
		return err
	}
	const first = 0
	book := saved.Books[first].Book
	if book == nil {
		book = usage.NewBook(time.Now())
	}
	at, _, err := b.store.Write(ctx, saved, first, book)
	if err != nil {
		b.failures.Inc()
		return err
	}
	mono := b.mono()
	b.count(mono)
	b.saved, b.api = saved, usage.Now{Mono: mono, API: at}
	b.ledger = usage.NewLedger(saved.Books, b.now())
	for i := range b.wrote {
		b.wrote[i] = mono - writeEvery
	}
	b.wrote[first] = mono
	return nil
}

// look books what has passed.
func (b *Booker) look(ctx context.Context) error {
	v, err := b.view(ctx)
	if err != nil {
		return err
	}
	if doubts := b.ledger.Doubts(v.kernels); len(doubts) > 0 {
		if err := b.confirm(ctx, v, doubts); err != nil {
			return err
		}
	}
	b.orphans(v)
	b.mu.Lock()
	answers := b.answers
	b.answers = map[types.UID]answered{}
	b.mu.Unlock()
	for uid, a := range answers {
		b.ledger.Answer(string(uid), a.run, a.meter, a.at)
	}
	now := b.now()
	b.ledger.Look(now, v.kernels, v.servers)
	standings := usage.NewStandings(b.ledger.Books(), v.budgets, now.API)
	b.standings.Store(standings)
	b.measure(standings, v.budgets)
	for resource, use := range b.ledger.Totals() {
		hours := use.Hours()
		for of, n := range map[string]float64{"held": hours.Held, "busy": hours.Busy, "saved": hours.Saved} {
			b.hours.WithLabelValues(resource, of).Add(max(n, 0))
		}
	}
	return nil
}

// measure shows how budgets stand.
func (b *Booker) measure(standings *usage.Standings, budgets []usage.Budget) {
	type labels struct{ policy, resource, per string }
	shares := map[labels]float64{}
	for _, budget := range budgets {
		at := labels{budget.Policy, budget.Resource, string(v1alpha1.BudgetPerGroup)}
		if budget.PerUser {
			at.per = string(v1alpha1.BudgetPerUser)
		}
		shares[at] = max(shares[at], standings.Most(budget).Share())
	}
	b.used.Reset()
	for at, share := range shares {
		b.used.WithLabelValues(at.policy, at.resource, at.per).Set(share)
	}
}

// write writes what has changed, as often as it may; at the end, all of it.
func (b *Booker) write(ctx context.Context, end bool) error {
	mono := b.mono()
	for i := range usage.Shards {
		shard := (b.turn + i) % usage.Shards
		changed, urgent := b.ledger.State(shard)
		if !changed || !end && !urgent && mono-b.wrote[shard] < writeEvery {
			continue
		}
		if !end && mono-b.recent[b.next] < time.Minute { // the oldest of so many
			b.turn = shard
			break
		}
		b.count(mono)
		at, dropped, err := b.store.Write(ctx, b.saved, shard, b.ledger.Book(shard))
		b.wrote[shard] = mono
		if err != nil {
			b.failures.Inc()
			return err
		}
		if dropped > 0 {
			log.FromContext(ctx).Info("the ledger of hours has no room for its oldest dates", "shard", shard, "dates", dropped)
		}
		b.ledger.Written(shard)
		if told := b.now(); told.API.Sub(at).Abs() > clockJitter { // its clock was set
			b.api = usage.Now{Mono: told.Mono, API: at}
		}
	}
	return nil
}

// count notes a write.
func (b *Booker) count(mono time.Duration) {
	b.recent[b.next], b.next = mono, (b.next+1)%mostWrites
	b.writes.Inc()
}
