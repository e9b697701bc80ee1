package groups

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// fixed answers the same to every question and counts them.
type fixed struct {
	Membership
	err       error
	lookups   int
	refreshes int
}

func (f *fixed) Lookup(context.Context, string) (Membership, error) {
	f.lookups++
	return f.Membership, f.err
}
func (f *fixed) Refresh(context.Context, string) (Membership, error) {
	f.refreshes++
	return f.Membership, f.err
}

func says(age time.Duration, groups ...Group) *fixed {
	return &fixed{Membership: Membership{User: "alice", Groups: groups, AsOf: time.Unix(10_000, 0).Add(-age)}}
}

func fails(err error) *fixed { return &fixed{err: err} }

func combination(t *testing.T, how Combine, members ...*fixed) *Combination {
	t.Helper()
	var parts []Part
	for i, m := range members {
		parts = append(parts, Part{Name: []string{"ldap", "oidc", "hub"}[i], Members: m})
	}
	c, err := NewCombination(how, parts...)
	require.NoError(t, err)
	return c
}

func TestUnion(t *testing.T) {
	const dn = "cn=ml,ou=groups,dc=example,dc=org"
	ldap := says(2*time.Minute, Group{Name: "ml", DN: dn}, Group{Name: "staff", DN: "cn=staff,dc=example,dc=org"})
	oidc := says(time.Minute, Group{Name: "ml"}, Group{Name: "Ops"}, Group{Name: "ops"})
	oidc.Stale = true
	hub := says(0, Group{Name: "ops"}, Group{Name: "ML", DN: strings.ToUpper(dn)})
	m, err := combination(t, CombineUnion, ldap, oidc, hub).Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, Membership{
		User: "alice", Source: "ldap, oidc, hub", AsOf: ldap.AsOf, Stale: true,
		Groups: []Group{
			{Name: "ml", DN: dn, Source: "ldap, hub"},
			{Name: "staff", DN: "cn=staff,dc=example,dc=org", Source: "ldap"},
			{Name: "ml", Source: "oidc"},
			{Name: "Ops", Source: "oidc, hub"},
		},
		Origins: []Origin{
			{Source: "ldap", AsOf: ldap.AsOf, Known: true},
			{Source: "oidc", AsOf: oidc.AsOf, Stale: true, Known: true},
			{Source: "hub", AsOf: hub.AsOf, Known: true},
		},
	}, m)
	assert.Empty(t, ldap.Groups[0].Source, "a cached answer is left alone")
	assert.Equal(t, 1, ldap.lookups)
	assert.Zero(t, ldap.refreshes)
	_, err = combination(t, CombineUnion, ldap, oidc).Refresh(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, 1, ldap.refreshes)
	assert.Equal(t, 1, oidc.refreshes)
}

func TestFirst(t *testing.T) {
	ldap, oidc, hub := fails(ErrUnknownUser), says(time.Minute, Group{Name: "ops"}), says(0, Group{Name: "other"})
	m, err := combination(t, CombineFirst, ldap, oidc, hub).Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, Membership{
		User: "alice", Source: "oidc", AsOf: oidc.AsOf, Groups: []Group{{Name: "ops", Source: "oidc"}},
		Origins: []Origin{{Source: "ldap"}, {Source: "oidc", AsOf: oidc.AsOf, Known: true}},
	}, m)
	assert.Zero(t, hub.lookups, "who comes later is not asked")
}

