package spawner

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"

	"golang.org/x/crypto/argon2"
)

// hashedPassword matches what Jupyter's passwd() gives: argon2:… or
// algorithm:salt:digest. elastic-jupyter-operator handed spec.auth.password to
// Jupyter as it was, so hashes must go on working.
var hashedPassword = regexp.MustCompile(`^(argon2:\$argon2[a-z]*\$.+|(sha1|sha224|sha256|sha384|sha512):[0-9a-f]+:[0-9a-f]{40,128})$`)

// Parameters of Jupyter's passwd(), with which every jupyter_server checks a password:
// passes, KiB of memory, lanes, bytes of salt and of hash.
const (
	argonTime, argonMemory, argonLanes = 10, 10240, 8
	argonSalt, argonKey                = 16, 32
)

// hashPassword gives Jupyter's form of a hash, and a hash as it is. The salt comes from
// the notebook's UID, so that the result is stable. It takes some 30 ms of a core.
func hashPassword(password, uid string) string {
	if password == "" || hashedPassword.MatchString(password) {
		return password
	}
	sum := sha256.Sum256([]byte(uid))
	salt := sum[:argonSalt]
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonLanes, argonKey)
	text := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("argon2:$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonLanes, text(salt), text(key))
}
