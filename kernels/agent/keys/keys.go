// Package keys derives what a gateway and an agent need to trust each other
// from the gateway's key. See docs/agent-protocol.md.
package keys

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Size of a gateway key and of an agent secret, in bytes.
const Size = 32

// ErrPeer means that the other side of a TLS connection is not the agent it should be.
var ErrPeer = errors.New("keys: the peer does not hold this run's key")

// Secret is the secret of one run of one kernel.
type Secret [Size]byte

// Derive returns the secret of a kernel's run. gatewayKey must have Size bytes.
func Derive(gatewayKey []byte, kernelUID string, run int64) (Secret, error) {
	if len(gatewayKey) != Size {
		return Secret{}, fmt.Errorf("keys: gateway key has %d bytes, want %d", len(gatewayKey), Size)
	}
	return mac(gatewayKey, fmt.Sprintf("elastichub agent v1\n%s\n%d", kernelUID, run)), nil
}

// Parse reads a secret from its hexadecimal form; surrounding white space is ignored.
func Parse(text string) (Secret, error) {
	raw, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(raw) != Size {
		return Secret{}, fmt.Errorf("keys: an agent secret is %d hexadecimal digits", 2*Size)
	}
	return Secret(raw), nil
}

// Hex is the form that Parse reads.
func (s Secret) Hex() string { return hex.EncodeToString(s[:]) }

// String keeps the secret out of logs.
func (s Secret) String() string { return "[agent secret]" }

// Bearer is the token that the gateway presents to the agent.
func (s Secret) Bearer() string {
	m := mac(s[:], "bearer")
	return hex.EncodeToString(m[:])
}

// Probe is what the kubelet presents to the agent, see protocol.HeaderProbe. It
// stands in the Pod's spec and gives no other right.
func (s Secret) Probe() string {
	m := mac(s[:], "probe")
	return hex.EncodeToString(m[:16])
}

// Authorization is the header value that presents the token.
func (s Secret) Authorization() string { return "Bearer " + s.Bearer() }

// Accepts tells, in constant time, whether an Authorization header value is that of the gateway.
func (s Secret) Accepts(authorization string) bool {
	return subtle.ConstantTimeCompare([]byte(authorization), []byte(s.Authorization())) == 1
}

func (s Secret) private() ed25519.PrivateKey {
	seed := mac(s[:], "tls")
	return ed25519.NewKeyFromSeed(seed[:])
}

// ServerTLS is the agent's side: TLS 1.3 with a self-signed certificate.
func (s Secret) ServerTLS() (*tls.Config, error) {
	key := s.private()
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "elastichub agent"},
		NotBefore:    now.Add(-24 * time.Hour),
		NotAfter:     now.AddDate(10, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("keys: certificate: %w", err)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}, nil
}

// ClientTLS is the gateway's side: it accepts this run's key and no other,
// whatever name or date the certificate bears.
func (s Secret) ClientTLS() *tls.Config {
	want := s.private().Public().(ed25519.PublicKey)
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // names mean nothing here; VerifyConnection pins the key
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return ErrPeer
			}
			got, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
			if !ok || !got.Equal(want) {
				return ErrPeer
			}
			return nil
		},
	}
}

func mac(key []byte, message string) Secret {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return Secret(h.Sum(nil))
}
