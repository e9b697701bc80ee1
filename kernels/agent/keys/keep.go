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
