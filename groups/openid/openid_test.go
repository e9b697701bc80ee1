package openid_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/openid"
	"github.com/elastichub/elastichub/groups/sourcetest"
	"github.com/elastichub/elastichub/test/oidctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shifted is a clock that a test moves.
type shifted struct{ by atomic.Int64 }

func (s *shifted) now() time.Time       { return time.Now().Add(time.Duration(s.by.Load())) }
func (s *shifted) move(d time.Duration) { s.by.Add(int64(d)) }

const api = "urn:elastichub"

func configFor(p *oidctest.Provider, from openid.From) openid.Config {
	c := openid.DefaultConfig()
	c.Issuer, c.AllowPlaintext, c.From = p.Issuer, true, from
	c.Timeout = 500 * time.Millisecond
	switch from {
	case openid.FromIDToken:
		c.Audience = oidctest.Client
	case openid.FromAccessToken:
		c.Audience = api
	case openid.FromUserInfo:
	}
	return c
}

func newSource(t *testing.T, c openid.Config) (*openid.Source, *shifted) {
	t.Helper()
	clock := &shifted{}
	s, err := openid.New(c, clock.now)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s, clock
}

// signIn is what the Hub would send after a sign-in.
func signIn(p *oidctest.Provider, user string, from openid.From) groups.SignIn {
	resource := ""
	if from == openid.FromAccessToken {
		resource = api
	}
	tokens := p.SignIn(user, oidctest.Client, resource)
	return groups.SignIn{IDToken: groups.Token(tokens.ID), AccessToken: groups.Token(tokens.Access)}
}

func names(m groups.Membership) []string {
	all := []string{}
	for _, g := range m.Groups {
		all = append(all, g.Name)
	}
	return all
}

func TestConforms(t *testing.T) {
	provider := oidctest.Start(t)
	provider.Account(sourcetest.Member, map[string]any{"groups": []string{sourcetest.Research, sourcetest.Staff}})
	provider.Account(sourcetest.Loner, map[string]any{})
	for _, from := range []openid.From{openid.FromIDToken, openid.FromAccessToken, openid.FromUserInfo} {
		t.Run(string(from), func(t *testing.T) {
			s, _ := newSource(t, configFor(provider, from))
			for _, user := range []string{sourcetest.Member, sourcetest.Loner} {
				s.Present(user, signIn(provider, user, from))
			}
			f := sourcetest.Fixture{Source: s, Name: "oidc", Absent: groups.ErrSignInExpired}
			if from == openid.FromUserInfo {
				// Tokens are verified without the provider, this is not.
				f.Break = func(t *testing.T) { provider.Fault("error") }
				f.Restore = func(t *testing.T) { provider.Fault("") }
			}
			sourcetest.Conformance(t, f)
		})
	}
}

