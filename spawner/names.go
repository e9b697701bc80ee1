package spawner

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// Lengths of object names. A Deployment's Pod is called <name>-<up to 10>-<5>
// and its name becomes a host name of at most 63 characters.
const (
	namePrefix = v1alpha1.HubServerPrefix
	maxName    = 63 - len("-0123456789-01234")
	maxSlug    = maxName - len(namePrefix)
	// hashDigits is 64 bits: names made of a hash alone (user names outside
	// ASCII) must not collide among any number of users. KubeSpawner has 32.
	hashDigits = 16

	envSecretSuffix     = "-env"
	sslSecretSuffix     = "-ssl"
	gatewaySecretSuffix = "-gateway"
	authSecretSuffix    = "-auth"
)

var plainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// Name is the name of a server's JupyterNotebook, and of its Deployment and
// Service. Like KubeSpawner's safe slugs: a user name that can stand in a name
// does so unchanged, parts are joined by "--", and where anything had to be
// replaced or cut, "---" and a hash of all parts follows. Plain parts contain
// no "--" and begin and end with a letter or digit, so the runs of dashes tell
// which of the four forms a name has, and no two keys share one.
func Name(k Key) string {
	plain := isPlain(k.User) && (k.Server == "" || isPlain(k.Server))
	joined := k.User
	if k.Server != "" {
		joined += "--" + k.Server
	}
	if plain && len(joined) <= maxSlug {
		return namePrefix + joined
	}
	room := maxSlug - len("---") - hashDigits
	if k.Server == "" {
		return namePrefix + podrules.Readable(k.User, room) + "---" + podrules.Digest(hashDigits, k.User)
	}
	each := (room - len("--")) / 2
	return namePrefix + podrules.Readable(k.User, each) + "--" + podrules.Readable(k.Server, each) + "---" + podrules.Digest(hashDigits, k.User, k.Server)
}

// ownName is the name of a server's JupyterNotebook where Name is taken by that
// of another Hub user, who had the name before, or of another server of the user,
// which was renamed. It has the form of a name with a hash.
func ownName(k Key) string {
	parts := []string{k.User, k.Server, k.HubUser.String()}
	return namePrefix + podrules.Readable(k.User, maxSlug-len("---")-hashDigits) + "---" + podrules.Digest(hashDigits, parts...)
}

func isPlain(part string) bool { return plainName.MatchString(part) && !strings.Contains(part, "--") }

// userSlug names a user within the name of a claim: a plain name as it is, any
// other with a hash, so that no two users share one.
func userSlug(user string) string {
	if isPlain(user) && len(user) <= maxSlug {
		return user
	}
	return podrules.Readable(user, maxSlug-len("---")-hashDigits) + "---" + podrules.Digest(hashDigits, user)
}

var escapedByte = regexp.MustCompile(`-[0-9a-f]{2}`)

// unescaped is the user whom KubeSpawner before 7 has labelled so: it wrote each
// byte that is no letter or digit as a hyphen and its number.
func unescaped(label string) string {
	return escapedByte.ReplaceAllStringFunc(label, func(code string) string {
		n, _ := strconv.ParseUint(code[1:], 16, 8) // the expression lets nothing else through
		return string([]byte{byte(n)})
	})
}
