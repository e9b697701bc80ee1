package groups

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// counting answers after all askers have come, and counts the questions.
type counting struct {
	asked   sync.Map // user to *atomic.Int64
	release chan struct{}
}

func (s *counting) Lookup(ctx context.Context, user string) (Membership, error) {
	n, _ := s.asked.LoadOrStore(user, &atomic.Int64{})
	n.(*atomic.Int64).Add(1)
	select {
	case <-s.release:
		return Membership{User: user, Source: "counting", AsOf: time.Now(), Groups: []Group{{Name: "of-" + user}}}, nil
	case <-ctx.Done():
		return Membership{}, ctx.Err()
	}
}

// A morning: a thousand askers for each of a few users make one question each.
func TestCacheManyAskersOneQuestion(t *testing.T) {
	const users, askers = 8, 1000
	source := &counting{release: make(chan struct{})}
	cache, err := NewCache(source, CacheConfig{TTL: time.Minute, Timeout: 10 * time.Second, Size: users}, time.Now, prometheus.NewRegistry())
	require.NoError(t, err)
	var waiting, all sync.WaitGroup
	answers := make([]Membership, users*askers)
	for i := range answers {
		waiting.Add(1)
		all.Go(func() {
			waiting.Done()
			m, err := cache.Lookup(t.Context(), fmt.Sprintf("u%d", i%users))
			assert.NoError(t, err)
			answers[i] = m
		})
	}
	waiting.Wait()
	time.Sleep(50 * time.Millisecond) // lets those who have come ask
	close(source.release)
	all.Wait()
	for i, m := range answers {
		user := fmt.Sprintf("u%d", i%users)
		assert.Equal(t, user, m.User)
		assert.Equal(t, []Group{{Name: "of-" + user}}, m.Groups)
	}
	for i := range users {
		n, _ := source.asked.Load(fmt.Sprintf("u%d", i))
		assert.EqualValues(t, 1, n.(*atomic.Int64).Load(), "user %d", i)
	}
}

// Everything at once, for the race detector: lookups, refreshes, new sign-ins,
// a source that comes and goes, and more users than fit.
func TestCacheAtOnce(t *testing.T) {
	sent := &sentGroups{SignIns: NewSignIns(func([]string) int { return 1 })}
	var down atomic.Bool
	flaky := sourceFunc(func(ctx context.Context, user string) (Membership, error) {
		if down.Load() {
			return Membership{}, ErrUnavailable
		}
		return sent.Lookup(ctx, user)
	})
	cache, err := NewCache(flaky, CacheConfig{TTL: time.Millisecond, StaleLimit: time.Minute, Timeout: time.Second, Size: 16}, time.Now, prometheus.NewRegistry())
	require.NoError(t, err)
	both, err := NewCombination(CombineUnion, Part{"cached", cache}, Part{"sent", sent})
	require.NoError(t, err)
	var all sync.WaitGroup
	for worker := range 16 {
		all.Go(func() {
			for i := range 300 {
				user := fmt.Sprintf("u%d", (worker+i)%32)
				sent.Present(user, SignIn{Groups: []string{"g", user}})
				m, err := both.Lookup(t.Context(), user)
				if i%3 == 0 {
					m, err = both.Refresh(t.Context(), user)
				}
				if i%50 == worker {
					down.Store(!down.Load())
				}
				if err != nil {
					assert.ErrorIs(t, err, ErrUnavailable)
					assert.Equal(t, Membership{}, m)
					continue
				}
				assert.Equal(t, []Group{{Name: "g", Source: "cached, sent"}, {Name: user, Source: "cached, sent"}}, m.Groups)
			}
		})
	}
	all.Wait()
	assert.LessOrEqual(t, cache.recent.Len(), 16)
	assert.Equal(t, cache.recent.Len(), len(cache.entries))
}

// sentGroups answers from the last sign-in, as hub.Sent does.
type sentGroups struct{ *SignIns[[]string] }

func (s *sentGroups) Present(user string, signIn SignIn) { s.Put(user, time.Now(), signIn.Groups) }

func (s *sentGroups) Lookup(_ context.Context, user string) (Membership, error) {
	names, at, known := s.Get(user)
	if !known {
		return Membership{}, ErrUnavailable
	}
	m := Membership{User: user, AsOf: at}
	for _, name := range names {
		m.Groups = append(m.Groups, Group{Name: name})
	}
	return m, nil
}

func (s *sentGroups) Refresh(ctx context.Context, user string) (Membership, error) {
	return s.Lookup(ctx, user)
}

type sourceFunc func(context.Context, string) (Membership, error)

func (f sourceFunc) Lookup(ctx context.Context, user string) (Membership, error) { return f(ctx, user) }

func TestCacheBoundsAllGroups(t *testing.T) {
	many := make([]Group, maxCachedGroups/10)
	source := sourceFunc(func(_ context.Context, user string) (Membership, error) {
		return Membership{User: user, AsOf: time.Now(), Groups: many}, nil
	})
	cache, err := NewCache(source, CacheConfig{TTL: time.Minute, Timeout: time.Minute, Size: 1000}, time.Now, prometheus.NewRegistry())
	require.NoError(t, err)
	for i := range 15 {
		for range 2 {
			_, err := cache.Refresh(t.Context(), fmt.Sprint(i))
			require.NoError(t, err)
		}
	}
	assert.Len(t, cache.entries, 10)
	assert.Equal(t, 10*len(many), cache.groups)
}
