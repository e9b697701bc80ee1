package groups

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func TestLDAPConfigFaults(t *testing.T) {
	err := LDAPConfig{
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

	good := DefaultLDAPConfig()
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

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "groups.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write("users:\n  alice: [ml-research, 'cn=R\\2BD,dc=org']\n  bob: []\n")
	now := time.Unix(5, 0)
	f, err := NewFile(path, func() time.Time { return now })
	require.NoError(t, err)
	m, err := f.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, Membership{User: "alice", Source: "file", AsOf: now,
		Groups: []Group{{Name: "ml-research"}, {Name: "R+D", DN: `cn=R\2BD,dc=org`}}}, m)
	m, err = f.Lookup(t.Context(), "bob")
	require.NoError(t, err)
	assert.Empty(t, m.Groups)
	for _, user := range []string{"", "Alice", "alice ", "carol"} {
		_, err = f.Lookup(t.Context(), user)
		assert.ErrorIs(t, err, ErrUnknownUser, user)
	}
	write("users: {carol: [x]}")
	_, err = f.Lookup(t.Context(), "carol")
	assert.NoError(t, err, "a changed file counts at once")
	for _, text := range []string{"usres: {}", "users: {a: [1, {}]}", "users: {a: ['cn=,x']}", "users: {a: [], a: []}", strings.Repeat("#", maxFileBytes+1)} {
		write(text)
		_, err = f.Lookup(t.Context(), "a")
		assert.ErrorIs(t, err, ErrUnavailable, "%.30s", text)
		_, err = NewFile(path, time.Now)
		assert.Error(t, err, "%.30s", text)
	}
	require.NoError(t, os.Remove(path))
	_, err = f.Lookup(t.Context(), "a")
	assert.ErrorIs(t, err, ErrUnavailable)
}

type lister func() ([]v1alpha1.GroupPolicy, error)

func (l lister) Policies(context.Context) ([]v1alpha1.GroupPolicy, error) { return l() }

func service(t *testing.T, policies ...v1alpha1.GroupPolicy) (*Service, *script) {
	t.Helper()
	s := newScript(&clock{})
	cache, err := NewCache(s, DefaultCacheConfig(), time.Now, prometheus.NewRegistry())
	require.NoError(t, err)
	return NewService(cache, lister(func() ([]v1alpha1.GroupPolicy, error) { return policies, nil }), MatchPriority), s
}

func TestService(t *testing.T) {
	s, source := service(t, policy("one", 0, "g"))
	a, err := s.Allowance(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, []string{"one"}, a.Policies)
	source.answer = down
	_, err = s.AllowanceNow(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrUnavailable)

	s.policies = lister(func() ([]v1alpha1.GroupPolicy, error) { return nil, errors.New("not synced") })
	source.answer = newScript(&clock{}).answer
	_, err = s.Allowance(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrUnavailable, "no policies known is not the same as no policies")
}

func TestExplain(t *testing.T) {
	s, _ := service(t, policy("high", 9, "g"), broken(policy("low", 1, "g")), fallback("rest", 50), policy("other", 99, "x"))
	e := s.Explain(t.Context(), "alice")
	require.NotNil(t, e.Allowance)
	assert.Equal(t, []string{"high"}, e.Allowance.Policies)
	assert.Equal(t, "script", e.Source)
	assert.Empty(t, e.Fault)
	g := []Group{{Name: "g"}}
	require.Len(t, e.Policies, 4)
	assert.Equal(t, PolicyVerdict{Name: "high", Priority: 9, Applied: true, Because: "names g and has the highest priority", MatchedBy: g}, e.Policies[0])
	assert.Equal(t, "low", e.Policies[1].Name)
	assert.Equal(t, "names g, but high comes first", e.Policies[1].Because)
	assert.Len(t, e.Policies[1].Faults, 1)
	assert.Equal(t, PolicyVerdict{Name: "rest", Priority: 50, Because: "is a default; high comes first"}, e.Policies[2])
	assert.Equal(t, PolicyVerdict{Name: "other", Priority: 99, Because: "names none of the user's groups"}, e.Policies[3])

	var text strings.Builder
	require.NoError(t, e.WriteText(&text))
	for _, part := range []string{`user      "alice"`, "group     g", "applies   high, priority 9", "fault: spec.cpu.max", "cpu       1 to 4, step 1, default 1, request 0.33 of the limit", "image     stable: example/notebook:1", "kernels   none"} {
		assert.Contains(t, text.String(), part)
	}
}

