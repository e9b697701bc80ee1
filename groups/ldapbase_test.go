package groups

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
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
	for name, row := range map[string]struct {
		config LDAPConfig
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
			_, err = Resolve(m, []v1alpha1.GroupPolicy{policy("research", 0, "ml-research")}, MatchPriority)
			if strings.HasPrefix(name, "memberOf with") && name != "memberOf within both" {
				assert.NoError(t, err, "the directory's administrators vouch for all of it")
			} else {
				assert.ErrorIs(t, err, ErrNoPolicy)
			}
		})
	}
	t.Run("whose group it is", func(t *testing.T) {
		assert.Equal(t, []string{"ml-research"}, groupNamesOf(t, source(t, filtered), "bob"))
	})
	t.Run("below is not beside", func(t *testing.T) {
		assert.True(t, below("cn=a,ou=groups,dc=x", "ou=groups,dc=x"))
		assert.False(t, below("cn=a,ou=mygroups,dc=x", "ou=groups,dc=x"))
		assert.False(t, below(`cn=a\2cou=groups,dc=y`, "ou=groups,dc=x"))
		assert.False(t, below("dc=x", "ou=groups,dc=x"))
	})
}

func TestAPlainNameIsACommonName(t *testing.T) {
	const base = ",ou=groups,dc=example,dc=org"
	for dn, want := range map[string]bool{
		"cn=ml-research" + base: true, "CN=ML-Research" + base: true, "2.5.4.3=ml-research" + base: true, "cn=ml-research+ou=x" + base: true,
		"ou=ml-research" + base: false, "uid=ml-research" + base: false, "name=ml-research" + base: false, "o=ml-research": false,
		"cn=x,cn=ml-research" + base: false, "ou=x+uid=ml-research" + base: false, `cn=ml-research\2cou=x` + base: false,
	} {
		_, err := Resolve(member(dn), []v1alpha1.GroupPolicy{policy("research", 0, "ml-research")}, MatchPriority)
		assert.Equal(t, want, err == nil, dn)
		_, err = Resolve(member(dn), []v1alpha1.GroupPolicy{policy("research", 0, dn)}, MatchPriority)
		assert.NoError(t, err, "%s by its DN", dn)
	}
}

func TestAnOddValueIsLeftOut(t *testing.T) {
	var logged bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	defer slog.SetDefault(before)
	odd := []string{"urn:mace:example:staff", "", "staff", "cn=a,", "cn=\xda", "cn=" + strings.Repeat("x", maxDNBytes), "<SID=S-1-5>"}
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
	assert.Equal(t, len(odd), strings.Count(logged.String(), "left out"), "each once")
	assert.Contains(t, logged.String(), "urn:mace:example:staff")
	for i := range maxOddValues {
		s.odd.tell("memberOf", strings.Repeat("y", i+1), assert.AnError)
	}
	assert.Equal(t, maxOddValues, strings.Count(logged.String(), "left out"))
}

func TestSeveralGroupsOfOneNameAreTold(t *testing.T) {
	var logged bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	defer slog.SetDefault(before)
	one, two := "cn=ml-research,ou=groups,dc=x", "cn=ML-Research,ou=clubs,dc=x"
	policies := []v1alpha1.GroupPolicy{policy("research", 0, "ml-research"), policy("chess", 0, "cn=ml-research,ou=clubs,dc=x")}

	ranked := rank(member(one, two), policies)
	said := verdicts(ranked, MatchPriority)
	assert.Contains(t, said[1].Because, `"ml-research" is the name of 2 groups: cn=ML-Research,ou=clubs,dc=x and cn=ml-research,ou=groups,dc=x`)
	assert.NotContains(t, said[0].Because, "is the name of", "it names a DN")
	assert.NotContains(t, verdicts(rank(member(one), policies), MatchPriority)[0].Because, "is the name of")

	var w nameWatch // users are in one of them each
	w.note(member(one, "cn=ml-research,ou=unnamed,dc=x2"), policies[1:])
	w.note(member(one), policies)
	assert.Empty(t, logged.String())
	for range 2 {
		w.note(member(two), policies)
	}
	assert.Equal(t, 1, strings.Count(logged.String(), "several groups"))
	assert.Contains(t, logged.String(), "ou=clubs")
}
