package openid

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConfigFaults(t *testing.T) {
	c := Config{Issuer: "http://x", From: "cookie", GroupPrefix: string(make([]byte, 65)), GroupsClaims: []string{"a..b"},
		Algorithms: []string{"none", "HS256"}, Leeway: time.Hour}
	err := c.Validate()
	for _, field := range []string{"issuer", "from", "groupPrefix", "groupsClaims[0]", "algorithms[0]", "algorithms[1]", "leeway", "timeout"} {
		assert.ErrorContains(t, err, field+": ")
	}
	_, err = New(c, time.Now)
	assert.Error(t, err)

	good := DefaultConfig()
	good.Issuer = "https://idp.example/realms/x"
	assert.ErrorContains(t, good.Validate(), "audience: required")
	good.Audience = "hub"
	assert.NoError(t, good.Validate())
	good.From = FromUserInfo
	assert.ErrorContains(t, good.Validate(), "audience: nobody")
	good.Audience = ""
	assert.NoError(t, good.Validate())
	for _, issuer := range []string{"", "idp", "ftp://idp", "https://u:secret@idp", "https://idp#x", "::"} {
		good.Issuer = issuer
		err := good.Validate()
		assert.ErrorContains(t, err, "issuer: ", issuer)
		assert.NotContains(t, err.Error(), "secret")
	}
	good.Issuer, good.CAFile = "https://idp", "/nowhere"
	_, err = New(good, time.Now)
	assert.ErrorContains(t, err, "caFile")
}

func TestSteps(t *testing.T) {
	for path, want := range map[string][]string{
		"groups": {"groups"}, "realm_access.roles": {"realm_access", "roles"}, `https://example\.org/groups`: {"https://example.org/groups"},
		`a\\.b`: {`a\`, "b"}, "a.": {"a", ""}, "": {""}, `a\`: {`a\`},
	} {
		assert.Equal(t, want, splitPath(path), path)
	}
}

// Whatever the claims are, groups are names, or there is an error.
func FuzzGroupsOf(f *testing.F) {
	for _, s := range []string{`{"groups":["a"]}`, `{"groups":{"a":[["x"]]}}`, `{"groups":"x"}`, `{"groups":[""]}`, `{"a":{"b":["c",1]}}`, `{"_claim_names":{"a":1}}`} {
		f.Add(s, "groups")
		f.Add(s, "a.b")
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		var claims map[string]any
		if json.Unmarshal([]byte(text), &claims) != nil {
			return
		}
		found, err := groupsOf(claims, []string{path}, "p:")
		if err != nil {
			require.Empty(t, found)
			return
		}
		for _, g := range found {
			assert.Greater(t, len(g.Name), 2)
			assert.Empty(t, g.DN)
		}
	})
}

func TestKeysThatAreNoneAreLeftAlone(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON": "<", "no keys": `{"keys":[]}`, "symmetric": `{"keys":[{"kty":"oct","k":"AAAA"}]}`, "for encryption": `{"keys":[{"kty":"RSA","use":"enc","n":"sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1Wl","e":"AQAB"}]}`,
		"unknown": `{"keys":[{"kty":"quantum"}]}`, "many": `{"keys":[` + string(make([]byte, 0)) + `]}`,
	} {
		_, err := parseKeys([]byte(text))
		assert.Error(t, err, name)
	}
	found, err := parseKeys([]byte(`{"keys":[{"kty":"quantum"},{"kty":"RSA","kid":"k","n":"sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1Wl","e":"AQAB"}]}`))
	require.NoError(t, err)
	require.Len(t, found, 1)
	assert.Equal(t, "k", found[0].KeyID)
}
