package naming

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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
			want, err := CanonicalDN(same[0])
			require.NoError(t, err)
			got, err := CanonicalDN(text)
			require.NoError(t, err)
			assert.Equal(t, want, got, text)
		}
	}
	distinct := map[string]string{}
	for _, text := range []string{"cn=a,dc=org", "cn=a,dc=org,dc=x", "cn=a+dc=org", `cn=a\,dc=org`, `cn=a\+dc\=org`, "cn=a,cn=dc,dc=org", "cn=а,dc=org", "cn=ａ,dc=org", "uid=a,dc=org"} {
		key, err := CanonicalDN(text)
		require.NoError(t, err)
		assert.Empty(t, distinct[key], text)
		distinct[key] = text
	}
	for _, text := range []string{"", " ", "a", "cn=a,", "cn=a,b", `cn=a\`, "cn=\xda", `cn=\da`, "cn=" + strings.Repeat("a", maxDNBytes)} {
		_, err := CanonicalDN(text)
		assert.Error(t, err, "%.20s", text)
	}
}

// Escaping a value into a DN and reading it back gives the value.
func FuzzGroupName(f *testing.F) {
	for _, s := range []string{"a", "a,b", " a ", "#x", `\`, "a+b=c", "\x00", "é", `"`, "<>;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if value == "" || len(value) > 500 || !utf8.ValidString(value) {
			return
		}
		dn := "cn=" + ldap.EscapeDN(value) + ",dc=org"
		got, err := GroupName(dn)
		require.NoError(t, err)
		assert.Equal(t, value, got)
	})
}

func TestCanonicalDNsRememberedAreBounded(t *testing.T) {
	for i := range 3 * rememberedDNs {
		text := fmt.Sprintf("cn=bounded-%d,dc=org", i)
		for range 2 {
			got, err := CanonicalDN(strings.ToUpper(text))
			require.NoError(t, err)
			require.Equal(t, text, got)
		}
	}
	long := "cn=" + strings.Repeat("x", rememberedDNBytes) + ",dc=org"
	_, err := CanonicalDN(long)
	require.NoError(t, err)
	canonical.mu.RLock()
	defer canonical.mu.RUnlock()
	assert.LessOrEqual(t, len(canonical.found), rememberedDNs)
	assert.NotContains(t, canonical.found, long)
}

func TestBelow(t *testing.T) {
	assert.True(t, Below("cn=a,ou=groups,dc=x", "ou=groups,dc=x"))
	assert.False(t, Below("cn=a,ou=mygroups,dc=x", "ou=groups,dc=x"))
	assert.False(t, Below(`cn=a\2cou=groups,dc=y`, "ou=groups,dc=x"))
	assert.False(t, Below("dc=x", "ou=groups,dc=x"))
}
