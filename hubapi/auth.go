package hubapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
)

// bearer accepts requests that carry one of the tokens of now. Digests are compared,
// every one of them, so that the time taken tells neither length nor index.
func bearer(tokens func() []string) gin.HandlerFunc {
	return func(c *gin.Context) {
		if tokens == nil || !accepted(c.Request.Header, tokens()) {
			c.Header("WWW-Authenticate", `Bearer realm="elastichub"`)
			fail(c, errUnauthenticated)
			return
		}
		c.Next()
	}
}

func accepted(header http.Header, tokens []string) bool {
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
	for _, accepted := range tokens {
		digest := sha256.Sum256([]byte(accepted))
		match |= subtle.ConstantTimeCompare(got[:], digest[:])
	}
	return match == 1
}
