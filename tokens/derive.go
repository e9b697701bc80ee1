package tokens

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// deriving keeps what is derived here apart from every other use of the seed.
const deriving = "elastichub derived texts v1"

// Derive gives a text that only holders of the seed can: the same for the same purpose and
// parts, and of which none tells anything about another. It is no token of a gateway.
func (i *Issuer) Derive(purpose string, parts ...string) string {
	mac := hmac.New(sha256.New, i.current().derive)
	mac.Write([]byte(purpose + "\xff" + strings.Join(parts, "\xff"))) // a byte that UTF-8 never contains
	return hex.EncodeToString(mac.Sum(nil))
}

func derivingKey(seed []byte) []byte {
	mac := hmac.New(sha256.New, seed)
	mac.Write([]byte(deriving))
	return mac.Sum(nil)
}
