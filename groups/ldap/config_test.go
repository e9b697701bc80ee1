package ldap

import (
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConfigFaults(t *testing.T) {
	err := Config{
		URLs:     []string{"ldap://plain", "ldaps://u:secret@host", "http://x", "ldap://h/dc=base", "::"},
		BindDN:   "not a dn",
		UserBase: "", UserFilter: "(((", UserAttribute: "uid)(x", GroupFilter: "x", GroupMemberAttributes: []string{"a b"},
	}.Validate()
	require.Error(t, err)
	for _, field := range []string{"urls[0]", "urls[1]", "urls[2]", "urls[3]", "urls[4]", "bindPasswordFile", "bindDN", "userBase", "userFilter", "groupFilter",
		"userAttribute", "groupBase", "groupMemberAttributes[0]", "nestedGroups", "nestingDepth", "referrals", "dialTimeout", "bindTimeout", "searchTimeout", "poolSize"} {
		assert.ErrorContains(t, err, field+": ")
	}
	assert.NotContains(t, err.Error(), "secret")

	good := DefaultConfig()
	good.StartTLS = false
	good.URLs, good.UserBase = []string{"ldaps://a", "ldaps://b:1636"}, "dc=example,dc=org"
	assert.NoError(t, good.Validate())
	good.NestedGroups = NestedInChain
	assert.ErrorContains(t, good.Validate(), "nestedGroups: inChain needs groupBase")
	good.GroupBase = "dc=example,dc=org"
	assert.NoError(t, good.Validate())
	good.GroupMemberAttributes = []string{"uniqueMember"}
	assert.ErrorContains(t, good.Validate(), "nestedGroups: inChain needs groupBase, and member")
	good.NestedGroups = NestedRecursive
	assert.NoError(t, good.Validate())
	good.NestingDepth = maxNestingDepth + 1
	assert.ErrorContains(t, good.Validate(), "nestingDepth: ")
	good.NestingDepth = 1
	good.StartTLS = true
	assert.ErrorContains(t, good.Validate(), "startTLS is for ldap://")
}

// Whatever the user's name, the filter stays one equality on that name.
func FuzzUserFilter(f *testing.F) {
	for _, s := range []string{"alice", "*", ")(uid=*", `\`, "\x00", "é", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, user string) {
		packet, err := ldap.CompileFilter(userFilter(Config{UserAttribute: "uid"}, user))
		require.NoError(t, err)
		require.Equal(t, uint64(ldap.FilterEqualityMatch), uint64(packet.Tag))
		require.Len(t, packet.Children, 2)
		assert.Equal(t, "uid", packet.Children[0].Data.String())
		assert.Equal(t, user, packet.Children[1].Data.String())
	})
}
