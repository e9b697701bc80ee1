package ldap_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/internal/adtest"
	"github.com/elastichub/elastichub/groups/internal/certtest"
	"github.com/elastichub/elastichub/groups/ldap"
	"github.com/elastichub/elastichub/groups/sourcetest"
)

const (
	// manyGroups is more than the entries that Active Directory gives at a time.
	manyGroups = 1100
	// oddCharacters mean something in DNs, filters or LDIF.
	oddCharacters = `,+\#<>;"*()=/ '&|!:`
	// serviceAccount has no rights but those that everybody has.
	serviceAccount = "CN=elastichub," + adtest.People
	// elsewhere has the groups of many: what searches them all takes long.
	elsewhere = "OU=elsewhere," + adtest.Suffix
	// odds has a name of odd characters; Active Directory admits few of them
	// in an account's name.
	odds = `odd#(1)'&!`
)

func dnBelow(base, name string) string {
	// EscapeDN leaves = alone, which Samba wants escaped.
	return "CN=" + strings.ReplaceAll(goldap.EscapeDN(name), "=", `\=`) + "," + base
}

// domain is a domain controller, with
//   - alice and dave as the conformance suite wants them,
//   - carol, in direct, in middle, in top, in direct,
//   - erin, whose primary group, physics, is in faculty,
//   - gone, who is disabled,
//   - a user and groups with odd names,
//   - many, in manyGroups groups elsewhere that are all in everything.
func domain(t *testing.T) *adtest.Server {
	t.Helper()
	var ldif strings.Builder
	user := func(name, account string, more ...string) string {
		dn := dnBelow(adtest.People, name)
		ldif.WriteString(adtest.Entry(dn, append([]string{"objectClass", "user", "sAMAccountName", account}, more...)...))
		return dn
	}
	const enabled, disabled = "512", "514"
	accounts := 0
	groupIn := func(base, name string, members ...string) string {
		accounts++
		pairs := []string{"objectClass", "group", "sAMAccountName", fmt.Sprintf("group-%d", accounts)}
		for _, m := range members {
			pairs = append(pairs, "member", m)
		}
		dn := dnBelow(base, name)
		ldif.WriteString(adtest.Entry(dn, pairs...))
		return dn
	}
	group := func(name string, members ...string) string { return groupIn(adtest.Groups, name, members...) }
	user("elastichub", "elastichub", "userAccountControl", enabled, "clearTextPassword", utf16Text(adtest.Password))
	alice := user("Alice Adams", sourcetest.Member, "userAccountControl", enabled)
	user("Dave Doe", sourcetest.Loner, "userAccountControl", enabled)
	group(sourcetest.Research, alice)
	group(sourcetest.Staff, alice)

	carol := user("Carol Chen", "Carol", "userAccountControl", enabled, "userPrincipalName", "Carol.Chen@"+adtest.Domain)
	direct := group("direct", carol)
	top := group("top", group("middle", direct))
	erin := user("Erin Eck", "erin", "userAccountControl", enabled)
	physics := group("physics", erin)
	group("faculty", physics)
	group("former", user("Gone", "gone", "userAccountControl", disabled))
	odd := user("odd "+oddCharacters, odds, "userAccountControl", enabled)
	for _, c := range oddCharacters {
		group(fmt.Sprintf("%ca%cb%c", c, c, c), odd)
	}
	ldif.WriteString(adtest.Entry(elsewhere, "objectClass", "organizationalUnit"))
	many := user("Many", "many", "userAccountControl", enabled)
	var all []string
	for i := range manyGroups {
		all = append(all, groupIn(elsewhere, fmt.Sprintf("g%d", i), many))
	}
	groupIn(elsewhere, "everything", all...)

	server := adtest.Start(t, ldif.String())
	server.Do(func(c *goldap.Conn) error {
		circle := goldap.NewModifyRequest(direct, nil)
		circle.Add("member", []string{top})
		if err := c.Modify(circle); err != nil {
			return err
		}
		number := read(t, c, physics, "primaryGroupToken").GetAttributeValue("primaryGroupToken")
		primary := goldap.NewModifyRequest(erin, nil)
		primary.Replace("primaryGroupID", []string{number})
		return c.Modify(primary)
	})
	return server
}

// utf16Text is how Windows wants passwords.
func utf16Text(s string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return string(b)
}

