package signin

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/elastichub/elastichub/outbound"
	"github.com/elastichub/elastichub/rotation"
)

// purpose keeps one kind of cookie from being taken for another.
type purpose string

const (
	forSession purpose = "session"
	forAttempt purpose = "sign-in"
)

// minKey is 128 bits as hex.
const minKey = 32

// errSeal: not sealed by us, or by keys that are gone.
var errSeal = errors.New("signin: not sealed by one of the keys")

// sealer seals values with the current key, and opens what this or the former has sealed.
type sealer struct {
	// current is a file; others that count are beside it (see package rotation), and a
	// former one may be in a file elsewhere.
	current, former string
	now             func() time.Time
}

// Mark is that of the keys that seal cookies, see package rotation; empty where it cannot be read.
func (g *Gate) Mark() string {
	values, _ := rotation.Read(g.sealer.current)
	return values.Mark
}

// check reads the current key once, to find faults early.
func (s sealer) check() error {
	_, err := s.keys()
	return err
}

// keys are the current one, and those that count beside it.
func (s sealer) keys() ([]string, error) {
	values, err := rotation.Read(s.current)
	if err != nil {
		return nil, fmt.Errorf("keyFile: %w", err)
	}
	if len(values.Current) < minKey {
		return nil, fmt.Errorf("keyFile: %s holds fewer than %d characters", s.current, minKey)
	}
	var keys []string
	for _, key := range values.Counting(s.now()) {
		if len(key) >= minKey {
			keys = append(keys, key)
		}
	}
	if s.former == "" || values.Former != "" {
		return keys, nil
	}
	former, err := outbound.ReadFile(s.former)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("formerKeyFile: %w", err)
	}
	if key := strings.TrimSpace(string(former)); len(key) >= minKey { // an empty one is none
		keys = append(keys, key)
	}
	return keys, nil
}

func aead(key string, of purpose) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, []byte(key), nil, "elastichub console v1 "+string(of), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal encrypts a value into text that can stand in a cookie.
func (s sealer) seal(of purpose, value any) (string, error) {
	keys, err := s.keys()
	if err != nil {
		return "", err
	}
	plain, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	c, err := aead(keys[0], of)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(c.Seal(nil, nil, plain, nil)), nil
}

// open decrypts what seal made. Errors are errSeal, or of the files.
func (s sealer) open(of purpose, sealed string, into any) error {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil {
		return errSeal
	}
	keys, err := s.keys()
	if err != nil {
		return err
	}
	for _, key := range keys {
		c, err := aead(key, of)
		if err != nil {
			return err
		}
		if plain, err := c.Open(nil, nil, raw, nil); err == nil {
			return json.Unmarshal(plain, into)
		}
	}
	return errSeal
}

// random is 128 bits, as text that can stand anywhere.
func random() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