func TestGroupsAreWhereTheyAreSaidToBe(t *testing.T) {
	provider := oidctest.Start(t)
	provider.Account("alice", map[string]any{
		"groups":       []string{"ml", "/staff/berlin", "cn=admins,dc=org", "ml"},
		"realm_access": map[string]any{"roles": []string{"ops"}, "https://example.org/teams": "one", "count": 3, "nested": []any{"a", 1}},
	})
	s := signIn(provider, "alice", openid.FromIDToken)
	for _, row := range []struct {
		claims []string
		prefix string
		want   []string
		fault  string
	}{
		{claims: []string{"groups"}, want: []string{"ml", "/staff/berlin", "cn=admins,dc=org"}},
		{claims: []string{"realm_access.roles"}, want: []string{"ops"}},
		{claims: []string{"groups", "realm_access.roles"}, prefix: "oidc:", want: []string{"oidc:ml", "oidc:/staff/berlin", "oidc:cn=admins,dc=org", "oidc:ops"}},
		{claims: []string{`realm_access.https://example\.org/teams`}, want: []string{"one"}},
		{claims: []string{"nothing"}, want: []string{}},
		{claims: []string{"realm_access.nothing.deeper"}, want: []string{}},
		{claims: []string{"realm_access"}, fault: "not a list of names"},
		{claims: []string{"realm_access.count"}, fault: "not a list of names"},
		{claims: []string{"realm_access.nested"}, fault: "not a list of names"},
		{claims: []string{"groups.deeper"}, fault: `"groups" is no object`},
	} {
		t.Run(strings.Join(row.claims, " "), func(t *testing.T) {
			c := configFor(provider, openid.FromIDToken)
			c.GroupsClaims, c.GroupPrefix = row.claims, row.prefix
			source, _ := newSource(t, c)
			source.Present("alice", s)
			m, err := source.Lookup(t.Context(), "alice")
			if row.fault != "" {
				assert.ErrorIs(t, err, groups.ErrUnavailable)
				assert.ErrorContains(t, err, row.fault)
				assert.Equal(t, groups.Membership{}, m)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, row.want, names(m))
			for _, g := range m.Groups {
				assert.Empty(t, g.DN, "a provider's name is no DN")
			}
		})
	}
	t.Run("too many for a token", func(t *testing.T) {
		provider.Account("bob", map[string]any{"_claim_names": map[string]string{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]string{"endpoint": "https://graph.example/"}}})
		source, _ := newSource(t, configFor(provider, openid.FromIDToken))
		source.Present("bob", signIn(provider, "bob", openid.FromIDToken))
		_, err := source.Lookup(t.Context(), "bob")
		assert.ErrorIs(t, err, groups.ErrUnavailable)
		assert.ErrorContains(t, err, "let it send fewer")
	})
}

