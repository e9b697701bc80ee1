// Package tokens issues and verifies the tokens with which notebook servers
// come to a kernel gateway.
//
// A token is a JWT signed with Ed25519 (EdDSA). The controllers hold the
// private keys; gateways hold the public ones and can issue nothing. A token
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

// Issue signs a token for a notebook. The same notebook and start always give
// the same token: nothing in it depends on the time.
func (i *Issuer) Issue(n Notebook) (string, error) {
	return jwt.Signed(i.current().signer).Claims(claims{
		Claims:    jwt.Claims{Issuer: issuerName, Audience: jwt.Audience{audience}, Subject: n.User},
		Namespace: n.Namespace, Name: n.Name, UID: n.UID, Start: n.Start, User: n.User,
	}).Serialize()
}

// PublicKey is that of the key that signs, for a Verifier, in base64.
func (i *Issuer) PublicKey() string { return i.current().public }

// Verifier checks tokens.
type Verifier struct {
	keys []verifying
	now  func() time.Time
}

// verifying is a public key, which counts until a time, or for ever if that is zero.
type verifying struct {
	public ed25519.PublicKey
	until  time.Time
}

// NewVerifier takes what PublicKey or PublicKeys returned; surrounding white space is ignored.
func NewVerifier(publicKeys string) (*Verifier, error) {
	v := &Verifier{now: time.Now}
	for line := range strings.Lines(strings.TrimSpace(publicKeys)) {
		key, err := parseKey(line)
		if err != nil {
			return nil, err
		}
		v.keys = append(v.keys, key)
	}
	if len(v.keys) == 0 {
		return nil, errKey
	}
	return v, nil
}

var errKey = fmt.Errorf("tokens: a public key must be %d bytes in base64, alone or with the time until which it counts", ed25519.PublicKeySize)

func parseKey(line string) (verifying, error) {
	words := strings.Fields(line)
	if len(words) != 1 && len(words) != 2 {
		return verifying{}, errKey
	}
	raw, err := base64.StdEncoding.DecodeString(words[0])
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return verifying{}, errKey
	}
	key := verifying{public: raw}
	if len(words) == 2 {
		if key.until, err = time.Parse(time.RFC3339, words[1]); err != nil {
			return verifying{}, errKey
		}
	}
	return key, nil
}

// signedBy returns the claims of a token that a key which counts now has signed.
func (v *Verifier) signedBy(parsed *jwt.JSONWebToken) (c claims, err error) {
	err = errors.New("no key counts")
	now := v.now()
	for _, key := range v.keys {
		if !key.until.IsZero() && !now.Before(key.until) {
			continue
		}
		if err = parsed.Claims(key.public, &c); err == nil {
			return c, nil
		}
	}
	return claims{}, err
}

// Verify returns the notebook that a token names. Every failure is
// ErrInvalid; the cause is wrapped for the log and not for the client.
func (v *Verifier) Verify(token string) (Notebook, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return Notebook{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	c, err := v.signedBy(parsed)
	if err != nil {
		return Notebook{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err := c.ValidateWithLeeway(jwt.Expected{Issuer: issuerName, AnyAudience: jwt.Audience{audience}, Time: v.now()}, 0); err != nil {
		return Notebook{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if c.Namespace == "" || c.Name == "" || c.UID == "" {
		return Notebook{}, fmt.Errorf("%w: incomplete", ErrInvalid)
	}
	return Notebook{Namespace: c.Namespace, Name: c.Name, UID: c.UID, Start: c.Start, User: c.User}, nil
}
