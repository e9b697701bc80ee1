package ldap

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/internal/slapdtest"
)

// Sizes of the large directory.
const (
	manyUsers  = 5000
	manyGroups = 2500
	manyOfOne  = 1200
)

// company is a directory as large companies have them: thousands of users and
// groups, a user in more groups than a page and than the server gives at once,
// chains of groups, circles, and names that need escapes.
func company(t *testing.T) *slapdtest.Server {
	t.Helper()
	var ldif strings.Builder
	memberOf := map[string][]string{}
	group := func(name string, members ...string) string {
		dn := "cn=" + ldap.EscapeDN(name) + "," + slapdtest.Groups
		for _, m := range members {
			memberOf[m] = append(memberOf[m], dn)
		}
		return dn
	}
	user := func(name string) string { return "uid=" + name + "," + slapdtest.People }
	type made struct {
		dn, name string
		members  []string
	}
	var groups []made
	add := func(name string, members ...string) string {
		dn := group(name, members...)
		groups = append(groups, made{dn, name, members})
		return dn
	}
	// alice: team → department → division → company, and back to team.
	team := "cn=" + ldap.EscapeDN("Team (R+D), Berlin*") + "," + slapdtest.Groups
	department := add("department", team)
	division := add("division", department, "cn=side,"+slapdtest.Groups)
	whole := add("company", division)
	add("Team (R+D), Berlin*", user("alice"), whole)
	add("side", user("alice"))
	add("self", user("carol"), "cn=self,"+slapdtest.Groups)
	// bob: many groups, each in one of ten others.
	parents := make([][]string, 10)
	for i := range manyOfOne {
		dn := add(fmt.Sprintf("of-bob-%d", i), user("bob"))
		parents[i%10] = append(parents[i%10], dn)
	}
	for i, members := range parents {
		add(fmt.Sprintf("parent-%d", i), members...)
	}
	// dave: a chain that is too long.
	below := add("chain-0", user("dave"))
	for i := range 14 {
		below = add(fmt.Sprintf("chain-%d", i+1), below)
	}
	for i := len(groups); i < manyGroups; i++ {
		add(fmt.Sprintf("other-%d", i), user(fmt.Sprintf("user-%d", i)), user(fmt.Sprintf("user-%d", i+1)))
	}
	for _, g := range groups {
		fmt.Fprintf(&ldif, "dn: %s\nobjectClass: groupOfNames\ncn: %s\n", g.dn, g.name)
		for _, m := range g.members {
			fmt.Fprintf(&ldif, "member: %s\n", m)
		}
		for _, m := range memberOf[g.dn] {
			fmt.Fprintf(&ldif, "memberOf: %s\n", m)
		}
		ldif.WriteByte('\n')
	}
	names := []string{"alice", "bob", "carol", "dave"}
	for i := range manyUsers {
		names = append(names, fmt.Sprintf("user-%d", i))
	}
	for _, name := range names {
		fmt.Fprintf(&ldif, "dn: %s\nobjectClass: inetOrgPerson\nuid: %s\ncn: %s\nsn: x\n", user(name), name, name)
		for _, m := range memberOf[user(name)] {
			fmt.Fprintf(&ldif, "memberOf: %s\n", m)
		}
		ldif.WriteByte('\n')
	}
	// As Active Directory does: 1,000 at a time, all with pages.
	return slapdtest.StartWith(t, slapdtest.Setup{Database: "limits * size.soft=1000 size.hard=1000 size.prtotal=unlimited", LDIF: ldif.String()})
}

func groupNamesOf(t *testing.T, s *Source, user string) []string {
	t.Helper()
	m, err := s.Lookup(t.Context(), user)
	require.NoError(t, err)
	all := []string{}
	for _, g := range m.Groups {
		all = append(all, g.Name)
	}
	slices.Sort(all)
	return all
}

