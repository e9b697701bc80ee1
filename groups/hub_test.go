package groups

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSentByHub(t *testing.T) {
	c := &clock{}
	s := NewSentByHub(time.Minute, c.now)
	_, err := s.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrUnavailable)

	s.Present("alice", SignIn{Groups: []string{"ml", "cn=admins,dc=org", "ml"}})
	at := c.now()
	c.advance(59 * time.Second)
	m, err := s.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, Membership{User: "alice", Source: "hub", AsOf: at, Groups: []Group{{Name: "ml"}, {Name: "cn=admins,dc=org"}}}, m)
	_, err = s.Lookup(t.Context(), "Alice")
	assert.ErrorIs(t, err, ErrUnavailable, "the Hub has one spelling of a name")

	s.Present("alice", SignIn{IDToken: "x"})
	m, err = s.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.Len(t, m.Groups, 2, "no groups sent is not the same as no groups")
	s.Present("alice", SignIn{Groups: []string{}})
	m, err = s.Refresh(t.Context(), "alice")
	require.NoError(t, err)
	assert.Empty(t, m.Groups)
	c.advance(time.Minute)
	_, err = s.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrUnavailable, "too long ago")

	for _, bad := range [][]string{{""}, {strings.Repeat("x", maxGroupNameBytes+1)}, make([]string, maxHubGroups+1)} {
		s.Present("alice", SignIn{Groups: []string{"ml"}})
		s.Present("alice", SignIn{Groups: bad})
		_, err = s.Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, ErrUnavailable, "what came before does not count any more")
	}
}

func TestSignInsAreBounded(t *testing.T) {
	s := NewSignIns(func(int) int { return 1 })
	for i := range lastSignIns {
		s.Put(fmt.Sprint(i), time.Time{}, i)
	}
	s.Put("0", time.Time{}, -1)
	s.Put("one more", time.Time{}, 7)
	assert.Len(t, s.byUser, lastSignIns)
	assert.Equal(t, lastSignIns, s.recent.Len())
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
		large.Put(fmt.Sprint(i), time.Time{}, lastSignInBytes/10)
		large.Put(fmt.Sprint(i), time.Time{}, lastSignInBytes/10)
	}
	assert.Len(t, large.byUser, 10)
	assert.Equal(t, lastSignInBytes/10*10, large.bytes)
}
