package internalssl

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// Bounds of a Pair, in bytes. A key of RSA with 8,192 bits has 6 KiB, a certificate about two.
const (
	MaxKeyBytes         = 16 << 10
	MaxCertificateBytes = 64 << 10
	MaxAuthoritiesBytes = 128 << 10
)

// Pair is what the Hub sends for one start of a server, as PEM.
type Pair struct {
	// Key is the private key of the first certificate in Certificate; others there complete its chain.
	Key, Certificate string
	// Authorities may sign the certificates of who connects to the server, and the Hub's own.
	Authorities string
}

// Field is a part of a Pair, by the name that it has in a start request.
type Field string

// The fields.
const (
	FieldKey         Field = "key"
	FieldCertificate Field = "cert"
	FieldAuthorities Field = "ca"
)

// Fault is what is wrong with one part of a Pair. Nothing of the part is in its message.
type Fault struct {
	Field Field
	// TooLarge: it is longer than its bound; otherwise it is not what it should be.
	TooLarge bool
	Message  string
}

// Faults are all faults of a Pair at that time, nil if a server can use it.
func (p Pair) Faults(now time.Time) []Fault {
	var faults []Fault
	add := func(field Field, message string) { faults = append(faults, Fault{Field: field, Message: message}) }
	for _, part := range []struct {
		field Field
		text  string
		most  int
	}{{FieldKey, p.Key, MaxKeyBytes}, {FieldCertificate, p.Certificate, MaxCertificateBytes}, {FieldAuthorities, p.Authorities, MaxAuthoritiesBytes}} {
		if len(part.text) > part.most {
			faults = append(faults, Fault{part.field, true, fmt.Sprintf("has %d bytes, the most is %d", len(part.text), part.most)})
		}
	}
	if faults != nil {
		return faults
	}
	if _, err := parse(p.Authorities); err != nil {
		add(FieldAuthorities, err.Error())
	}
	chain, err := parse(p.Certificate)
	if err != nil {
		add(FieldCertificate, err.Error())
		return faults
	}
	if now.After(chain[0].NotAfter) {
		add(FieldCertificate, "expired on "+chain[0].NotAfter.UTC().Format(time.DateOnly))
	}
	if _, err := tls.X509KeyPair([]byte(p.Certificate), []byte(p.Key)); err != nil {
		add(FieldKey, "must be the private key of cert as PEM, without a password")
	}
	return faults
}

// IsFor reports whether the certificate names that host, a name or an IP address.
func (p Pair) IsFor(host string) bool {
	chain, err := parse(p.Certificate)
	return err == nil && chain[0].VerifyHostname(host) == nil
}

var (
	errNotPEM     = errors.New("must be certificates as PEM, and nothing else")
	errUnreadable = errors.New("must be certificates as PEM, of which one cannot be read")
)

// parse reads a text that is certificates, at least one.
func parse(text string) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, errNotPEM
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errUnreadable
		}
		all = append(all, certificate)
	}
	if len(all) == 0 || bytes.Contains(rest, []byte("-----BEGIN")) { // one that is cut off
		return nil, errNotPEM
	}
	return all, nil
}
