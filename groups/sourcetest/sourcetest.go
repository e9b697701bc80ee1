// Package sourcetest is what every groups.Source has to pass.
package sourcetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/groups"
)

// Users that the source has to have when Conformance begins.
const (
	// Member is in exactly the groups Research and Staff.
	Member = "alice"
	// Loner is known and in no group.
	Loner = "dave"
)

// Groups of Member, by name.
const (
	Research = "ml-research"
	Staff    = "Staff, Berlin"
)

// Fixture is a source and what the suite can do to it.
type Fixture struct {
	Source groups.Source
	// Name is what the source calls itself.
	Name string
	// Absent is the error for a user that the source does not know. Sources
	// that only get to know users who sign in have one of their own.
	Absent error
	// Break makes the source unreachable, Restore ends it. Nil for sources that
	// ask nobody.
	Break, Restore func(t *testing.T)
}

// near are names that are nearly Member, but for case.
var near = []string{
	"", "*", "a*", "alic*", "alice*", "*)(uid=*", "alice)(|(uid=*)", `alice\`, `alice\2a`, `\61lice`,
	"alice\x00", "\x00", "\x00alice", "alice ", " alice", "al ice", "alice\n", "alice\t", "alice,ou=people", "uid=alice",
	"alice/", "../alice", "alice?x=1", "alice#", "%61lice", "alice/server",
	"ａlice", "аlice", "alıce", "ALİCE", "al\u00adice", "al\u200bice", "\u202ealice", "alicé", "alice\u0301",
	"\xff\xfe", "alice\xc0\xaf",
	strings.Repeat("a", 10<<10), strings.Repeat("*", 1000), strings.Repeat("(", 1000), strings.Repeat("/", 1000),
}

// Conformance runs the suite.
func Conformance(t *testing.T, f Fixture) {
	began := time.Now()
	t.Run("a member", func(t *testing.T) {
		for range 2 {
			m, err := f.Source.Lookup(t.Context(), Member)
			require.NoError(t, err)
			assert.Equal(t, Member, m.User)
			assert.Equal(t, f.Name, m.Source)
			assert.False(t, m.Stale)
			assert.Empty(t, m.Origins)
			assert.WithinRange(t, m.AsOf, began.Add(-2*time.Minute), time.Now().Add(time.Second))
			var names []string
			for _, g := range m.Groups {
				names = append(names, g.Name)
			}
			assert.ElementsMatch(t, []string{Research, Staff}, names)
		}
	})
	t.Run("in no group", func(t *testing.T) {
		m, err := f.Source.Lookup(t.Context(), Loner)
		require.NoError(t, err)
		assert.Equal(t, Loner, m.User)
		assert.Empty(t, m.Groups)
	})
	t.Run("nobody", func(t *testing.T) {
		m, err := f.Source.Lookup(t.Context(), "nobody")
		assert.ErrorIs(t, err, f.Absent)
		assert.Equal(t, groups.Membership{}, m)
	})
	t.Run("nearly a member", func(t *testing.T) {
		for _, name := range near {
			m, err := f.Source.Lookup(t.Context(), name)
			assert.ErrorIs(t, err, f.Absent, "%.40q", name)
			assert.Equal(t, groups.Membership{}, m, "%.40q", name)
		}
	})
	t.Run("at once", func(t *testing.T) {
		failures := make(chan error)
		for range 16 {
			go func() {
				_, err := f.Source.Lookup(t.Context(), Member)
				failures <- err
			}()
		}
		for range 16 {
			assert.NoError(t, <-failures)
		}
	})
	if f.Break == nil {
		return
	}
	t.Run("out of reach", func(t *testing.T) {
		f.Break(t)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		for _, user := range []string{Member, Loner, "nobody"} {
			m, err := f.Source.Lookup(ctx, user)
			if user != "nobody" || errors.Is(f.Absent, groups.ErrUnknownUser) {
				assert.ErrorIs(t, err, groups.ErrUnavailable, user)
				assert.NotErrorIs(t, err, groups.ErrUnknownUser, user)
			}
			assert.Equal(t, groups.Membership{}, m, user)
		}
		assert.NoError(t, ctx.Err(), "each within its own deadline")
		f.Restore(t)
		_, err := f.Source.Lookup(t.Context(), Member)
		assert.NoError(t, err)
	})
	t.Run("a caller who gives up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		m, err := f.Source.Lookup(ctx, Member)
		assert.ErrorIs(t, err, groups.ErrUnavailable)
		assert.Equal(t, groups.Membership{}, m)
		_, err = f.Source.Lookup(t.Context(), Member)
		assert.NoError(t, err)
	})
}
