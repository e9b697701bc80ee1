package openid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// keysAge is how long keys are used before they are read again: how long a
	// key that the provider has withdrawn is believed.
	keysAge = 10 * time.Minute
	// keysLimit is how long they are used while the provider does not answer.
	keysLimit = time.Hour
	// keysPause is the least time between two readings on account of keys
	// that are unknown: tokens come from outside.
	keysPause = 10 * time.Second
	maxKeys   = 100
)

// Errors of a signature. The second is for tokens that the provider did not sign.
var (
	errNoKeys    = errors.New("the provider's keys cannot be read")
	errSignature = errors.New("not signed by the provider")
)

// keys are a provider's public keys (RFC 7517). A token of an unknown key has
// them read again: that is how providers change keys.
type keys struct {
	read func(ctx context.Context) ([]byte, error)
	now  func() time.Time

	mu      sync.Mutex
	known   []jose.JSONWebKey
	readAt  time.Time
	triedAt time.Time
}

// verify returns the payload of a token that one of the keys has signed. Its
// errors are errNoKeys and errSignature.
func (k *keys) verify(ctx context.Context, token *jose.JSONWebSignature) ([]byte, error) {
	header := token.Signatures[0].Header
	for _, again := range []bool{false, true} {
		known, err := k.current(ctx, again)
		if err != nil {
			return nil, err
		}
		tried := false
		for _, key := range known {
			if !fits(key, header) {
				continue
			}
			tried = true
			if payload, err := token.Verify(key.Key); err == nil {
				return payload, nil
			}
		}
		if tried && header.KeyID != "" {
			break
		}
	}
	return nil, errSignature
}

func fits(key jose.JSONWebKey, header jose.Header) bool {
	return (header.KeyID == "" || header.KeyID == key.KeyID) && (key.Algorithm == "" || key.Algorithm == header.Algorithm)
}

// current returns the keys; again reads them although they are young.
func (k *keys) current(ctx context.Context, again bool) ([]jose.JSONWebKey, error) {
	// One reads, the others wait for it.
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	switch {
	case again && now.Sub(k.readAt) < keysPause:
		return k.known, nil
	case !again && now.Sub(k.readAt) < keysAge:
		return k.known, nil
	case now.Sub(k.triedAt) < time.Second:
		// Those who waited for the lock need not try too.
		return k.old(now, again, errors.New("it has just failed"))
	}
	k.triedAt = now
	text, err := k.read(ctx)
	if err == nil {
		var found []jose.JSONWebKey
		if found, err = parseKeys(text); err == nil {
			k.known, k.readAt, k.triedAt = found, now, time.Time{}
			return found, nil
		}
	}
	return k.old(now, again, err)
}

// old is what there is while keys cannot be read: nothing for who asks again,
// having found no key among these.
func (k *keys) old(now time.Time, again bool, err error) ([]jose.JSONWebKey, error) {
	if !again && len(k.known) > 0 && now.Sub(k.readAt) < keysLimit {
		return k.known, nil
	}
	return nil, fmt.Errorf("%w: %w", errNoKeys, err)
}

// parseKeys takes the keys that signatures can be checked with, and leaves
// kinds that are unknown here alone.
func parseKeys(text []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("more than %d keys", maxKeys)
	}
	var all []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && key.Valid() && key.IsPublic() && (key.Use == "" || key.Use == "sig") {
			all = append(all, key)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no public key for signatures")
	}
	return all, nil
}

// signature is the oidc.KeySet for one token. It keeps its error, of which
// go-oidc passes on the text alone.
type signature struct {
	keys       *keys
	algorithms []jose.SignatureAlgorithm
	types      []string
	err        error
}

// VerifySignature implements oidc.KeySet.
func (s *signature) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	parsed, err := jose.ParseSignedCompact(token, s.algorithms)
	if err != nil || len(parsed.Signatures) != 1 {
		s.err = errSignature
		return nil, s.err
	}
	// One kind of token must not pass for another (RFC 8725, 3.11).
	kind, _ := parsed.Signatures[0].Header.ExtraHeaders[jose.HeaderType].(string)
	if kind = strings.TrimPrefix(strings.ToLower(kind), "application/"); !slices.Contains(s.types, kind) {
		s.err = fmt.Errorf("a token of type %.50q", kind)
		return nil, s.err
	}
	var payload []byte
	payload, s.err = s.keys.verify(ctx, parsed)
	return payload, s.err
}
