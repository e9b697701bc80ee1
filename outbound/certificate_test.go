package outbound

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// selfSigned writes a certificate and its key, for which it returns the certificate's file and the key's.
func selfSigned(t *testing.T, directory string) (certificate []byte, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(directory, "tls.crt"), filepath.Join(directory, "tls.key")
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(t, os.WriteFile(certFile, certificate, 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	return certificate, certFile, keyFile
}

// TestACertificateIsShown: that of the files as they are now, to a peer that takes no other.
func TestACertificateIsShown(t *testing.T) {
	directory := t.TempDir()
	former, certFile, keyFile := selfSigned(t, directory)
	next, _, _ := selfSigned(t, t.TempDir())
	trusted := x509.NewCertPool()
	require.True(t, trusted.AppendCertsFromPEM(former))
	peer := httptest.NewUnstartedServer(answering(`{}`))
	peer.TLS = &tls.Config{ClientCAs: trusted, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
	peer.StartTLS()
	defer peer.Close()
	ca := filepath.Join(directory, "ca.crt")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: peer.Certificate().Raw}), 0o600))

	config := ClientConfig{CAFile: ca, CertFile: certFile, KeyFile: keyFile, Timeout: 5 * time.Second, Connections: 2, MaxBytes: 100}
	c, err := NewClient(config)
	require.NoError(t, err)
	defer c.Close()
	_, err = get(t, c, peer.URL)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(certFile, next, 0o600))
	_, err = get(t, c, peer.URL)
	require.ErrorContains(t, err, "no certificate and its private key")

	bare := config
	bare.CertFile, bare.KeyFile = "", ""
	without, err := NewClient(bare)
	require.NoError(t, err)
	defer without.Close()
	_, err = get(t, without, peer.URL)
	require.Error(t, err)

	missing := config
	missing.KeyFile = filepath.Join(directory, "none")
	_, err = NewClient(missing)
	assert.ErrorContains(t, err, "keyFile: ")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// TestWhatTLSSaysCounts: in place of files.
func TestWhatTLSSaysCounts(t *testing.T) {
	peer := httptest.NewTLSServer(answering(`{}`))
	defer peer.Close()
	roots := x509.NewCertPool()
	roots.AddCert(peer.Certificate())
	c, err := NewClient(ClientConfig{TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, Timeout: 5 * time.Second, Connections: 2, MaxBytes: 100})
	require.NoError(t, err)
	defer c.Close()
	_, err = get(t, c, peer.URL)
	require.NoError(t, err)
}