// Every way to a token that is not the user's, or not for us, or not from there.
func TestTokensThatAreRefused(t *testing.T) {
	provider, stranger := oidctest.Start(t), oidctest.Start(t)
	for _, p := range []*oidctest.Provider{provider, stranger} {
		p.Account("alice", map[string]any{"groups": []string{"ml"}})
		p.Account("eve", map[string]any{"groups": []string{"admins"}})
	}
	good := provider.SignIn("alice", oidctest.Client, "")
	now := time.Now().Unix()
	claims := func(change func(map[string]any)) map[string]any {
		c := map[string]any{"iss": provider.Issuer, "sub": "alice", "aud": oidctest.Client, "preferred_username": "alice",
			"exp": now + 600, "iat": now, "groups": []string{"ml"}}
		if change != nil {
			change(c)
		}
		return c
	}
	sign := func(change func(map[string]any)) string { return provider.Sign(claims(change), nil) }
	parts := strings.Split(good.ID, ".")
	text := func(v any) string {
		raw, err := json.Marshal(v)
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	unsigned := text(map[string]any{"alg": "none"}) + "." + text(claims(nil)) + "."
	symmetric := text(map[string]any{"alg": "HS256"}) + "." + text(claims(nil))
	mac := hmac.New(sha256.New, []byte(provider.Issuer))
	mac.Write([]byte(symmetric))
	symmetric += "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))

	lookup := func(t *testing.T, token string) (groups.Membership, error) {
		t.Helper()
		s, _ := newSource(t, configFor(provider, openid.FromIDToken))
		s.Present("alice", groups.SignIn{IDToken: groups.Token(token)})
		m, err := s.Lookup(t.Context(), "alice")
		if err != nil && len(token) > 8 {
			assert.NotContains(t, err.Error(), token)
		}
		return m, err
	}
	t.Run("those that are good", func(t *testing.T) {
		for name, token := range map[string]string{
			"from a sign-in": good.ID, "signed by hand": sign(nil), "without kid": provider.Sign(claims(nil), map[string]any{"kid": nil}),
			"typ JWT":           provider.Sign(claims(nil), map[string]any{"typ": "JWT"}),
			"several audiences": sign(func(c map[string]any) { c["aud"] = []string{"x", oidctest.Client} }),
			"case of the name":  sign(func(c map[string]any) { c["preferred_username"] = "Alice" }),
		} {
			m, err := lookup(t, token)
			require.NoError(t, err, name)
			assert.Equal(t, []string{"ml"}, names(m), name)
		}
	})
	for name, token := range map[string]string{
		"wrong audience":      provider.SignIn("alice", oidctest.Other, "").ID,
		"no audience":         sign(func(c map[string]any) { delete(c, "aud") }),
		"audience in part":    sign(func(c map[string]any) { c["aud"] = "jupyter" }),
		"another provider's":  stranger.SignIn("alice", oidctest.Client, "").ID,
		"another's signature": stranger.Sign(claims(nil), nil),
		"another's, our kid":  stranger.Sign(claims(nil), map[string]any{"kid": header(t, good.ID)["kid"]}),
		"wrong issuer":        sign(func(c map[string]any) { c["iss"] = stranger.Issuer }),
		"issuer with a slash": sign(func(c map[string]any) { c["iss"] = provider.Issuer + "/" }),
		"another user's":      provider.SignIn("eve", oidctest.Client, "").ID,
		"nobody's":            sign(func(c map[string]any) { delete(c, "preferred_username") }),
		"name is a number":    sign(func(c map[string]any) { c["preferred_username"] = 5 }),
		"look-alike":          sign(func(c map[string]any) { c["preferred_username"] = "аlice" }),
		"no expiry":           sign(func(c map[string]any) { delete(c, "exp") }),
		"no time of issue":    sign(func(c map[string]any) { delete(c, "iat") }),
		"not yet":             sign(func(c map[string]any) { c["nbf"] = now + 120 }),
		"from the future":     sign(func(c map[string]any) { c["iat"] = now + 120 }),
		"an access token":     provider.Sign(claims(nil), map[string]any{"typ": "at+jwt"}),
		"a logout token":      provider.Sign(claims(nil), map[string]any{"typ": "logout+jwt"}),
		"alg none":            unsigned,
		"alg none, signature": unsigned + parts[2],
		"symmetric":           symmetric,
		"cut off":             good.ID[:10],
		"signature cut off":   parts[0] + "." + parts[1] + ".",
		"signature changed":   good.ID[:len(good.ID)-6] + "AAAAAA",
		"payload changed":     parts[0] + "." + text(claims(func(c map[string]any) { c["groups"] = []string{"admins"} })) + "." + parts[2],
		"two parts":           parts[0] + "." + parts[1],
		"not a token":         "token",
		"NUL":                 good.ID + "\x00",
		"very long":           good.ID + strings.Repeat("A", openid.MaxTokenBytes),
		"encrypted":           good.ID + "." + parts[1] + "." + parts[2],
		"JSON serialisation":  fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, parts[1], parts[0], parts[2]),
	} {
		t.Run(name, func(t *testing.T) {
			m, err := lookup(t, token)
			assert.ErrorIs(t, err, groups.ErrSignInAgain)
			assert.NotErrorIs(t, err, groups.ErrSignInExpired, "a cache must not bridge it")
			assert.Equal(t, groups.Membership{}, m)
		})
	}
	t.Run("ES256 only if wanted", func(t *testing.T) {
		c := configFor(provider, openid.FromIDToken)
		c.Audience = oidctest.Elliptic
		token := groups.SignIn{IDToken: groups.Token(provider.SignIn("alice", oidctest.Elliptic, "").ID)}
		for _, algorithms := range [][]string{{"RS256", "ES256"}, {"ES256"}, {"RS256"}} {
			c.Algorithms = algorithms
			s, _ := newSource(t, c)
			s.Present("alice", token)
			_, err := s.Lookup(t.Context(), "alice")
			if len(algorithms) == 1 && algorithms[0] == "RS256" {
				assert.ErrorIs(t, err, groups.ErrSignInAgain)
			} else {
				assert.NoError(t, err, algorithms)
			}
		}
	})
	t.Run("the Hub is believed whose token it is, if so configured", func(t *testing.T) {
		c := configFor(provider, openid.FromIDToken)
		c.UsernameClaim = ""
		s, _ := newSource(t, c)
		s.Present("renamed", groups.SignIn{IDToken: groups.Token(good.ID)})
		m, err := s.Lookup(t.Context(), "renamed")
		require.NoError(t, err)
		assert.Equal(t, "renamed", m.User)
	})
}

