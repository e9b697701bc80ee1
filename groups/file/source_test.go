package file

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/sourcetest"
)

// TestNamesAreText: what YAML would read as a number, a date or a truth.
func TestNamesAreText(t *testing.T) {
	path := filepath.Join(t.TempDir(), "groups.yaml")
	names := []string{"03423453", "no", "1e3", "0x1F", "12_3", "2026-11-28", "+1", ".5", "off", "1:30"}
	var text strings.Builder
	text.WriteString("users:\n")
	for _, name := range names {
		text.WriteString("  " + name + ": [" + name + ", '" + name + "']\n")
	}
	require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o600))
	f, err := New(Config{path}, time.Now)
	require.NoError(t, err)
	for _, name := range names {
		m, err := f.Lookup(t.Context(), name)
		require.NoError(t, err, name)
		assert.Equal(t, []groups.Group{{Name: name}, {Name: name}}, m.Groups)
	}
	_, err = f.Lookup(t.Context(), "931627")
	assert.ErrorIs(t, err, groups.ErrUnknownUser, "03423453 as an octal number")
}

func TestSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "groups.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write("users:\n  alice: [ml-research, 'cn=R\\2BD,dc=org']\n  bob: []\n")
	now := time.Unix(5, 0)
	f, err := New(Config{path}, func() time.Time { return now })
	require.NoError(t, err)
	m, err := f.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, groups.Membership{User: "alice", Source: "file", AsOf: now,
		Groups: []groups.Group{{Name: "ml-research"}, {Name: "R+D", DN: `cn=R\2BD,dc=org`}}}, m)
	m, err = f.Lookup(t.Context(), "bob")
	require.NoError(t, err)
	assert.Empty(t, m.Groups)
	for _, user := range []string{"", "Alice", "alice ", "carol"} {
		_, err = f.Lookup(t.Context(), user)
		assert.ErrorIs(t, err, groups.ErrUnknownUser, user)
	}
	write("users: {carol: [x]}")
	_, err = f.Lookup(t.Context(), "carol")
	assert.NoError(t, err, "a changed file counts at once")
	for _, text := range []string{"usres: {}", "users: {a: [1, {}]}", "users: {a: ['cn=,x']}", "users: {a: [], a: []}", "users: {a: [~]}", "users: {'': [x]}", "users: {a: ['']}", "users: {~: [x]}", "users: [a]", "users: {a: x}", "users: {[a]: []}", strings.Repeat("#", maxFileBytes+1)} {
		write(text)
		_, err = f.Lookup(t.Context(), "a")
		assert.ErrorIs(t, err, groups.ErrUnavailable, "%.30s", text)
		_, err = New(Config{path}, time.Now)
		assert.Error(t, err, "%.30s", text)
	}
	require.NoError(t, os.Remove(path))
	_, err = f.Lookup(t.Context(), "a")
	assert.ErrorIs(t, err, groups.ErrUnavailable)
}

func TestSourceConforms(t *testing.T) {
	path := filepath.Join(t.TempDir(), "groups.yaml")
	write := func(t *testing.T) {
		require.NoError(t, os.WriteFile(path, []byte("users:\n  alice: [ml-research, 'Staff, Berlin']\n  dave: []\n"), 0o600))
	}
	write(t)
	source, err := New(Config{path}, time.Now)
	require.NoError(t, err)
	sourcetest.Conformance(t, sourcetest.Fixture{
		Source: source, Name: "file", Absent: groups.ErrUnknownUser,
		Break: func(t *testing.T) { require.NoError(t, os.Remove(path)) }, Restore: write,
	})
}

func TestListingGroups(t *testing.T) {
	path := filepath.Join(t.TempDir(), "groups.yaml")
	require.NoError(t, os.WriteFile(path, []byte("users:\n  alice: [ml, ml, \"cn=admins,dc=x\"]\n  bob: [ML-2, ml]\n"), 0o600))
	s, err := New(Config{Path: path}, time.Now)
	require.NoError(t, err)
	require.True(t, s.Lists())
	found, more, err := s.ListGroups(t.Context(), "ML", 10)
	require.NoError(t, err)
	assert.False(t, more)
	assert.Equal(t, []groups.ListedGroup{{Group: groups.Group{Name: "ml"}, Members: 2}, {Group: groups.Group{Name: "ML-2"}, Members: 1}}, found)
	found, more, err = s.ListGroups(t.Context(), "", 1)
	require.NoError(t, err)
	assert.True(t, more)
	assert.Equal(t, []groups.ListedGroup{{Group: groups.Group{Name: "admins", DN: "cn=admins,dc=x"}, Members: 1}}, found)
	require.NoError(t, os.Remove(path))
	_, _, err = s.ListGroups(t.Context(), "", 1)
	assert.ErrorIs(t, err, groups.ErrUnavailable)
}
