// Package internalssltest makes what a Hub with internal_ssl makes, for tests.
package internalssltest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/internalssl"
)

// Hub has the authorities of a Hub.
type Hub struct {
	notebooks authority // signs servers' certificates
	hub       authority // signs the Hub's own
}

type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         string
}

// New makes the authorities of a Hub.
func New(t testing.TB) Hub {
	t.Helper()
	return Hub{newAuthority(t, "notebooks-ca"), newAuthority(t, "hub-ca")}
}

// Pair is for one start of a server with these hosts.
func (h Hub) Pair(t testing.TB, hosts ...string) internalssl.Pair {
	t.Helper()
	return h.PairUntil(t, time.Now().Add(time.Hour), hosts...)
}

// PairUntil is Pair with another end of its certificate.
func (h Hub) PairUntil(t testing.TB, end time.Time, hosts ...string) internalssl.Pair {
	t.Helper()
	certificate, key := h.notebooks.sign(t, end, hosts...)
	return internalssl.Pair{Key: key, Certificate: certificate, Authorities: h.hub.pem}
}

// Client is what the Hub itself connects to a server with.
func (h Hub) Client(t testing.TB) *tls.Config {
	t.Helper()
	certificate, key := h.hub.sign(t, time.Now().Add(time.Hour), "hub")
	own, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(h.notebooks.certificate)
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}
}

func newAuthority(t testing.TB, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return authority{certificate, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

func (a authority) sign(t testing.TB, end time.Time, hosts ...string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: hosts[0]}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: end,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, private.Public(), a.key)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}
