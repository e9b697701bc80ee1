package groups

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTokensDoNotShow(t *testing.T) {
	const secret = "eyJhbGciOi"
	signIn := SignIn{IDToken: secret, AccessToken: secret}
	text, err := json.Marshal(signIn)
	require.NoError(t, err)
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "signIn", signIn, "token", signIn.IDToken, "any", any(&signIn))
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "signIn", signIn, "token", signIn.IDToken, "any", any(&signIn))
	all := string(text) + logged.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		all += fmt.Sprintf(verb, signIn) + fmt.Sprintf(verb, signIn.IDToken) + fmt.Sprintf(verb, &signIn)
	}
	assert.NotContains(t, all, secret)
	assert.NotContains(t, all, fmt.Sprintf("%x", secret))
	assert.Contains(t, all, "a token")
	assert.Equal(t, "no token", Token("").String())
}

// A remembered answer stands in for a sign-in that has expired, for one that
// is wrong it does not.
func TestCacheAndSignIns(t *testing.T) {
	c := &clock{}
	s := newScript(c)
	cache := cached(t, s, CacheConfig{TTL: time.Minute, StaleLimit: 10 * time.Minute, Timeout: time.Second, Size: 10}, c)
	_, err := cache.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	answer := s.answer
	fails := func(err error) { s.answer = fixedError(err) }

	fails(fmt.Errorf("oidc: %w", ErrSignInExpired))
	m, err := cache.Refresh(t.Context(), "alice")
	require.NoError(t, err)
	assert.True(t, m.Stale)
	_, err = cache.Lookup(t.Context(), "bob")
	assert.ErrorIs(t, err, ErrSignInAgain)
	assert.NotErrorIs(t, err, ErrUnavailable)
	assert.True(t, cache.downUntil.IsZero(), "the source is well")

	fails(fmt.Errorf("oidc: %w: forged", ErrSignInAgain))
	_, err = cache.Refresh(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrSignInAgain)
	assert.Equal(t, 2.0, answers(t, cache, "sign_in_again"))

	fails(ErrSignInExpired)
	c.advance(10 * time.Minute)
	_, err = cache.Refresh(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrSignInAgain, "too old")
	s.answer = answer
	_, err = cache.Lookup(t.Context(), "alice")
	assert.NoError(t, err)
}

// The age that counts is that of the question: a token that was issued an hour
// ago and verified now is fresh.
func TestCacheCountsFromTheQuestion(t *testing.T) {
	c := &clock{}
	c.advance(24 * time.Hour)
	issued := c.now().Add(-time.Hour)
	s := newScript(c)
	s.answer = fixedAnswer(Membership{User: "alice", AsOf: issued})
	cache := cached(t, s, CacheConfig{TTL: time.Minute, StaleLimit: 2 * time.Minute, Timeout: time.Second, Size: 10}, c)
	for range 3 {
		m, err := cache.Lookup(t.Context(), "alice")
		require.NoError(t, err)
		assert.Equal(t, issued, m.AsOf)
	}
	assert.Equal(t, 1, s.asked)
	s.answer = down
	c.advance(2*time.Minute - time.Nanosecond)
	_, err := cache.Lookup(t.Context(), "alice")
	assert.NoError(t, err)
	c.advance(time.Nanosecond)
	_, err = cache.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrUnavailable)
}

// What is wrong with one user's entries says nothing of the directory.
func TestCacheOneUsersFault(t *testing.T) {
	c := &clock{}
	s := newScript(c)
	s.answer = fixedError(ErrOneUser)
	cache := cached(t, s, CacheConfig{TTL: time.Minute, StaleLimit: time.Hour, Timeout: time.Second, Size: 10}, c)
	_, err := cache.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrUnavailable)
	assert.True(t, cache.downUntil.IsZero())
	s.answer = fixedError(errors.New("refused"))
	_, err = cache.Lookup(t.Context(), "bob")
	assert.ErrorIs(t, err, ErrUnavailable)
	assert.False(t, cache.downUntil.IsZero())
}

func TestSignInsAreBounded(t *testing.T) {
	s := NewSignIns(func(int) int { return 1 })
	for i := range maxSignIns {
		s.Put(fmt.Sprint(i), time.Time{}, i)
	}
	s.Put("0", time.Time{}, -1)
	s.Put("one more", time.Time{}, 7)
	assert.Len(t, s.byUser, maxSignIns)
	assert.Equal(t, maxSignIns, s.recent.Len())
	value, _, known := s.Get("0")
	assert.True(t, known, "presented again")
	assert.Equal(t, -1, value)
	_, _, known = s.Get("1")
	assert.False(t, known)
	s.Forget("0")
	_, _, known = s.Get("0")
	assert.False(t, known)
	s.Forget("0")
	assert.Equal(t, s.recent.Len(), s.bytes)

	large := NewSignIns(func(n int) int { return n })
	for i := range 100 {
		large.Put(fmt.Sprint(i), time.Time{}, maxSignInBytes/10)
		large.Put(fmt.Sprint(i), time.Time{}, maxSignInBytes/10)
	}
	assert.Len(t, large.byUser, 10)
	assert.Equal(t, maxSignInBytes/10*10, large.bytes)
}
