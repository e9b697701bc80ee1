package groups_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/internal/slapdtest"
	"github.com/elastichub/elastichub/groups/sourcetest"
)

// directory is a slapd with the suite's users; styles of groups differ.
func directory(t *testing.T) (*slapdtest.Server, groups.LDAPConfig) {
	t.Helper()
	server := slapdtest.Start(t)
	alice := server.AddUser(sourcetest.Member)
	server.AddUser(sourcetest.Loner)
	server.Add("cn=ml-research,"+slapdtest.Groups, "objectClass", "groupOfNames", "cn", sourcetest.Research, "member", alice)
	server.Add(`cn=Staff\, Berlin,`+slapdtest.Groups, "objectClass", "posixGroup", "cn", sourcetest.Staff, "gidNumber", "7", "memberUid", sourcetest.Member)
	config := groups.DefaultLDAPConfig()
	config.URLs = []string{server.URL}
	config.AllowPlaintext = true
	config.UserBase, config.GroupBase = slapdtest.People, slapdtest.Groups
	config.DialTimeout = 300 * time.Millisecond
	return server, config
}

func newLDAP(t *testing.T, config groups.LDAPConfig) *groups.LDAP {
	t.Helper()
	source, err := groups.NewLDAP(config, time.Now)
	require.NoError(t, err)
	t.Cleanup(source.Close)
	return source
}

func TestLDAPConforms(t *testing.T) {
	server, config := directory(t)
	for _, nested := range []groups.NestedGroups{groups.NestedNone, groups.NestedRecursive} {
		config.NestedGroups = nested
		t.Run(string(nested), func(t *testing.T) {
			sourcetest.Conformance(t, sourcetest.Fixture{
				Source: newLDAP(t, config), Name: "ldap", Absent: groups.ErrUnknownUser,
				Break: func(*testing.T) { server.Stop() }, Mend: func(*testing.T) { server.Resume() },
			})
		})
	}
}

func TestFileConforms(t *testing.T) {
	path := filepath.Join(t.TempDir(), "groups.yaml")
	write := func(t *testing.T) {
		require.NoError(t, os.WriteFile(path, []byte("users:\n  alice: [ml-research, 'Staff, Berlin']\n  dave: []\n"), 0o600))
	}
	write(t)
	source, err := groups.NewFile(path, time.Now)
	require.NoError(t, err)
	sourcetest.Conformance(t, sourcetest.Fixture{
		Source: source, Name: "file", Absent: groups.ErrUnknownUser,
		Break: func(t *testing.T) { require.NoError(t, os.Remove(path)) }, Mend: write,
	})
}

func TestSentByHubConforms(t *testing.T) {
	source := groups.NewSentByHub(time.Minute, time.Now)
	source.Present(sourcetest.Member, groups.SignIn{Groups: []string{sourcetest.Research, sourcetest.Staff}})
	source.Present(sourcetest.Loner, groups.SignIn{Groups: []string{}})
	sourcetest.Conformance(t, sourcetest.Fixture{Source: source, Name: "hub", Absent: groups.ErrUnavailable})
}

// A cache that may keep nothing is the source, with one more reason to be quick.
func TestCacheConforms(t *testing.T) {
	server, config := directory(t)
	cache, err := groups.NewCache(newLDAP(t, config), groups.CacheConfig{Timeout: 2 * time.Second, Size: 10}, time.Now, prometheus.NewRegistry())
	require.NoError(t, err)
	sourcetest.Conformance(t, sourcetest.Fixture{
		Source: cache, Name: "ldap", Absent: groups.ErrUnknownUser,
		Break: func(*testing.T) { server.Stop() }, Mend: func(*testing.T) { server.Resume() },
	})
}
