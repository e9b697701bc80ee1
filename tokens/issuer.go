package tokens

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Issuer signs tokens. Its keys may be replaced while it is used.
type Issuer struct {
	mu   sync.RWMutex
	keys []*signing // the first signs
	mark string
	told []chan struct{}
}

// signing is what follows from one seed.
type signing struct {
	signer jose.Signer
	public string
	derive []byte    // the key of Derive
	until  time.Time // when it counts no longer; zero: never
}

// Seeds are those of an Issuer at one moment, each an Ed25519 seed of 32 bytes.
type Seeds struct {
	// Current signs.
	Current []byte
	// Next will; what it signs counts already. It may be empty.
	Next []byte
	// Former has signed. What it signed counts until FormerUntil, for ever if that is zero.
	// It may be empty.
	Former      []byte
	FormerUntil time.Time
	// Mark tells this moment from others, see package rotation.
	Mark string
}

// NewIssuer takes the 32-byte Ed25519 seed.
func NewIssuer(seed []byte) (*Issuer, error) {
	i := &Issuer{}
	if err := i.Replace(Seeds{Current: seed}); err != nil {
		return nil, err
	}
	return i, nil
}

// Replace exchanges the keys, and tells who asked by Changed if they are others. It changes
// nothing when it fails.
func (i *Issuer) Replace(seeds Seeds) error {
	var keys []*signing
	for n, seed := range [][]byte{seeds.Current, seeds.Next, seeds.Former} {
		if n > 0 && len(seed) == 0 {
			continue
		}
		if len(seed) != ed25519.SeedSize {
			return fmt.Errorf("tokens: signing seed has %d bytes, want %d", len(seed), ed25519.SeedSize)
		}
		key, err := newSigning(seed)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(keys, func(k *signing) bool { return k.public == key.public }) {
			continue
		}
		if n == 2 {
			key.until = seeds.FormerUntil
		}
		keys = append(keys, key)
	}
	i.mu.Lock()
	before := publicKeys(i.keys) + i.mark
	i.keys, i.mark = keys, seeds.Mark
	told := i.told
	i.mu.Unlock()
	if before == publicKeys(keys)+seeds.Mark {
		return nil
	}
	for _, one := range told {
		select {
		case one <- struct{}{}:
		default: // it has not been looked at yet
		}
	}
	return nil
}

func newSigning(seed []byte) (*signing, error) {
	key := ed25519.NewKeyFromSeed(seed)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("tokens: signer: %w", err)
	}
	public := base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	return &signing{signer: signer, public: public, derive: derivingKey(seed)}, nil
}

// Changed gives a channel on which something comes after the keys have changed, and at once
// while there are several: whoever has followed the change before may not have ended it.
func (i *Issuer) Changed() <-chan struct{} {
	told := make(chan struct{}, 1)
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.keys) > 1 {
		told <- struct{}{}
	}
	i.told = append(i.told, told)
	return told
}

// Mark is that of the seeds.
func (i *Issuer) Mark() string {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.mark
}

// PublicKeys are those by which tokens count, a line each, for a Verifier: in base64, and
// after that the time until which they do.
func (i *Issuer) PublicKeys() string {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return publicKeys(i.keys)
}

func publicKeys(keys []*signing) string {
	var lines strings.Builder
	for _, key := range keys {
		lines.WriteString(key.public)
		if !key.until.IsZero() {
			lines.WriteString(" " + key.until.UTC().Format(time.RFC3339))
		}
		lines.WriteByte('\n')
	}
	return lines.String()
}

func (i *Issuer) current() *signing {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.keys[0]
}

// Each gives an Issuer for each key, the one that signs first, also for a former one whose
// time is over: what was derived from that is still in Pods that run.
func (i *Issuer) Each() []*Issuer {
	i.mu.RLock()
	defer i.mu.RUnlock()
	var each []*Issuer
	for _, key := range i.keys {
		each = append(each, &Issuer{keys: []*signing{key}})
	}
	return each
}