func read(t *testing.T, c *goldap.Conn, dn, attribute string) *goldap.Entry {
	t.Helper()
	answer, err := c.Search(goldap.NewSearchRequest(dn, goldap.ScopeBaseObject, goldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{attribute}, nil))
	require.NoError(t, err)
	require.Len(t, answer.Entries, 1)
	return answer.Entries[0]
}

// controllerConfig is the one in docs/groups.md.
func controllerConfig(t *testing.T, server *adtest.Server) ldap.Config {
	t.Helper()
	c := ldap.DefaultConfig()
	c.StartTLS = false
	c.URLs, c.CAFile = []string{server.SecureURL}, server.CAFile
	c.BindDN, c.BindPasswordFile = serviceAccount, passwordFile(t, adtest.Password)
	c.UserBase, c.GroupBase = adtest.Suffix, adtest.Suffix
	c.UserAttribute = "sAMAccountName"
	c.UserFilter = "(&(objectCategory=person)(!(userAccountControl:1.2.840.113556.1.4.803:=2)))"
	c.GroupFilter = "(objectCategory=group)"
	c.GroupMemberAttributes = []string{"member"}
	c.NestedGroups = ldap.NestedInChain
	c.Referrals = ldap.ReferralsIgnore
	c.DialTimeout, c.BindTimeout, c.SearchTimeout = 10*time.Second, 10*time.Second, 10*time.Second
	return c
}

func passwordFile(t *testing.T, password string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte(password), 0o600))
	return file
}

func groupNames(t *testing.T, c ldap.Config, user string) []string {
	t.Helper()
	m, err := newSource(t, c).Lookup(t.Context(), user)
	require.NoError(t, err)
	return slices.Sorted(slices.Values(namesOf(m)))
}

func namesOf(m groups.Membership) []string {
	var names []string
	for _, g := range m.Groups {
		names = append(names, g.Name)
	}
	return names
}

