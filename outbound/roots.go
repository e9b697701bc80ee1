package outbound

import (
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/elastichub/elastichub/smallfile"
)

// maxFileBytes bounds certificates and secrets; a system's bundle of
// certificates has 250 kB.
const maxFileBytes = 1 << 20

// Roots reads PEM certificates from a file; an empty name means those of the
// system, for which nil stands. Callers read it for every connection, so that
// a changed file counts without a restart.
func Roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("caFile: %w", err)
	}
	return parseRoots(pem)
}

func parseRoots(pem []byte) (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("caFile: no certificate in it")
	}
	return roots, nil
}

// ReadFile reads a file of at most 1 MiB.
func ReadFile(name string) ([]byte, error) { return smallfile.Read(name, maxFileBytes) }
