// Package tokens issues and verifies the tokens with which notebook servers
// come to a kernel gateway.
//
// A token is a JWT signed with Ed25519 (EdDSA). The controllers hold the
// private key; gateways hold the public one and can issue nothing. A token
// says who; whether that notebook still exists, and still runs the start the
// token was made for, is for the gateway to check.
package tokens

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	issuerName = "elastichub"
	audience   = "elastichub-gateway"
)

// ErrInvalid means that a token is malformed, forged or meant for something else.
var ErrInvalid = errors.New("tokens: invalid token")

// Notebook is the identity a token carries.
type Notebook struct {
	Namespace string
	Name      string
	UID       string
	// Start is the JupyterNotebook's spec.start the token was issued for.
	Start string
	// User is the Hub user the notebook belongs to; empty without a Hub.
	User string
}

type claims struct {
	jwt.Claims
	Namespace string `json:"ns"`
	Name      string `json:"notebook"`
	UID       string `json:"uid"`
	Start     string `json:"start,omitempty"`
	User      string `json:"user,omitempty"`
}

// Issuer signs tokens.
type Issuer struct {
	signer jose.Signer
	public ed25519.PublicKey
	derive []byte // the key of Derive
}

// NewIssuer takes the 32-byte Ed25519 seed.
func NewIssuer(seed []byte) (*Issuer, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("tokens: signing seed has %d bytes, want %d", len(seed), ed25519.SeedSize)
	}
	key := ed25519.NewKeyFromSeed(seed)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("tokens: signer: %w", err)
	}
	return &Issuer{signer: signer, public: key.Public().(ed25519.PublicKey), derive: derivingKey(seed)}, nil
}

// Issue signs a token for a notebook. The same notebook and start always give
// the same token: nothing in it depends on the time.
func (i *Issuer) Issue(n Notebook) (string, error) {
	return jwt.Signed(i.signer).Claims(claims{
		Claims:    jwt.Claims{Issuer: issuerName, Audience: jwt.Audience{audience}, Subject: n.User},
		Namespace: n.Namespace, Name: n.Name, UID: n.UID, Start: n.Start, User: n.User,
	}).Serialize()
}

// PublicKey is the key for a Verifier, in base64.
func (i *Issuer) PublicKey() string { return base64.StdEncoding.EncodeToString(i.public) }

// Verifier checks tokens.
type Verifier struct{ public ed25519.PublicKey }

// NewVerifier takes what PublicKey returned; surrounding white space is ignored.
func NewVerifier(publicKey string) (*Verifier, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(publicKey))
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("tokens: the public key must be %d bytes in base64", ed25519.PublicKeySize)
	}
	return &Verifier{public: raw}, nil
}

// Verify returns the notebook that a token names. Every failure is
// ErrInvalid; the cause is wrapped for the log and not for the client.
func (v *Verifier) Verify(token string) (Notebook, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return Notebook{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var c claims
	if err := parsed.Claims(v.public, &c); err != nil {
		return Notebook{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err := c.ValidateWithLeeway(jwt.Expected{Issuer: issuerName, AnyAudience: jwt.Audience{audience}, Time: time.Now()}, 0); err != nil {
		return Notebook{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if c.Namespace == "" || c.Name == "" || c.UID == "" {
		return Notebook{}, fmt.Errorf("%w: incomplete", ErrInvalid)
	}
	return Notebook{Namespace: c.Namespace, Name: c.Name, UID: c.UID, Start: c.Start, User: c.User}, nil
}
