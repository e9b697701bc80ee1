package ldap

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/internal/policytest"
	"github.com/elastichub/elastichub/groups/internal/slapdtest"
)

const clubs = "ou=clubs," + slapdtest.Suffix

// clubhouse is a directory in which alice is in clubs, which anybody may make,
// that are called as a group of bob's.
func clubhouse(t *testing.T) *slapdtest.Server {
	s := slapdtest.Start(t)
	alice, bob := s.AddUser("alice"), s.AddUser("bob")
	s.Add(clubs, "objectClass", "organizationalUnit", "ou", "clubs")
	for _, parent := range []string{slapdtest.Groups, clubs} {
		member := alice
		if parent == slapdtest.Groups {
			member = bob
		}
		s.Add("cn=ml-research,"+parent, "objectClass", "groupOfNames", "cn", "ml-research", "member", member)
	}
	s.Add("ou=ml-research,"+slapdtest.Groups, "objectClass", "groupOfNames", "objectClass", "extensibleObject",
		"ou", "ml-research", "cn", "x", "member", alice)
	s.Add("cn=chess,"+slapdtest.Groups, "objectClass", "groupOfNames", "cn", "chess", "description", "club", "member", alice)
	s.Add("cn=upper,"+slapdtest.Groups, "objectClass", "groupOfNames", "cn", "upper", "member", "cn=ml-research,"+clubs)
	return s
}

func TestGroupsOutsideBaseAndFilterDoNotCount(t *testing.T) {
	server := clubhouse(t)
	based := directoryConfig(server.URL)
	filtered := based
	filtered.GroupFilter = "(!(description=club))"
	onlyMemberOf := filtered
	onlyMemberOf.GroupMemberAttributes = nil
	anywhere := directoryConfig(server.URL)
	anywhere.GroupBase = ""
	anywhereFiltered := anywhere
	anywhereFiltered.GroupFilter = filtered.GroupFilter
	nested := filtered
	nested.NestedGroups = NestedRecursive
	byRead := onlyMemberOf
	byRead.NestedGroups = NestedRecursive
	closer := based
	closer.GroupBase = "cn=chess," + strings.ToUpper(slapdtest.Groups)
	research := []v1alpha1.GroupPolicy{policytest.Policy("research", 0, "ml-research")}
	for name, row := range map[string]struct {
		config Config
		want   []string
	}{
		"base":                         {based, []string{"chess", "ou=ml-research"}},
		"base and filter":              {filtered, []string{"ou=ml-research"}},
		"memberOf within both":         {onlyMemberOf, []string{"ou=ml-research"}},
		"memberOf without base":        {anywhere, []string{"chess", "ml-research", "ou=ml-research"}},
		"memberOf with filter alone":   {anywhereFiltered, []string{"ml-research", "ou=ml-research"}},
		"nested, not by way of a club": {nested, []string{"ou=ml-research"}},
		"nested by memberOf":           {byRead, []string{"ou=ml-research"}},
		"base in another spelling":     {closer, []string{"chess"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := source(t, row.config)
			assert.Equal(t, row.want, groupNamesOf(t, s, "alice"))
			m, err := s.Lookup(t.Context(), "alice")
			require.NoError(t, err)
			_, err = groups.Resolve(m, research, groups.MatchPriority)
			if strings.HasPrefix(name, "memberOf with") && name != "memberOf within both" {
				assert.NoError(t, err, "the directory's administrators vouch for all of it")
			} else {
				assert.ErrorIs(t, err, groups.ErrNoPolicy)
			}
		})
	}
	t.Run("whose group it is", func(t *testing.T) {
		assert.Equal(t, []string{"ml-research"}, groupNamesOf(t, source(t, filtered), "bob"))
	})
}

func TestAValueThatIsNoDNIsIgnored(t *testing.T) {
	var logged bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	defer slog.SetDefault(before)
	odd := []string{"urn:mace:example:staff", "", "staff", "cn=a,", "cn=\xda", "cn=" + strings.Repeat("x", 5000), "<SID=S-1-5>"}
	server := newScriptedLDAP(t, func(q ldapSearch) reply {
		return reply{entries: []*ldap.Entry{ldap.NewEntry("uid=alice,"+slapdtest.People, map[string][]string{
			"uid": {"alice"}, "memberOf": append(odd, "cn=staff,"+slapdtest.Groups, "cn=last,"+slapdtest.Groups)})}}
	})
	c := directoryConfig(server.URL)
	c.GroupBase = ""
	s := source(t, c)
	for range 3 {
		assert.Equal(t, []string{"last", "staff"}, groupNamesOf(t, s, "alice"))
	}
	assert.Equal(t, len(odd), strings.Count(logged.String(), "is ignored"), "each once")
	assert.Contains(t, logged.String(), "urn:mace:example:staff")
	for i := range maxInvalidDNs {
		s.invalid.logOnce("memberOf", strings.Repeat("y", i+1), assert.AnError)
	}
	assert.Equal(t, maxInvalidDNs, strings.Count(logged.String(), "is ignored"))
}

// The same with a real directory, in an attribute whose syntax allows anything, as
// federations' attributes do.
func TestSomeValuesThatAreNoDNsInARealDirectory(t *testing.T) {
	server := slapdtest.Start(t)
	alice := server.AddUser("alice")
	server.Add("cn=staff,"+slapdtest.Groups, "objectClass", "groupOfNames", "cn", "staff", "member", alice)
	server.Add("uid=bob,"+slapdtest.People, "objectClass", "inetOrgPerson", "uid", "bob", "cn", "bob", "sn", "bob",
		"description", "urn:mace:example:staff", "description", "cn=staff,"+slapdtest.Groups)
	server.Add("uid=carol,"+slapdtest.People, "objectClass", "inetOrgPerson", "uid", "carol", "cn", "carol", "sn", "carol",
		"description", "urn:mace:example:staff")
	c := directoryConfig(server.URL)
	c.MemberOfAttribute, c.GroupMemberAttributes = "description", nil
	s := source(t, c)
	assert.Equal(t, []string{"staff"}, groupNamesOf(t, s, "bob"))
	assert.Empty(t, groupNamesOf(t, s, "carol"), "known, and in no group")
}
