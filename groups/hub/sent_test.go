package hub

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/sourcetest"
)

func TestSent(t *testing.T) {
	now := time.Unix(5, 0)
	s := NewSent(time.Minute, func() time.Time { return now })
	_, err := s.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, groups.ErrUnavailable)

	s.Present("alice", groups.SignIn{Groups: []string{"ml", "cn=admins,dc=org", "ml"}})
	at := now
	now = now.Add(59 * time.Second)
	m, err := s.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, groups.Membership{User: "alice", Source: "hub", AsOf: at, Groups: []groups.Group{{Name: "ml"}, {Name: "cn=admins,dc=org"}}}, m)
	_, err = s.Lookup(t.Context(), "Alice")
	assert.ErrorIs(t, err, groups.ErrUnavailable, "the Hub has one spelling of a name")

	s.Present("alice", groups.SignIn{IDToken: "x"})
	m, err = s.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.Len(t, m.Groups, 2, "no groups sent is not the same as no groups")
	s.Present("alice", groups.SignIn{Groups: []string{}})
	m, err = s.Refresh(t.Context(), "alice")
	require.NoError(t, err)
	assert.Empty(t, m.Groups)
	now = now.Add(time.Minute)
	_, err = s.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, groups.ErrUnavailable, "too long ago")

	for _, bad := range [][]string{{""}, {strings.Repeat("x", maxGroupNameBytes+1)}, make([]string, maxGroups+1)} {
		s.Present("alice", groups.SignIn{Groups: []string{"ml"}})
		s.Present("alice", groups.SignIn{Groups: bad})
		_, err = s.Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, groups.ErrUnavailable, "what came before does not count any more")
	}
}

func TestSentConforms(t *testing.T) {
	source := NewSent(time.Minute, time.Now)
	source.Present(sourcetest.Member, groups.SignIn{Groups: []string{sourcetest.Research, sourcetest.Staff}})
	source.Present(sourcetest.Loner, groups.SignIn{Groups: []string{}})
	sourcetest.Conformance(t, sourcetest.Fixture{Source: source, Name: "hub", Absent: groups.ErrUnavailable})
}
