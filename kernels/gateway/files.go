package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/rotation"
	"github.com/elastichub/elastichub/tokens"
)

// rereadAfter is how old what was read from a mounted file may become.
const rereadAfter = 5 * time.Second

// maxSecretFile bounds what is read from a mounted file, in bytes.
const maxSecretFile = 64 << 10

// reread is a value made from mounted files, made anew when it is older than
// rereadAfter. A failure to read is returned, never papered over with what was
// read before.
type reread[T any] struct {
	load func() (T, error)
	now  func() time.Time

	mu    sync.Mutex
	at    time.Time
	value T
	err   error
}

func (r *reread[T]) get() (T, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); r.at.IsZero() || now.Sub(r.at) >= rereadAfter || now.Before(r.at) {
		r.value, r.err = r.load()
		r.at = now
	}
	return r.value, r.err
}

func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSecretFile {
		return nil, fmt.Errorf("gateway: %s is no small regular file", filepath.Base(path))
	}
	return os.ReadFile(path)
}

// gatewayKeys are from what the secrets of agents follow.
type gatewayKeys struct {
	counting keys.GatewayKeys
	mark     string
}

// loadKeys reads the gateway's key, 32 raw bytes or 64 hexadecimal digits, and those that count
// beside it at a time, all of one moment.
func loadKeys(path string, now time.Time) (gatewayKeys, error) {
	files, err := rotation.ReadTogether(path, rotation.KeyNext, rotation.KeyFormer, rotation.KeyFormerUntil, rotation.KeyMark)
	if err != nil {
		return gatewayKeys{}, fmt.Errorf("gateway: key file: %w", err)
	}
	if len(files.Value) == keys.Size {
		return gatewayKeys{counting: keys.GatewayKeys{[]byte(files.Value)}}, nil
	}
	values, err := files.Values()
	if err != nil {
		return gatewayKeys{}, fmt.Errorf("gateway: key file: %w", err)
	}
	counting, err := keys.ParseGatewayKeys(values, now)
	if err != nil {
		return gatewayKeys{}, fmt.Errorf("gateway: key file: %w", err)
	}
	return gatewayKeys{counting, values.Mark}, nil
}

// publicKeysFile is beside the file with the key that signs tokens, and has all that count.
const publicKeysFile = "public-keys"

// tokenKeys are by what tokens of notebooks count.
type tokenKeys struct {
	verifier *tokens.Verifier
	mark     string
}

// loadTokenKeys reads the keys beside path, all of one moment. Where there are none, or not the
// one in path, a former release of the service has written that, and it alone counts.
func loadTokenKeys(path string) (tokenKeys, error) {
	files, err := rotation.ReadTogether(path, publicKeysFile, rotation.KeyMark)
	if err != nil {
		return tokenKeys{}, fmt.Errorf("gateway: token key file: %w", err)
	}
	all, mark, current := files.Beside[publicKeysFile], files.Beside[rotation.KeyMark], strings.TrimSpace(files.Value)
	if words := strings.Fields(all); len(words) == 0 || words[0] != current {
		all, mark = current, ""
	}
	verifier, err := tokens.NewVerifier(all)
	return tokenKeys{verifier, strings.TrimSpace(mark)}, err
}

// clientTokens are the digests of client tokens by client name.
type clientTokens map[string][sha256.Size]byte

// minClientToken is the shortest client token that is accepted, in bytes.
const minClientToken = 16

// loadClients reads a directory with a file per client. Names that begin with
// ".." belong to the volume itself.
func loadClients(dir string) (clientTokens, error) {
	clients := clientTokens{}
	if dir == "" {
		return clients, nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return clients, nil
	}
	if err != nil {
		return nil, fmt.Errorf("gateway: clients directory: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, "..") {
			continue
		}
		raw, err := readSecret(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("gateway: client token: %w", err)
		}
		token := strings.TrimSpace(string(raw))
		if len(token) < minClientToken {
			return nil, fmt.Errorf("gateway: the token of client %q is shorter than %d bytes", name, minClientToken)
		}
		clients[name] = sha256.Sum256([]byte(token))
	}
	return clients, nil
}

// match returns the client whose token this is. Every token is compared, each
// in constant time.
func (c clientTokens) match(token string) (name string, ok bool) {
	digest := sha256.Sum256([]byte(token))
	for candidate, want := range c {
		if subtle.ConstantTimeCompare(digest[:], want[:]) == 1 {
			name, ok = candidate, true
		}
	}
	return name, ok
}