func TestActiveDirectoryDomain(t *testing.T) {
	server := domain(t)
	config := controllerConfig(t, server)
	narrow := config
	narrow.GroupBase = adtest.Groups

	t.Run("conforms", func(t *testing.T) {
		c := narrow
		// Every user is in Domain Users, which is no group of that base.
		c.MemberOfAttribute = ""
		sourcetest.Conformance(t, sourcetest.Fixture{
			Source: newSource(t, c), Name: "ldap", Absent: groups.ErrUnknownUser,
			Break: func(*testing.T) { server.Stop() }, Restore: func(*testing.T) { server.Resume() },
		})
	})

	recursive, search, byMemberOf := config, config, config
	recursive.NestedGroups = ldap.NestedRecursive
	search.NestedGroups, search.MemberOfAttribute = ldap.NestedRecursive, ""
	byMemberOf.NestedGroups, byMemberOf.GroupBase = ldap.NestedRecursive, ""
	for name, c := range map[string]ldap.Config{"in chain": config, "recursive": recursive, "search": search, "memberOf": byMemberOf} {
		t.Run(name, func(t *testing.T) {
			oddNames := []string{"Domain Users", "Users"}
			for _, character := range oddCharacters {
				oddNames = append(oddNames, fmt.Sprintf("%ca%cb%c", character, character, character))
			}
			for user, want := range map[string][]string{
				"carol": {"Domain Users", "Users", "direct", "middle", "top"},
				"erin":  {"Domain Users", "Users", "faculty", "physics"},
				odds:    oddNames,
			} {
				m, err := newSource(t, c).Lookup(t.Context(), user)
				require.NoError(t, err)
				assert.ElementsMatch(t, want, namesOf(m), user)
				assertAsTheControllerSays(t, server, m)
			}
			c.NestedGroups = ldap.NestedNone
			assert.Equal(t, []string{"Domain Users", "direct"}, groupNames(t, c, "carol"))
			assert.Equal(t, []string{"Domain Users", "physics"}, groupNames(t, c, "erin"))
		})
	}
	t.Run("a primary group that the filter or base leaves out", func(t *testing.T) {
		c := config
		c.MemberOfAttribute, c.GroupFilter = "", "(cn=faculty)"
		assert.Equal(t, []string{"faculty"}, groupNames(t, c, "erin"), "in a group by it all the same")
		c.GroupFilter, c.GroupBase = "", narrow.GroupBase
		assert.Equal(t, []string{"direct", "middle", "top"}, groupNames(t, c, "carol"))
	})
	t.Run("who is a user", func(t *testing.T) {
		c := narrow
		c.UserFilter = ""
		assert.Contains(t, groupNames(t, c, "gone"), "former")
		_, err := newSource(t, narrow).Lookup(t.Context(), "gone")
		assert.ErrorIs(t, err, groups.ErrUnknownUser, "disabled")
		_, err = newSource(t, narrow).Lookup(t.Context(), "dc1$")
		assert.ErrorIs(t, err, groups.ErrUnknownUser, "a computer")

		c = narrow
		c.UserAttribute = "userPrincipalName"
		assert.Contains(t, groupNames(t, c, "carol.chen@"+adtest.Domain), "direct")
		for _, user := range []string{"carol", "carol.chen", "alice", "alice@" + adtest.Domain} {
			_, err = newSource(t, c).Lookup(t.Context(), user)
			assert.ErrorIs(t, err, groups.ErrUnknownUser, user)
		}
	})
	t.Run("more groups than it gives at once", func(t *testing.T) {
		c := config
		assert.Len(t, groupNames(t, c, "many"), manyGroups+len([]string{"everything", "Domain Users", "Users"}))
		c.MemberOfAttribute, c.NestedGroups, c.GroupBase = "", ldap.NestedNone, elsewhere
		assert.Len(t, groupNames(t, c, "many"), manyGroups)
		for _, bounds := range []string{"range=0-0", "range=0-499", "range=0-999"} {
			values, err := ldap.ValuesAfter(t.Context(), newSource(t, c), dnBelow(adtest.People, "Many"), "memberOf", bounds)
			require.NoError(t, err, bounds)
			slices.Sort(values)
			assert.Len(t, slices.Compact(values), manyGroups, bounds)
		}
	})
	t.Run("over TLS", func(t *testing.T) {
		upgraded := narrow
		upgraded.URLs, upgraded.StartTLS = []string{server.URL}, true
		other := t.TempDir()
		certtest.Write(t, other, nil)
		for name, c := range map[string]ldap.Config{"ldaps": narrow, "starttls": upgraded} {
			assert.Contains(t, groupNames(t, c, "alice"), sourcetest.Research, name)
			c.CAFile = filepath.Join(other, "ca.pem")
			_, err := newSource(t, c).Lookup(t.Context(), "alice")
			assert.ErrorIs(t, err, groups.ErrUnavailable, name)
			assert.ErrorContains(t, err, "certificate signed by unknown authority", name)
		}
	})
	t.Run("what it refuses", func(t *testing.T) {
		plain, wrong, anonymous, whole := config, config, config, config
		plain.URLs, plain.AllowPlaintext = []string{server.URL}, true
		wrong.BindPasswordFile = passwordFile(t, "not-the-password")
		anonymous.BindDN, anonymous.BindPasswordFile = "", ""
		whole.Referrals = ldap.ReferralsFail
		for _, row := range []struct {
			name   string
			config ldap.Config
			want   string
		}{
			{"a password in the clear", plain, "use ldaps:// or startTLS"},
			{"a wrong password", wrong, "data 52e"},
			{"no password", anonymous, "Operation unavailable without authentication"},
			{"what is elsewhere", whole, "ldaps://" + adtest.Domain + "/CN=Configuration," + adtest.Suffix},
		} {
			m, err := newSource(t, row.config).Lookup(t.Context(), "alice")
			assert.ErrorIs(t, err, groups.ErrUnavailable, row.name)
			assert.ErrorContains(t, err, row.want, row.name)
			assert.NotContains(t, err.Error(), "not-the-password", row.name)
			assert.Equal(t, groups.Membership{}, m, row.name)
		}
	})
}

// assertAsTheControllerSays compares with tokenGroups, from which Windows
// takes a user's rights.
func assertAsTheControllerSays(t *testing.T, server *adtest.Server, m groups.Membership) {
	t.Helper()
	server.Do(func(c *goldap.Conn) error {
		var ours []string
		for _, g := range m.Groups {
			ours = append(ours, read(t, c, g.DN, "objectSid").GetAttributeValue("objectSid"))
		}
		found, err := c.Search(goldap.NewSearchRequest(adtest.People, goldap.ScopeSingleLevel, goldap.NeverDerefAliases, 0, 0, false, "(sAMAccountName="+goldap.EscapeFilter(m.User)+")", []string{"1.1"}, nil))
		if err != nil {
			return err
		}
		require.Len(t, found.Entries, 1)
		assert.ElementsMatch(t, read(t, c, found.Entries[0].DN, "tokenGroups").GetAttributeValues("tokenGroups"), ours, m.User)
		return nil
	})
}