func TestNestedGroupsOfALargeDirectory(t *testing.T) {
	server := company(t)
	bySearch := directoryConfig(server.URL)
	bySearch.MemberOfAttribute, bySearch.NestedGroups = "", NestedRecursive
	byMemberOf := directoryConfig(server.URL)
	byMemberOf.GroupBase, byMemberOf.NestedGroups = "", NestedRecursive
	both := directoryConfig(server.URL)
	both.NestedGroups = NestedRecursive
	for name, c := range map[string]Config{"search": bySearch, "memberOf": byMemberOf, "both": both} {
		t.Run(name, func(t *testing.T) {
			s := source(t, c)
			assert.Equal(t, []string{"Team (R+D), Berlin*", "company", "department", "division", "side"}, groupNamesOf(t, s, "alice"))
			assert.Equal(t, []string{"self"}, groupNamesOf(t, s, "carol"))
			m, err := s.Lookup(t.Context(), "dave")
			assert.ErrorIs(t, err, groups.ErrUnavailable, "14 levels")
			assert.ErrorIs(t, err, groups.ErrOneUser)
			assert.ErrorContains(t, err, "nest deeper than 10 levels")
			assert.Empty(t, m.Groups)

			deep := c
			deep.NestingDepth = 14
			assert.Len(t, groupNamesOf(t, source(t, deep), "dave"), 15, "exactly as deep as may be")
			deep.NestingDepth = 13
			_, err = source(t, deep).Lookup(t.Context(), "dave")
			assert.ErrorIs(t, err, groups.ErrUnavailable)

			flat := c
			flat.NestedGroups = NestedNone
			assert.Equal(t, []string{"Team (R+D), Berlin*", "side"}, groupNamesOf(t, source(t, flat), "alice"))
		})
	}
	t.Run("more groups than a page, than a filter, than the server gives at once", func(t *testing.T) {
		c := both
		assert.Len(t, groupNamesOf(t, source(t, c), "bob"), manyOfOne+10)
		c = byMemberOf
		_, err := source(t, c).Lookup(t.Context(), "bob")
		assert.ErrorContains(t, err, "more than 1000 groups to read")
	})
	t.Run("a group filter holds for parents too", func(t *testing.T) {
		c := bySearch
		c.GroupFilter = "(!(cn=division))"
		assert.Equal(t, []string{"Team (R+D), Berlin*", "department", "side"}, groupNamesOf(t, source(t, c), "alice"))
	})
	t.Run("in-chain is refused where it is unknown", func(t *testing.T) {
		c := both
		c.NestedGroups = NestedInChain
		_, err := source(t, c).Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, groups.ErrUnavailable)
		assert.ErrorContains(t, err, "no Active Directory")
	})
	t.Run("cut off anywhere", func(t *testing.T) {
		c := both
		for _, after := range []int64{0, 1, 13, 14, 15, 100, 1_000, 10_000, 50_000, 100_000} {
			c.URLs = []string{cutting(t, server.URL, after)}
			m, err := source(t, c).Lookup(t.Context(), "bob")
			assert.ErrorIs(t, err, groups.ErrUnavailable, "after %d bytes", after)
			assert.NotErrorIs(t, err, groups.ErrUnknownUser, "after %d bytes", after)
			assert.Equal(t, groups.Membership{}, m, "after %d bytes", after)
		}
		c.URLs = []string{cutting(t, server.URL, 1<<30)}
		assert.Len(t, groupNamesOf(t, source(t, c), "bob"), manyOfOne+10, "the proxy itself does no harm")
	})
}

func TestActiveDirectory(t *testing.T) {
	server := activeDirectoryOf(t, 3700)
	c := directoryConfig(server.URL)
	c.UserBase, c.GroupBase, c.UserAttribute = "OU=people,DC=ad,DC=example", "OU=groups,DC=ad,DC=example", "sAMAccountName"
	c.NestedGroups, c.GroupMemberAttributes = NestedInChain, []string{"member"}
	m, err := source(t, c).Lookup(t.Context(), "alice")
	require.NoError(t, err)
	require.Len(t, m.Groups, 3700+3)
	assert.Equal(t, "CN=g0,OU=groups,DC=ad,DC=example", m.Groups[0].DN)
	assert.Equal(t, "CN=g3699,OU=groups,DC=ad,DC=example", m.Groups[3699].DN)
	assert.Equal(t, "grandparent", m.Groups[3702].Name)
	var ranges []string
	for _, q := range server.questions() {
		for _, a := range q.attributes {
			if strings.Contains(a, "range") {
				ranges = append(ranges, a)
			}
		}
	}
	assert.Equal(t, []string{"memberOf;range=1500-*", "memberOf;range=3000-*"}, ranges)

	t.Run("more values than one user may have", func(t *testing.T) {
		c := c
		c.URLs = []string{activeDirectoryOf(t, maxGroups+2000).URL}
		_, err := source(t, c).Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, groups.ErrOneUser)
	})
}

// Ranges that do not fit together are an error, not a shorter list.
func TestRangesThatCannotBe(t *testing.T) {
	const dn = "cn=alice,dc=x"
	for name, second := range map[string]map[string][]string{
		"the same again":      {"memberOf;range=0-1": {"cn=a,dc=x", "cn=b,dc=x"}},
		"a gap":               {"memberOf;range=3-*": {"cn=d,dc=x"}},
		"nothing":             {},
		"empty":               {"memberOf;range=2-*": {}},
		"count and bounds":    {"memberOf;range=2-9": {"cn=c,dc=x"}},
		"not numbers":         {"memberOf;range=x-y": {"cn=c,dc=x"}},
		"backwards":           {"memberOf;range=2-1": {}},
		"negative":            {"memberOf;range=-2-*": {"cn=c,dc=x"}},
		"an overflowing end":  {"memberOf;range=2-99999999999999999999": {"cn=c,dc=x"}},
		"unbounded, but none": {"memberOf;range=2": {"cn=c,dc=x"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := newScriptedLDAP(t, func(q ldapSearch) reply {
				if q.base == dn {
					return reply{entries: []*ldap.Entry{ldap.NewEntry(dn, second)}}
				}
				return reply{entries: []*ldap.Entry{ldap.NewEntry(dn, map[string][]string{"uid": {"alice"}, "memberOf;range=0-1": {"cn=a,dc=x", "cn=b,dc=x"}})}}
			})
			c := directoryConfig(server.URL)
			c.GroupBase = ""
			m, err := source(t, c).Lookup(t.Context(), "alice")
			assert.ErrorIs(t, err, groups.ErrUnavailable)
			assert.Equal(t, groups.Membership{}, m)
		})
	}
}