func header(t *testing.T, token string) map[string]any {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	require.NoError(t, err)
	var h map[string]any
	require.NoError(t, json.Unmarshal(raw, &h))
	return h
}

func TestTokensExpire(t *testing.T) {
	provider := oidctest.Start(t)
	provider.Account("alice", nil)
	now := time.Now().Truncate(time.Second)
	token := provider.Sign(map[string]any{"iss": provider.Issuer, "sub": "alice", "aud": oidctest.Client, "preferred_username": "alice",
		"exp": now.Add(5 * time.Minute).Unix(), "iat": now.Add(-time.Minute).Unix(), "nbf": now.Add(20 * time.Second).Unix(), "groups": []string{"ml"}}, nil)
	s, clock := newSource(t, configFor(provider, openid.FromIDToken))
	cache, err := groups.NewCache(s, groups.CacheConfig{TTL: time.Minute, StaleLimit: 10 * time.Minute, Timeout: 5 * time.Second, Size: 10}, clock.now, prometheus.NewRegistry())
	require.NoError(t, err)
	s.Present("alice", groups.SignIn{IDToken: groups.Token(token)})

	m, err := s.Lookup(t.Context(), "alice")
	require.NoError(t, err, "the leeway covers nbf")
	assert.Equal(t, now.Add(-time.Minute).Unix(), m.AsOf.Unix(), "as of the time of issue")
	clock.move(5*time.Minute + 25*time.Second)
	m, err = cache.Refresh(t.Context(), "alice")
	require.NoError(t, err, "the leeway covers exp")
	assert.False(t, m.Stale)

	clock.move(10 * time.Second)
	_, err = s.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, groups.ErrSignInExpired)
	m, err = cache.Refresh(t.Context(), "alice")
	require.NoError(t, err, "what was verified last, for a while")
	assert.True(t, m.Stale)
	clock.move(10 * time.Minute)
	_, err = cache.Refresh(t.Context(), "alice")
	assert.ErrorIs(t, err, groups.ErrSignInAgain, "then nothing")

	provider.Account("alice", map[string]any{"groups": []string{"new"}})
	clock.by.Store(0)
	s.Present("alice", signIn(provider, "alice", openid.FromIDToken))
	m, err = cache.Refresh(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, []string{"new"}, names(m))
}

func TestKeysAreChangedWhileRunning(t *testing.T) {
	provider := oidctest.Start(t)
	provider.Account("alice", map[string]any{"groups": []string{"ml"}})
	s, clock := newSource(t, configFor(provider, openid.FromIDToken))
	old := signIn(provider, "alice", openid.FromIDToken)
	s.Present("alice", old)
	_, err := s.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	asked := provider.Requests()
	for range 5 {
		_, err = s.Lookup(t.Context(), "alice")
		require.NoError(t, err)
	}
	assert.Equal(t, asked, provider.Requests(), "keys are remembered")

	provider.Rotate()
	s.Present("alice", signIn(provider, "alice", openid.FromIDToken))
	asked = provider.Requests()
	for range 5 {
		_, err = s.Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, groups.ErrSignInAgain)
	}
	assert.Equal(t, asked, provider.Requests(), "unknown keys do not make for many requests")
	clock.move(11 * time.Second)
	m, err := s.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, []string{"ml"}, names(m))
	assert.Equal(t, asked+1, provider.Requests())

	s.Present("alice", old)
	_, err = s.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, groups.ErrSignInAgain, "a key that is withdrawn")
}

// A withdrawn key ends in time, even if no token of a new one comes by.
func TestWithdrawnKeysAreNotKept(t *testing.T) {
	provider := oidctest.Start(t)
	provider.Account("alice", map[string]any{"groups": []string{"ml"}})
	s, clock := newSource(t, configFor(provider, openid.FromIDToken))
	s.Present("alice", signIn(provider, "alice", openid.FromIDToken))
	_, err := s.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	provider.Rotate()
	clock.move(9 * time.Minute)
	_, err = s.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	clock.move(time.Minute)
	_, err = s.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, groups.ErrSignInAgain)
}

