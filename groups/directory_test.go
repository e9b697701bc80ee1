package groups

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type fixedLister struct {
	lists bool
	found []ListedGroup
	more  bool
	err   error
}

func (l fixedLister) Lists() bool { return l.lists }

func (l fixedLister) ListGroups(context.Context, string, int) ([]ListedGroup, bool, error) {
	return l.found, l.more, l.err
}

func listed(names ...string) (all []ListedGroup) {
	for _, name := range names {
		all = append(all, ListedGroup{Group: Group{Name: name}})
	}
	return all
}

func TestADirectoryIsAllThatList(t *testing.T) {
	d := Directory{
		{"ldap", fixedLister{lists: true, found: listed("c", "B")}},
		{"hub", fixedLister{err: errors.New("never asked")}},
		{"file", fixedLister{lists: true, found: listed("a", "b"), more: true}},
	}
	assert.True(t, d.Lists())
	assert.False(t, Directory{d[1]}.Lists())
	found, more, err := d.ListGroups(t.Context(), "", 10)
	require.NoError(t, err)
	assert.True(t, more)
	var names []string
	for _, g := range found {
		names = append(names, g.Name+" "+g.Source)
	}
	assert.Equal(t, []string{"a file", "b file", "B ldap", "c ldap"}, names)
	found, more, err = Directory{d[0]}.ListGroups(t.Context(), "", 1)
	require.NoError(t, err)
	assert.Len(t, found, 1)
	assert.True(t, more)
	_, _, err = append(d, NamedLister{"down", fixedLister{lists: true, err: ErrUnavailable}}).ListGroups(t.Context(), "", 10)
	assert.ErrorIs(t, err, ErrUnavailable)
}

func TestHowAPolicyMayNameAGroup(t *testing.T) {
	here, there := Group{Name: "ml", DN: "cn=ml,ou=a"}, Group{Name: "ML", DN: "cn=ML,ou=b"}
	one, two := []ListedGroup{{Group: here}}, []ListedGroup{{Group: here}, {Group: there}}
	assert.Equal(t, "ml", EntryFor(here, one, false))
	assert.Equal(t, here.DN, EntryFor(here, one, true), "there may be another")
	assert.Equal(t, there.DN, EntryFor(there, two, false))
	assert.Equal(t, "ml", EntryFor(Group{Name: "ml"}, two, true), "it has nothing else")
	for _, g := range []Group{here, there, {Name: "x=y", DN: "cn=x\\3dy,ou=a"}} {
		assert.True(t, g.IsNamedBy([]string{EntryFor(g, []ListedGroup{{Group: g}}, false)}), "%v", g)
	}
	assert.False(t, here.IsNamedBy([]string{there.DN, "mL2"}))
	assert.True(t, SameGroups("CN=ml, OU=a", []string{"x", here.DN}))
	assert.True(t, SameGroups("ML", []string{"ml"}))
	assert.False(t, SameGroups("ml", []string{here.DN}))
	assert.Equal(t, "ml", EntryName(here.DN))
	assert.Equal(t, "ml", EntryName("ml"))
}