func TestReferrals(t *testing.T) {
	elsewhere := "ldap://127.0.0.1:1/ou=elsewhere," + slapdtest.Groups
	server := slapdtest.StartWith(t, slapdtest.Setup{LDIF: "dn: ou=elsewhere," + slapdtest.Groups + "\nobjectClass: referral\nobjectClass: extensibleObject\nou: elsewhere\nref: " + elsewhere + "\n\n"})
	populate(server)
	c := directoryConfig(server.URL)
	_, err := source(t, c).Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, groups.ErrUnavailable)
	assert.ErrorContains(t, err, "referrals are not followed")
	assert.ErrorContains(t, err, "ldap://127.0.0.1:1/")
	c.Referrals = ReferralsIgnore
	assert.Equal(t, []string{"R+D, Berlin", "ml-research"}, groupNamesOf(t, source(t, c), "alice"))

	for _, mode := range []Referrals{ReferralsFail, ReferralsIgnore} {
		c.Referrals = mode
		c.UserBase = "ou=elsewhere," + slapdtest.Groups
		_, err = source(t, c).Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, groups.ErrUnavailable, "the whole answer is elsewhere: %s", mode)
		assert.NotErrorIs(t, err, groups.ErrUnknownUser)
	}
}

// A server may cut a search short in many ways; none is an answer.
func TestResultsThatAreNotSuccess(t *testing.T) {
	for _, code := range []uint16{
		ldap.LDAPResultOperationsError, ldap.LDAPResultTimeLimitExceeded, ldap.LDAPResultSizeLimitExceeded, ldap.LDAPResultReferral,
		ldap.LDAPResultAdminLimitExceeded, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultBusy,
		ldap.LDAPResultUnavailable, ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultOther, 4711,
	} {
		server := newScriptedLDAP(t, func(q ldapSearch) reply {
			return reply{code: code, entries: []*ldap.Entry{ldap.NewEntry("uid=alice,"+slapdtest.People, map[string][]string{"uid": {"alice"}, "memberOf": {"cn=a,dc=x"}})}}
		})
		m, err := source(t, directoryConfig(server.URL)).Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, groups.ErrUnavailable, "code %d", code)
		assert.NotErrorIs(t, err, groups.ErrUnknownUser, "code %d", code)
		assert.Equal(t, groups.Membership{}, m, "code %d", code)
	}
}

// Certificates and passwords are changed under running services.
func TestLDAPFilesAreReadAgain(t *testing.T) {
	server, other := slapdtest.Start(t), slapdtest.Start(t)
	populate(server)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	use := func(file string) {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(ca, content, 0o600))
	}
	use(server.CAFile)
	c := directoryConfig(server.SecureURL)
	c.CAFile = ca
	c.BindDN, c.BindPasswordFile = slapdtest.RootDN, secretFile(t, slapdtest.RootPassword)
	s := source(t, c)
	reconnect := func() error {
		s.pool.closeIdle()
		_, err := s.Lookup(t.Context(), "alice")
		return err
	}
	require.NoError(t, reconnect())
	use(other.CAFile)
	_, err := s.Lookup(t.Context(), "alice")
	require.NoError(t, err, "a connection that is open stays")
	assert.ErrorContains(t, reconnect(), "certificate signed by unknown authority")
	require.NoError(t, os.WriteFile(ca, nil, 0o600))
	assert.ErrorContains(t, reconnect(), "no certificate in it")
	require.NoError(t, os.Remove(ca))
	assert.ErrorIs(t, reconnect(), groups.ErrUnavailable)
	use(server.CAFile)
	require.NoError(t, reconnect())

	require.NoError(t, os.WriteFile(c.BindPasswordFile, []byte("changed"), 0o600))
	assert.ErrorContains(t, reconnect(), "bind")
	for name, content := range map[string]string{"empty": " \n", "gone": ""} {
		require.NoError(t, os.WriteFile(c.BindPasswordFile, []byte(content), 0o600))
		err := reconnect()
		assert.ErrorIs(t, err, groups.ErrUnavailable, name)
		assert.ErrorContains(t, err, "bindPasswordFile", "never a bind without a password")
	}
	require.NoError(t, os.WriteFile(c.BindPasswordFile, []byte(slapdtest.RootPassword), 0o600))
	require.NoError(t, reconnect())
}
