package ldap

import (
	"encoding/hex"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/internal/slapdtest"
)

// domainUser is S-1-5-21-1-4294967295-3-1000.
const domainUser = "010500000000000515000000" + "01000000" + "ffffffff" + "03000000" + "e8030000"

func TestSiblingSID(t *testing.T) {
	for _, row := range []struct{ sid, number, want string }{
		{domainUser, "513", "S-1-5-21-1-4294967295-3-513"},
		{"0101000000000005" + "0b000000", "4294967295", "S-1-5-4294967295"},
		{"0101010000000002" + "0b000000", "1", "S-1-1099511627778-1"},
		{domainUser, "4294967296", ""},
		{domainUser, "-1", ""},
		{domainUser, "5>,dc=x", ""},
		{domainUser[:len(domainUser)-2], "513", ""},
		{domainUser + "00", "513", ""},
		{"02" + domainUser[2:], "513", ""},
		{"0100000000000005", "513", ""},
		{"01", "513", ""},
	} {
		sid, err := hex.DecodeString(row.sid)
		require.NoError(t, err)
		got, err := siblingSID(sid, row.number)
		assert.Equal(t, row.want, got, "%s %s", row.sid, row.number)
		assert.Equal(t, row.want == "", err != nil, "%s %s: %v", row.sid, row.number, err)
	}
}

func TestPrimaryGroupThatCannotBeRead(t *testing.T) {
	sid, err := hex.DecodeString(domainUser)
	require.NoError(t, err)
	for _, row := range []struct {
		name   string
		sid    string
		code   uint16
		reason error
	}{
		{"hidden", string(sid), ldap.LDAPResultNoSuchObject, nil},
		{"a proxy", string(sid), ldap.LDAPResultInvalidDNSyntax, nil},
		{"no answer", string(sid), ldap.LDAPResultBusy, groups.ErrUnavailable},
		{"no SID", "S-1-5-21-1-2-3-1000", ldap.LDAPResultSuccess, groups.ErrOneUser},
	} {
		t.Run(row.name, func(t *testing.T) {
			server := newScriptedLDAP(t, func(q ldapSearch) reply {
				switch q.base {
				case slapdtest.People:
					return reply{entries: []*ldap.Entry{ldap.NewEntry("uid=alice,"+slapdtest.People, map[string][]string{
						"uid": {"alice"}, "memberOf": {"cn=a,dc=x"}, "objectSid": {row.sid}, "primaryGroupID": {"513"},
					})}}
				case "<SID=S-1-5-21-1-4294967295-3-513>":
					return reply{code: row.code}
				default:
					return reply{code: ldap.LDAPResultOther}
				}
			})
			c := directoryConfig(server.URL)
			c.GroupBase = ""
			m, err := source(t, c).Lookup(t.Context(), "alice")
			if row.reason == nil {
				require.NoError(t, err)
				assert.Equal(t, []groups.Group{{Name: "a", DN: "cn=a,dc=x"}}, m.Groups)
				return
			}
			assert.ErrorIs(t, err, row.reason)
			assert.ErrorIs(t, err, groups.ErrUnavailable)
			assert.Equal(t, groups.Membership{}, m)
		})
	}
}