// A source that does not answer might have named the group that decides.
func TestCombinationFailsClosed(t *testing.T) {
	broken := fmt.Errorf("%w: refused", ErrUnavailable)
	for _, row := range []struct {
		name  string
		how   Combine
		parts []*fixed
		want  error
	}{
		{"union: one is down", CombineUnion, []*fixed{says(0, Group{Name: "g"}), fails(broken)}, ErrUnavailable},
		{"union: one wants a sign-in", CombineUnion, []*fixed{says(0), fails(ErrSignInExpired)}, ErrSignInAgain},
		{"union: one is down, others do not know the user", CombineUnion, []*fixed{fails(ErrUnknownUser), fails(broken)}, ErrUnavailable},
		{"union: nobody knows the user", CombineUnion, []*fixed{fails(ErrUnknownUser), fails(ErrUnknownUser)}, ErrUnknownUser},
		{"first: the first is down", CombineFirst, []*fixed{fails(broken), says(0, Group{Name: "g"})}, ErrUnavailable},
		{"first: a strange error", CombineFirst, []*fixed{fails(errors.ErrUnsupported), says(0)}, errors.ErrUnsupported},
		{"first: the second is down", CombineFirst, []*fixed{fails(ErrUnknownUser), fails(broken)}, ErrUnavailable},
		{"first: nobody knows the user", CombineFirst, []*fixed{fails(ErrUnknownUser), fails(ErrUnknownUser)}, ErrUnknownUser},
	} {
		t.Run(row.name, func(t *testing.T) {
			m, err := combination(t, row.how, row.parts...).Lookup(t.Context(), "alice")
			assert.ErrorIs(t, err, row.want)
			assert.Equal(t, Membership{}, m)
			if !errors.Is(row.want, ErrUnknownUser) {
				assert.NotErrorIs(t, err, ErrUnknownUser, "that would be an answer")
				assert.Regexp(t, `^(ldap|oidc): `, err.Error())
			}
		})
	}
	t.Run("first: the first knows, the second is down", func(t *testing.T) {
		_, err := combination(t, CombineFirst, says(0), fails(broken)).Lookup(t.Context(), "alice")
		assert.NoError(t, err, "it is not needed")
	})
}

// TestNobodyIsKnownWithoutSources: then no policy counts for anybody.
func TestNobodyIsKnownWithoutSources(t *testing.T) {
	for _, how := range []Combine{CombineUnion, CombineFirst} {
		none, err := NewCombination(how)
		require.NoError(t, err)
		_, err = none.Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, ErrUnknownUser, how)
		_, err = none.Refresh(t.Context(), "alice")
		assert.ErrorIs(t, err, ErrUnknownUser, how)
	}
}

func TestCombinationFaults(t *testing.T) {
	one := Part{Name: "ldap", Members: says(0)}
	for name, make := range map[string]func() (*Combination, error){
		"both":    func() (*Combination, error) { return NewCombination("both", one) },
		"twice":   func() (*Combination, error) { return NewCombination(CombineUnion, one, one) },
		"without": func() (*Combination, error) { return NewCombination(CombineUnion, Part{Members: says(0)}) },
	} {
		_, err := make()
		assert.ErrorContains(t, err, name)
	}
}

func TestExplainSources(t *testing.T) {
	c := combination(t, CombineUnion, says(0, Group{Name: "g", DN: "cn=g,dc=org"}), fails(ErrUnknownUser), says(time.Hour, Group{Name: "h"}))
	c.parts[2].Members.(*fixed).Stale = true
	s := NewService(c, lister(func() ([]v1alpha1.GroupPolicy, error) { return []v1alpha1.GroupPolicy{policy("one", 0, "g")}, nil }), MatchPriority)
	e := s.Explain(t.Context(), "alice")
	assert.Len(t, e.Sources, 3)
	require.NotNil(t, e.Allowance)
	assert.Equal(t, "ldap", e.Allowance.Groups[0].Source)
	var text strings.Builder
	require.NoError(t, e.WriteText(&text))
	for _, line := range []string{
		"source    ldap, as of 1970-01-01T02:46:40Z\n", "source    oidc does not know the user\n",
		"source    hub, as of 1970-01-01T01:46:40Z (it does not answer now)\n",
		"group     g  (cn=g,dc=org)  from ldap\n", "group     h  from hub\n",
	} {
		assert.Contains(t, text.String(), line)
	}
}
