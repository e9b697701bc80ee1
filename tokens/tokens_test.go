package tokens

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var alice = Notebook{Namespace: "hub", Name: "jupyter-alice", UID: "u-1", Start: "s-1", User: "alice"}

func newPair(t *testing.T, seed byte) (*Issuer, *Verifier) {
	t.Helper()
	issuer, err := NewIssuer(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	require.NoError(t, err)
	verifier, err := NewVerifier(" " + issuer.PublicKey() + "\n")
	require.NoError(t, err)
	return issuer, verifier
}

func TestTokenCarriesTheNotebook(t *testing.T) {
	t.Parallel()
	issuer, verifier := newPair(t, 1)
	token, err := issuer.Issue(alice)
	require.NoError(t, err)
	got, err := verifier.Verify(token)
	require.NoError(t, err)
	assert.Equal(t, alice, got)

	again, err := issuer.Issue(alice)
	require.NoError(t, err)
	assert.Equal(t, token, again, "a repeated reconcile must not change a Secret")
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	issuer, verifier := newPair(t, 1)
	good, err := issuer.Issue(alice)
	require.NoError(t, err)
	foreign, _ := newPair(t, 2)
	forged, err := foreign.Issue(alice)
	require.NoError(t, err)
	nameless, err := issuer.Issue(Notebook{Namespace: "hub", UID: "u-1"})
	require.NoError(t, err)
	parts := strings.Split(good, ".")

	// Signed with our key, as a token for something else.
	elsewhere, err := jwt.Signed(issuer.current().signer).Claims(claims{
		Claims: jwt.Claims{Issuer: issuerName, Audience: jwt.Audience{"another service"}}, Namespace: "hub", Name: "n", UID: "u",
	}).Serialize()
	require.NoError(t, err)

	// The public key, which every gateway holds, used as a secret.
	hmacSigner, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(verifier.keys[0].public)}, nil)
	require.NoError(t, err)
	confused, err := jwt.Signed(hmacSigner).Claims(claims{
		Claims: jwt.Claims{Issuer: issuerName, Audience: jwt.Audience{audience}}, Namespace: "hub", Name: "n", UID: "u",
	}).Serialize()
	require.NoError(t, err)

	for name, token := range map[string]string{
		"empty":               "",
		"not a JWT":           "hello",
		"another key":         forged,
		"another payload":     parts[0] + "." + strings.Split(nameless, ".")[1] + "." + parts[2],
		"no signature":        parts[0] + "." + parts[1] + ".",
		"names no notebook":   nameless,
		"another audience":    elsewhere,
		"algorithm confusion": confused,
	} {
		_, err := verifier.Verify(token)
		assert.ErrorIs(t, err, ErrInvalid, name)
	}
}

func TestKeysOfTheWrongSize(t *testing.T) {
	t.Parallel()
	_, err := NewIssuer([]byte("short"))
	assert.ErrorContains(t, err, "5 bytes")
	for _, key := range []string{"", "AAAA", "not base64"} {
		_, err := NewVerifier(key)
		assert.ErrorContains(t, err, "32 bytes", key)
	}
}

// TestATokenDoesNotEnd: a server that runs for years has the one of its first day.
func TestATokenDoesNotEnd(t *testing.T) {
	t.Parallel()
	issuer, verifier := newPair(t, 1)
	token, err := issuer.Issue(alice)
	require.NoError(t, err)
	for _, days := range []int{-1, 1, 400, 40000} {
		verifier.now = func() time.Time { return time.Now().AddDate(0, 0, days) }
		_, err := verifier.Verify(token)
		assert.NoError(t, err, "after %d days", days)
	}
}

func TestTokensOfSeveralKeysCount(t *testing.T) {
	t.Parallel()
	seed := func(n byte) []byte { return bytes.Repeat([]byte{n}, ed25519.SeedSize) }
	former, formerVerifier := newPair(t, 1)
	next, _ := newPair(t, 3)
	old, err := former.Issue(alice)
	require.NoError(t, err)
	coming, err := next.Issue(alice)
	require.NoError(t, err)

	issuer, err := NewIssuer(seed(1))
	require.NoError(t, err)
	changed := issuer.Changed()
	until := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	require.NoError(t, issuer.Replace(Seeds{Current: seed(2), Next: seed(3), Former: seed(1), FormerUntil: until, Mark: "m"}))
	assert.Len(t, changed, 1)
	assert.Equal(t, "m", issuer.Mark())
	token, err := issuer.Issue(alice)
	require.NoError(t, err)

	verifier, err := NewVerifier(issuer.PublicKeys())
	require.NoError(t, err)
	now := until.Add(-time.Second)
	verifier.now = func() time.Time { return now }
	for name, signed := range map[string]string{"current": token, "next": coming, "former": old} {
		got, err := verifier.Verify(signed)
		require.NoError(t, err, name)
		assert.Equal(t, alice, got, name)
	}
	now = until
	_, err = verifier.Verify(old)
	require.ErrorIs(t, err, ErrInvalid, "its time is over")
	_, err = verifier.Verify(token)
	require.NoError(t, err)
	_, err = formerVerifier.Verify(token)
	require.ErrorIs(t, err, ErrInvalid)

	<-changed
	require.NoError(t, issuer.Replace(Seeds{Current: seed(2), Next: seed(3), Former: seed(1), FormerUntil: until, Mark: "m"}))
	assert.Empty(t, changed, "nothing has changed")
	require.ErrorContains(t, issuer.Replace(Seeds{Current: seed(2), Former: []byte("short")}), "5 bytes")
	assert.Len(t, issuer.Each(), 3, "a fault changes nothing")
	assert.Equal(t, former.Derive("access", "x"), issuer.Each()[2].Derive("access", "x"))

	for _, keys := range []string{issuer.PublicKey() + " tomorrow", issuer.PublicKey() + "\n\n" + issuer.PublicKey(), issuer.PublicKey() + " 2026-11-28T12:00:00Z more"} {
		_, err := NewVerifier(keys)
		assert.ErrorIs(t, err, errKey, keys)
	}
}
