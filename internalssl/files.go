package internalssl

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Names of files, which are a Secret's keys. The server gets the first three.
const (
	FileKey         = "tls.key"
	FileCertificate = "tls.crt"
	// FileAuthorities are those whose certificates the server takes, elastichub's own among them.
	FileAuthorities = "ca.crt"
	// fileClientKey and fileClientCertificate are what elastichub shows to that server alone.
	fileClientKey         = "client.key"
	fileClientCertificate = "client.crt"
)

const (
	// clientLife is longer than any server runs: a server's own certificate lasts five years.
	clientLife = 10 * 365 * 24 * time.Hour
	// clockSkew is how far clocks of nodes may be behind.
	clockSkew = time.Hour
)

// Files are those of one start, by name: what the Hub has sent, and what elastichub shows to the server.
func Files(p Pair, now time.Time) (map[string][]byte, error) {
	key, certificate, err := newClient(now)
	if err != nil {
		return nil, fmt.Errorf("internalssl: %w", err)
	}
	return map[string][]byte{
		FileKey: []byte(p.Key), FileCertificate: []byte(p.Certificate),
		FileAuthorities: []byte(strings.TrimRight(p.Authorities, "\r\n") + "\n" + string(certificate)),
		fileClientKey:   key, fileClientCertificate: certificate,
	}, nil
}

// newClient makes a key and a certificate that signs itself. It is no authority: whoever had the key
// could be elastichub to that server, and make no other certificates that the server trusts.
func newClient(now time.Time) (key, certificate []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "elastichub"},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(clientLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// Client is how the server that has these files is connected to: it must show its certificate, and no
// other, and is shown elastichub's where the files have one.
func Client(files map[string][]byte) (*tls.Config, error) {
	chain, err := parse(string(files[FileCertificate]))
	if err != nil {
		return nil, fmt.Errorf("internalssl: %s: %w", FileCertificate, err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	config.RootCAs.AddCert(chain[0])
	if len(files[fileClientKey]) == 0 {
		return config, nil
	}
	own, err := tls.X509KeyPair(files[fileClientCertificate], files[fileClientKey])
	if err != nil {
		return nil, errors.New("internalssl: " + fileClientKey + " and " + fileClientCertificate + " are no pair")
	}
	config.Certificates = []tls.Certificate{own}
	return config, nil
}
