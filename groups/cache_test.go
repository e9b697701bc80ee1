package groups

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// script is a source that says what the test wants.
type script struct {
	mu     sync.Mutex
	asked  int
	answer func(ctx context.Context, user string) (Membership, error)
}

func (s *script) Lookup(ctx context.Context, user string) (Membership, error) {
	s.mu.Lock()
	s.asked++
	answer := s.answer
	s.mu.Unlock()
	return answer(ctx, user)
}

type clock struct{ nanos atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

func newScript(c *clock) *script {
	return &script{answer: func(_ context.Context, user string) (Membership, error) {
		return Membership{User: user, Source: "script", AsOf: c.now(), Groups: []Group{{Name: "g"}}}, nil
	}}
}

func cached(t *testing.T, source Source, config CacheConfig, c *clock) *Cache {
	t.Helper()
	cache, err := NewCache(source, config, c.now, prometheus.NewPedanticRegistry())
	require.NoError(t, err)
	return cache
}

func answers(t *testing.T, c *Cache, name string) float64 {
	t.Helper()
	var m dto.Metric
	require.NoError(t, c.lookup.WithLabelValues(name).Write(&m))
	return m.GetCounter().GetValue()
}

func fixedError(err error) func(context.Context, string) (Membership, error) {
	return func(context.Context, string) (Membership, error) { return Membership{}, err }
}

func fixedAnswer(m Membership) func(context.Context, string) (Membership, error) {
	return func(context.Context, string) (Membership, error) { return m, nil }
}

var down = func(context.Context, string) (Membership, error) {
	return Membership{}, fmt.Errorf("%w: refused", ErrUnavailable)
}

func TestCacheTTL(t *testing.T) {
	c := &clock{}
	s := newScript(c)
	cache := cached(t, s, CacheConfig{TTL: time.Minute, Timeout: time.Second, Size: 10}, c)
	for range 3 {
		m, err := cache.Lookup(t.Context(), "alice")
		require.NoError(t, err)
		assert.Equal(t, "alice", m.User)
		assert.False(t, m.Stale)
	}
	assert.Equal(t, 1, s.asked)
	c.advance(time.Minute)
	_, err := cache.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, 2, s.asked)
	_, err = cache.Refresh(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, 3, s.asked, "Refresh asks though the answer is fresh")
	assert.Equal(t, 2.0, answers(t, cache, "cached"))
	assert.Equal(t, 3.0, answers(t, cache, "fetched"))
}

func TestCacheWhileDown(t *testing.T) {
	c := &clock{}
	s := newScript(c)
	cache := cached(t, s, CacheConfig{TTL: time.Minute, StaleLimit: 10 * time.Minute, Timeout: time.Second, Size: 10}, c)
	first, err := cache.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	s.answer = down
	c.advance(2 * time.Minute)

	m, err := cache.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.True(t, m.Stale)
	assert.Equal(t, first.AsOf, m.AsOf)
	assert.Equal(t, first.Groups, m.Groups)
	asked := s.asked
	_, err = cache.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, asked, s.asked, "a source that has just failed is left alone")
	_, err = cache.Lookup(t.Context(), "bob")
	assert.ErrorIs(t, err, ErrUnavailable, "nobody else's groups")
	c.advance(retryAfterFailure)
	_, err = cache.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.Greater(t, s.asked, asked)

	c.advance(8 * time.Minute)
	_, err = cache.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrUnavailable, "too old")
	_, err = cache.Refresh(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrUnavailable)
}

func TestCacheWithoutStaleLimitFailsClosed(t *testing.T) {
	c := &clock{}
	s := newScript(c)
	cache := cached(t, s, CacheConfig{TTL: time.Minute, Timeout: time.Second, Size: 10}, c)
	_, err := cache.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	s.answer = down
	_, err = cache.Lookup(t.Context(), "alice")
	assert.NoError(t, err, "fresh")
	_, err = cache.Refresh(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrUnavailable)
	c.advance(time.Minute)
	_, err = cache.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrUnavailable)
}

// An error that is none of the sentinels fails closed like an outage.
func TestCacheStrangeError(t *testing.T) {
	c := &clock{}
	s := newScript(c)
	s.answer = func(context.Context, string) (Membership, error) { return Membership{}, errors.New("strange") }
	cache := cached(t, s, DefaultCacheConfig(), c)
	_, err := cache.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrUnavailable)
	assert.Equal(t, 1.0, answers(t, cache, "unavailable"))
}

func TestCacheForgetsRemovedUser(t *testing.T) {
	c := &clock{}
	s := newScript(c)
	cache := cached(t, s, CacheConfig{TTL: time.Minute, StaleLimit: time.Hour, Timeout: time.Second, Size: 10}, c)
	_, err := cache.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	s.answer = func(context.Context, string) (Membership, error) { return Membership{}, ErrUnknownUser }
	c.advance(time.Minute)
	_, err = cache.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrUnknownUser)
	assert.Zero(t, cache.recent.Len())
	s.answer = down
	_, err = cache.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrUnavailable, "a removed user does not come back when the source goes down")
}

func TestCacheIsBounded(t *testing.T) {
	c := &clock{}
	s := newScript(c)
	cache := cached(t, s, CacheConfig{TTL: time.Minute, Timeout: time.Second, Size: 3}, c)
	for _, user := range []string{"a", "b", "c", "a", "d"} {
		_, err := cache.Lookup(t.Context(), user)
		require.NoError(t, err)
	}
	assert.Len(t, cache.entries, 3)
	assert.Contains(t, cache.entries, "a", "used recently")
	assert.NotContains(t, cache.entries, "b")
}

func TestCacheAsksOnce(t *testing.T) {
	c := &clock{}
	s := newScript(c)
	ready, plain := make(chan struct{}), s.answer
	s.answer = func(ctx context.Context, user string) (Membership, error) {
		<-ready
		if ctx.Err() != nil {
			return Membership{}, ctx.Err()
		}
		return plain(ctx, user)
	}
	cache := cached(t, s, DefaultCacheConfig(), c)
	impatient, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := cache.Lookup(impatient, "alice")
		first <- err
	}()
	require.Eventually(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.asked == 1 }, 20*time.Second, time.Millisecond)
	others := make(chan error)
	for range 20 {
		go func() {
			_, err := cache.Lookup(t.Context(), "alice")
			others <- err
		}()
	}
	cancel()
	assert.ErrorIs(t, <-first, ErrUnavailable)
	time.Sleep(20 * time.Millisecond)
	close(ready)
	for range 20 {
		assert.NoError(t, <-others, "the first caller's impatience is not theirs")
	}
	assert.Equal(t, 1, s.asked)
}

func TestCacheTimeout(t *testing.T) {
	c := &clock{}
	s := newScript(c)
	s.answer = func(ctx context.Context, _ string) (Membership, error) {
		<-ctx.Done()
		return Membership{}, ctx.Err()
	}
	cache := cached(t, s, CacheConfig{Timeout: 50 * time.Millisecond, Size: 1}, c)
	began := time.Now()
	_, err := cache.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrUnavailable)
	assert.Less(t, time.Since(began), 20*time.Second)
}

func TestCacheConfigFaults(t *testing.T) {
	err := CacheConfig{TTL: -1, StaleLimit: -1}.Validate()
	for _, field := range []string{"ttl", "staleLimit", "timeout", "size"} {
		assert.ErrorContains(t, err, field+": ")
	}
	assert.NoError(t, DefaultCacheConfig().Validate())
}
