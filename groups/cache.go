package groups

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unique"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"
)

// retryAfterFailure is how long a source that has failed is not asked again
// for users whose stale answer is still good.
const retryAfterFailure = 5 * time.Second

// maxCachedGroups bounds the groups of all users in a cache, whatever its
// Size: about 60 MB, since users share the text of their groups.
const maxCachedGroups = 1 << 20

// CacheConfig bounds a Cache.
type CacheConfig struct {
	// TTL is how long an answer counts as fresh; 0 asks the source every time.
	TTL time.Duration
	// StaleLimit is how old an answer may get while the source is down; 0
	// fails closed as soon as the source has to be asked and does not answer.
	StaleLimit time.Duration
	// Timeout bounds one question to the source, whoever waits for it.
	Timeout time.Duration
	// Size is the most users kept; the least recently used go first.
	Size int
}

// DefaultCacheConfig suits a directory that answers in milliseconds.
func DefaultCacheConfig() CacheConfig {
	return CacheConfig{TTL: time.Minute, Timeout: 5 * time.Second, Size: 10_000}
}

// Validate returns all faults.
func (c CacheConfig) Validate() error {
	var faults []error
	if c.TTL < 0 {
		faults = append(faults, errors.New("ttl: must not be negative"))
	}
	if c.StaleLimit < 0 {
		faults = append(faults, errors.New("staleLimit: must not be negative"))
	}
	if c.Timeout <= 0 {
		faults = append(faults, errors.New("timeout: must be more than 0"))
	}
	if c.Size <= 0 {
		faults = append(faults, errors.New("size: must be more than 0"))
	}
	return errors.Join(faults...)
}

// Cache is a Source before another one. Concurrent questions about one user
// become one. While the source is down, or the user's sign-in has expired, it
// answers from memory, marked Stale, until StaleLimit; then it fails. An
// unknown user is never cached.
type Cache struct {
	source Source
	config CacheConfig
	now    func() time.Time
	lookup *prometheus.CounterVec
	asked  prometheus.Histogram

	flights singleflight.Group

	mu        sync.Mutex
	entries   map[string]*list.Element
	recent    *list.List // of cacheEntry, most recently used first
	groups    int        // of all entries
	downUntil time.Time
}

type cacheEntry struct {
	user string
	Membership
	// asked is when the source was asked: what TTL and StaleLimit count from.
	// AsOf may be older, such as a token's time of issue.
	asked time.Time
}

// NewCache registers its metrics on registry.
func NewCache(source Source, config CacheConfig, now func() time.Time, registry prometheus.Registerer) (*Cache, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("groups: cache: %w", err)
	}
	c := &Cache{
		source: source, config: config, now: now,
		lookup: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_groups_lookups_total",
			Help: "Questions for a user's groups by how they were answered: cached, fetched, stale, unknown_user, sign_in_again, unavailable.",
		}, []string{"answer"}),
		asked: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "elastichub_groups_source_seconds",
			Help:    "Time the source took to answer or to fail.",
			Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10},
		}),
		entries: map[string]*list.Element{}, recent: list.New(),
	}
	for _, answer := range []string{"cached", "fetched", "stale", "unknown_user", "sign_in_again", "unavailable"} {
		c.lookup.WithLabelValues(answer)
	}
	for _, collector := range []prometheus.Collector{c.lookup, c.asked} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("groups: cache: %w", err)
		}
	}
	return c, nil
}

// Lookup implements Source.
func (c *Cache) Lookup(ctx context.Context, user string) (Membership, error) {
	old, known, down := c.peek(user)
	if known {
		age := c.now().Sub(old.asked)
		if age < c.config.TTL {
			c.lookup.WithLabelValues("cached").Inc()
			return old.Membership, nil
		}
		if down && age < c.config.StaleLimit {
			return c.stale(old), nil
		}
	}
	return c.Refresh(ctx, user)
}

// Refresh asks the source even when the cached answer is fresh.
func (c *Cache) Refresh(ctx context.Context, user string) (Membership, error) {
	m, err := c.ask(ctx, user)
	switch {
	case err == nil:
		c.lookup.WithLabelValues("fetched").Inc()
		return m, nil
	case errors.Is(err, ErrUnknownUser):
		c.lookup.WithLabelValues("unknown_user").Inc()
		return Membership{}, err
	}
	if old, known, _ := c.peek(user); known && mayBeStale(err) && c.now().Sub(old.asked) < c.config.StaleLimit {
		return c.stale(old), nil
	}
	if errors.Is(err, ErrSignInAgain) {
		c.lookup.WithLabelValues("sign_in_again").Inc()
		return Membership{}, err
	}
	c.lookup.WithLabelValues("unavailable").Inc()
	if !errors.Is(err, ErrUnavailable) {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return Membership{}, err
}

// mayBeStale reports whether a remembered answer may stand in for an error: not
// when what the user's sign-in says is wrong, rather than old.
func mayBeStale(err error) bool {
	return !errors.Is(err, ErrSignInAgain) || errors.Is(err, ErrSignInExpired)
}

func (c *Cache) stale(old cacheEntry) Membership {
	c.lookup.WithLabelValues("stale").Inc()
	old.Stale = true
	return old.Membership
}

// ask shares one question among all who wait for it. The question outlives a
// caller that gives up, but not config.Timeout.
func (c *Cache) ask(ctx context.Context, user string) (Membership, error) {
	answer := c.flights.DoChan(user, func() (any, error) {
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.config.Timeout)
		defer cancel()
		asked, began := c.now(), time.Now()
		m, err := c.source.Lookup(shared, user)
		c.asked.Observe(time.Since(began).Seconds())
		kept := m
		kept.Groups = intern(m.Groups)
		c.store(cacheEntry{user, kept, asked}, err)
		return m, err
	})
	select {
	case <-ctx.Done():
		return Membership{}, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	case a := <-answer:
		if a.Err != nil {
			return Membership{}, a.Err
		}
		return a.Val.(Membership), nil
	}
}

// store keeps what the source said.
func (c *Cache) store(answer cacheEntry, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, known := c.entries[answer.user]
	switch {
	case err == nil:
		c.downUntil = time.Time{}
		if known {
			c.drop(old)
		}
		c.entries[answer.user] = c.recent.PushFront(answer)
		c.groups += len(answer.Groups)
		for c.recent.Len() > c.config.Size || c.groups > maxCachedGroups {
			c.drop(c.recent.Back())
		}
	case errors.Is(err, ErrUnknownUser):
		c.downUntil = time.Time{}
		if known {
			c.drop(old)
		}
	case errors.Is(err, ErrOneUser), errors.Is(err, ErrSignInAgain):
		// The source is well.
	default:
		c.downUntil = c.now().Add(retryAfterFailure)
	}
}

func (c *Cache) drop(e *list.Element) {
	gone := c.recent.Remove(e).(cacheEntry)
	delete(c.entries, gone.user)
	c.groups -= len(gone.Groups)
}

// intern gives equal groups of different users the same text in memory.
func intern(all []Group) []Group {
	shared := slices.Clone(all)
	for i, g := range shared {
		shared[i].Name, shared[i].DN = unique.Make(g.Name).Value(), unique.Make(g.DN).Value()
	}
	return shared
}

// peek returns what is remembered of a user, and whether the source has just failed.
func (c *Cache) peek(user string) (old cacheEntry, known, down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	down = c.now().Before(c.downUntil)
	e, known := c.entries[user]
	if !known {
		return cacheEntry{}, false, down
	}
	c.recent.MoveToFront(e)
	return e.Value.(cacheEntry), true, down
}