func TestExplainFaults(t *testing.T) {
	s, source := service(t, broken(policy("one", 0, "g")), policy("two", -1, "g"))
	e := s.Explain(t.Context(), "alice")
	assert.Nil(t, e.Allowance)
	assert.Contains(t, e.Fault, `invalid policy "one"`)
	assert.False(t, e.Policies[0].Applied)
	assert.Equal(t, "names g, but has faults; nothing is given in its place", e.Policies[0].Because)
	source.answer = down
	e = s.Explain(t.Context(), "bob")
	assert.Contains(t, e.Fault, ErrUnavailable.Error())
	assert.Empty(t, e.Policies)
}

func TestCanonicalDN(t *testing.T) {
	for _, same := range [][]string{
		{"cn=a,dc=org", "CN=A,DC=ORG", " cn = a , dc = org ", `cn=\61,dc=org`, "cn=a;dc=org"},
		{`cn=a\,b,dc=org`, `cn=a\2Cb,dc=org`, `cn=A\2cB,dc=org`},
		{"cn=a+uid=b,dc=org", "UID=B+CN=A,dc=org"},
		{"cn=a,ou=b,dc=org", "2.5.4.3=a,organizationalUnitName=b,0.9.2342.19200300.100.1.25=org", "commonName=a,OU=b,domainComponent=ORG"},
		{"cn=abc,dc=org", "cn=#0c03616263,dc=org", "cn=#0C03414243,DC=org"},
		{`cn=Й,dc=org`, `cn=й,dc=org`, `cn=\D0\99,dc=org`},
	} {
		for _, text := range same[1:] {
			want, err := canonicalDN(same[0])
			require.NoError(t, err)
			got, err := canonicalDN(text)
			require.NoError(t, err)
			assert.Equal(t, want, got, text)
		}
	}
	distinct := map[string]string{}
	for _, text := range []string{"cn=a,dc=org", "cn=a,dc=org,dc=x", "cn=a+dc=org", `cn=a\,dc=org`, `cn=a\+dc\=org`, "cn=a,cn=dc,dc=org", "cn=а,dc=org", "cn=ａ,dc=org", "uid=a,dc=org"} {
		key, err := canonicalDN(text)
		require.NoError(t, err)
		assert.Empty(t, distinct[key], text)
		distinct[key] = text
	}
	for _, text := range []string{"", " ", "a", "cn=a,", "cn=a,b", `cn=a\`, "cn=\xda", `cn=\da`, "cn=" + strings.Repeat("a", maxDNBytes)} {
		_, err := canonicalDN(text)
		assert.Error(t, err, "%.20s", text)
	}
}

// Escaping a value into a DN and reading it back gives the value.
func FuzzCommonName(f *testing.F) {
	for _, s := range []string{"a", "a,b", " a ", "#x", `\`, "a+b=c", "\x00", "é", `"`, "<>;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if value == "" || len(value) > 500 || !utf8.ValidString(value) {
			return
		}
		dn := "cn=" + ldap.EscapeDN(value) + ",dc=org"
		got, err := groupName(dn)
		require.NoError(t, err)
		assert.Equal(t, value, got)
	})
}

// Whatever the user's name, the filter stays one equality on that name.
func FuzzUserFilter(f *testing.F) {
	for _, s := range []string{"alice", "*", ")(uid=*", `\`, "\x00", "é", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, user string) {
		packet, err := ldap.CompileFilter(userFilter(LDAPConfig{UserAttribute: "uid"}, user))
		require.NoError(t, err)
		require.Equal(t, uint64(ldap.FilterEqualityMatch), uint64(packet.Tag))
		require.Len(t, packet.Children, 2)
		assert.Equal(t, "uid", packet.Children[0].Data.String())
		assert.Equal(t, user, packet.Children[1].Data.String())
	})
}