func TestProviderThatAnswersBadly(t *testing.T) {
	provider := oidctest.Start(t)
	provider.Account("alice", map[string]any{"groups": []string{"ml"}})
	for _, from := range []openid.From{openid.FromIDToken, openid.FromUserInfo} {
		token := signIn(provider, "alice", from)
		for _, fault := range []string{"hang", "error", "html", "huge", "redirect"} {
			t.Run(string(from)+" "+fault, func(t *testing.T) {
				s, _ := newSource(t, configFor(provider, from))
				s.Present("alice", token)
				provider.Fault(fault)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				m, err := s.Lookup(ctx, "alice")
				provider.Fault("")
				assert.ErrorIs(t, err, groups.ErrUnavailable)
				assert.NotErrorIs(t, err, groups.ErrSignInAgain)
				assert.Equal(t, groups.Membership{}, m)
				assert.NoError(t, ctx.Err())
				assert.NotContains(t, err.Error(), string(token.IDToken))
				assert.NotContains(t, err.Error(), string(token.AccessToken))
			})
		}
	}
	t.Run("keys are kept for a while", func(t *testing.T) {
		s, clock := newSource(t, configFor(provider, openid.FromIDToken))
		long := provider.Sign(map[string]any{"iss": provider.Issuer, "sub": "alice", "aud": oidctest.Client, "preferred_username": "alice",
			"exp": time.Now().Add(5 * time.Hour).Unix(), "iat": time.Now().Unix()}, nil)
		s.Present("alice", groups.SignIn{IDToken: groups.Token(long)})
		_, err := s.Lookup(t.Context(), "alice")
		require.NoError(t, err)
		provider.Fault("error")
		defer provider.Fault("")
		clock.move(59 * time.Minute)
		_, err = s.Lookup(t.Context(), "alice")
		assert.NoError(t, err)
		clock.move(2 * time.Minute)
		_, err = s.Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, groups.ErrUnavailable)
	})
	t.Run("not there", func(t *testing.T) {
		c := configFor(provider, openid.FromIDToken)
		c.Issuer = "http://127.0.0.1:1"
		s, _ := newSource(t, c)
		s.Present("alice", signIn(provider, "alice", openid.FromIDToken))
		_, err := s.Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, groups.ErrUnavailable)
	})
	t.Run("another issuer by that address", func(t *testing.T) {
		c := configFor(provider, openid.FromIDToken)
		c.Issuer = strings.Replace(provider.Issuer, "127.0.0.1", "localhost", 1)
		s, _ := newSource(t, c)
		s.Present("alice", signIn(provider, "alice", openid.FromIDToken))
		_, err := s.Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, groups.ErrUnavailable)
	})
}

func TestUserInfo(t *testing.T) {
	provider := oidctest.Start(t)
	provider.Account("alice", map[string]any{"groups": []string{"ml"}})
	provider.Account("eve", map[string]any{"groups": []string{"admins"}})
	s, clock := newSource(t, configFor(provider, openid.FromUserInfo))
	s.Present("alice", signIn(provider, "alice", openid.FromUserInfo))
	provider.Account("alice", map[string]any{"groups": []string{"moved"}})
	m, err := s.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, []string{"moved"}, names(m), "as of now, not as of the sign-in")
	assert.WithinDuration(t, clock.now(), m.AsOf, time.Second)

	s.Present("alice", signIn(provider, "eve", openid.FromUserInfo))
	_, err = s.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, groups.ErrSignInAgain)
	assert.NotErrorIs(t, err, groups.ErrSignInExpired, "another user's token")
	for _, token := range []groups.Token{"rubbish", "with space", "with\r\nHeader: x", "\x00"} {
		s.Present("alice", groups.SignIn{AccessToken: token})
		m, err = s.Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, groups.ErrSignInAgain, "%q", string(token))
		assert.Equal(t, groups.Membership{}, m)
	}
}
