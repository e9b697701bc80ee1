package ldap_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/internal/slapdtest"
	"github.com/elastichub/elastichub/groups/ldap"
	"github.com/elastichub/elastichub/groups/sourcetest"
)

// directory is a slapd with the suite's users; styles of groups differ.
func directory(t *testing.T) (*slapdtest.Server, ldap.Config) {
	t.Helper()
	server := slapdtest.Start(t)
	alice := server.AddUser(sourcetest.Member)
	server.AddUser(sourcetest.Loner)
	server.Add("cn=ml-research,"+slapdtest.Groups, "objectClass", "groupOfNames", "cn", sourcetest.Research, "member", alice)
	server.Add(`cn=Staff\, Berlin,`+slapdtest.Groups, "objectClass", "posixGroup", "cn", sourcetest.Staff, "gidNumber", "7", "memberUid", sourcetest.Member)
	config := ldap.DefaultConfig()
	config.URLs = []string{server.URL}
	config.StartTLS, config.AllowPlaintext = false, true
	config.UserBase, config.GroupBase = slapdtest.People, slapdtest.Groups
	return server, config
}

func newSource(t *testing.T, config ldap.Config) *ldap.Source {
	t.Helper()
	source, err := ldap.New(config, time.Now)
	require.NoError(t, err)
	t.Cleanup(source.Close)
	return source
}

func TestSourceConforms(t *testing.T) {
	server, config := directory(t)
	for _, nested := range []ldap.NestedGroups{ldap.NestedNone, ldap.NestedRecursive} {
		config.NestedGroups = nested
		t.Run(string(nested), func(t *testing.T) {
			sourcetest.Conformance(t, sourcetest.Fixture{
				Source: newSource(t, config), Name: "ldap", Absent: groups.ErrUnknownUser,
				Break: func(*testing.T) { server.Stop() }, Restore: func(*testing.T) { server.Resume() },
			})
		})
	}
}

// A cache that may keep nothing is the source, with one more reason to be quick.
func TestCachedSourceConforms(t *testing.T) {
	server, config := directory(t)
	cache, err := groups.NewCache(newSource(t, config), groups.CacheConfig{Timeout: 20 * time.Second, Size: 10}, time.Now, prometheus.NewRegistry())
	require.NoError(t, err)
	sourcetest.Conformance(t, sourcetest.Fixture{
		Source: cache, Name: "ldap", Absent: groups.ErrUnknownUser,
		Break: func(*testing.T) { server.Stop() }, Restore: func(*testing.T) { server.Resume() },
	})
}
