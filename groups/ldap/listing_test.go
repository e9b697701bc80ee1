package ldap

import (
	"fmt"
	"testing"

	ldapv3 "github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/internal/slapdtest"
)

func TestListingGroups(t *testing.T) {
	server := slapdtest.Start(t)
	populate(server)
	s := source(t, directoryConfig(server.URL))
	list := func(part string, limit int) (all []string, more bool) {
		t.Helper()
		found, more, err := s.ListGroups(t.Context(), part, limit)
		require.NoError(t, err)
		for _, g := range found {
			assert.NotEmpty(t, g.DN)
			all = append(all, fmt.Sprint(g.Name, " ", g.Members))
		}
		return all, more
	}
	require.True(t, s.Lists())
	all, more := list("", 10)
	assert.Equal(t, []string{"analysts 1", "ml-research 1", "posix 1", "R+D, Berlin 1"}, all)
	assert.False(t, more)
	all, _ = list("RESEARCH", 10)
	assert.Equal(t, []string{"ml-research 1"}, all)
	for _, part := range []string{"*", "m*h", "x)(cn=*", "\\"} {
		all, _ = list(part, 10)
		assert.Empty(t, all, "%q is no pattern", part)
	}
	all, more = list("", 2)
	assert.Len(t, all, 2)
	assert.True(t, more)

	filtered := directoryConfig(server.URL)
	filtered.GroupFilter = "(objectClass=posixGroup)"
	s = source(t, filtered)
	all, _ = list("", 10)
	assert.Equal(t, []string{"posix 1"}, all)

	nowhere := directoryConfig(server.URL)
	nowhere.GroupBase = ""
	assert.False(t, source(t, nowhere).Lists())
	server.Stop()
	_, _, err := s.ListGroups(t.Context(), "", 10)
	assert.ErrorIs(t, err, groups.ErrUnavailable)
}

func TestCountingMembers(t *testing.T) {
	s := &Source{config: DefaultConfig()}
	entry := func(name string) *ldapv3.Entry {
		return &ldapv3.Entry{Attributes: []*ldapv3.EntryAttribute{{Name: name, Values: []string{"a", "b"}}, {Name: "memberUid", Values: []string{"b", "c"}}, {Name: "owner", Values: []string{"d"}}}}
	}
	for name, want := range map[string]struct {
		n    int
		more bool
	}{"MEMBER": {3, false}, "member;range=0-1": {3, true}, "member;range=0-*": {3, false}, "cn": {2, false}} {
		n, more := s.countMembers(entry(name))
		assert.Equal(t, want.n, n, name)
		assert.Equal(t, want.more, more, name)
	}
}
