package tokens

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"

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
	elsewhere, err := jwt.Signed(issuer.signer).Claims(claims{
		Claims: jwt.Claims{Issuer: issuerName, Audience: jwt.Audience{"another service"}}, Namespace: "hub", Name: "n", UID: "u",
	}).Serialize()
	require.NoError(t, err)

	// The public key, which every gateway holds, used as a secret.
	hmacSigner, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(verifier.public)}, nil)
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
