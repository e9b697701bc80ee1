// Package bearer closes an HTTP handler to whoever does not know a token that is
// in a file, as Prometheus does for metrics.
package bearer

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
)

// minToken is the shortest token that is accepted, in bytes.
const minToken = 16

// ErrTooShort means that a file holds no token, or one that could be guessed.
var ErrTooShort = errors.New("bearer: the token is shorter than 16 bytes")

// Read returns the token in a file, without the white space around it.
func Read(file string) (string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("bearer: %w", err)
	}
	token := strings.TrimSpace(string(raw))
	if len(token) < minToken {
		return "", ErrTooShort
	}
	return token, nil
}

// Require lets requests through that bear the token in file as
// `Authorization: Bearer TOKEN`; others get 401. The file is read at each request,
// so that the token may be changed at any time. Without one in it everybody gets 503.
func Require(file string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := Read(file)
		switch {
		case err != nil:
			http.Error(w, "the token for this cannot be read", http.StatusServiceUnavailable)
		case !bears(r.Header, token):
			w.Header().Set("WWW-Authenticate", `Bearer realm="elastichub"`)
			http.Error(w, "a token is required", http.StatusUnauthorized)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// bears compares digests, so that the time taken does not tell the token's length.
func bears(header http.Header, token string) bool {
	values := header.Values("Authorization")
	if len(values) != 1 {
		return false
	}
	scheme, given, _ := strings.Cut(values[0], " ")
	got, want := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(token))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}
