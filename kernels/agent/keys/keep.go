package keys

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// KeepKey is the key of the state of one kernel, in all of its runs. It follows
// from a seed that no gateway has: who takes over a gateway reads no state.
type KeepKey [Size]byte

// DeriveKeep returns the key of a kernel's state. seed must have Size bytes.
func DeriveKeep(seed []byte, namespace, kernelUID string) (KeepKey, error) {
	if len(seed) != Size {
		return KeepKey{}, fmt.Errorf("keys: keep seed has %d bytes, want %d", len(seed), Size)
	}
	return KeepKey(mac(seed, "elastichub keep v1\n"+namespace+"\n"+kernelUID)), nil
}

// KeepSeeds gives the seeds of now, the first of them that which seals. There are several
// while it is changed, so that states which a former one has sealed can be opened.
type KeepSeeds func() [][]byte

// FixedKeepSeeds are seeds that do not change.
func FixedKeepSeeds(seeds ...[]byte) KeepSeeds { return func() [][]byte { return seeds } }

// Derive returns the keys of a kernel's state, the first of them that which seals. Without
// seeds there are none.
func (s KeepSeeds) Derive(namespace, kernelUID string) ([]KeepKey, error) {
	var all []KeepKey
	for _, seed := range s.all() {
		key, err := DeriveKeep(seed, namespace, kernelUID)
		if err != nil {
			return nil, err
		}
		all = append(all, key)
	}
	if len(all) == 0 {
		return nil, errNoKeepSeed
	}
	return all, nil
}

var errNoKeepSeed = errors.New("keys: there is no keep seed")

// all are none for nil.
func (s KeepSeeds) all() [][]byte {
	if s == nil {
		return nil
	}
	return s()
}

// ParseKeep reads keys, one a line in hexadecimal digits, of which the first is that
// of today. There are several while a seed changes.
func ParseKeep(text string) ([]KeepKey, error) {
	var all []KeepKey
	for line := range strings.FieldsSeq(text) {
		raw, err := hex.DecodeString(line)
		if err != nil || len(raw) != Size {
			return nil, fmt.Errorf("keys: a keep key is %d hexadecimal digits", 2*Size)
		}
		all = append(all, KeepKey(raw))
	}
	if len(all) == 0 {
		return nil, errors.New("keys: there is no keep key")
	}
	return all, nil
}

// Hex is the form that ParseKeep reads.
func (k KeepKey) Hex() string { return hex.EncodeToString(k[:]) }

// String keeps the key out of logs.
func (k KeepKey) String() string { return "[keep key]" }
