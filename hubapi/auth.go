package hubapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
)

// bearer accepts requests that carry one of the tokens. Digests are compared,
// every one of them, so that the time taken tells neither length nor index.
func bearer(tokens []string) gin.HandlerFunc {
	digests := make([][sha256.Size]byte, len(tokens))
	for i, token := range tokens {
		digests[i] = sha256.Sum256([]byte(token))
	}
	return func(c *gin.Context) {
		if !accepted(c.Request.Header, digests) {
			c.Header("WWW-Authenticate", `Bearer realm="elastichub"`)
			fail(c, errUnauthenticated)
			return
		}
		c.Next()
	}
}

func accepted(header http.Header, digests [][sha256.Size]byte) bool {
	values := header.Values("Authorization")
	if len(values) != 1 {
		return false
	}
	scheme, token, found := strings.Cut(values[0], " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	got := sha256.Sum256([]byte(token))
	match := 0
	for i := range digests {
		match |= subtle.ConstantTimeCompare(got[:], digests[i][:])
	}
	return match == 1
}
