package keys

import (
	"crypto/hmac"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// Kept names a kernel whose state is kept, and the UID that the state goes by. The user and
// the notebook of a kernel never change.
type Kept struct{ Namespace, Name, Notebook, User, UID string }

// SealKept shows that whoever has the seed has written that a kernel's state goes by a UID. No
// other kernel can say so with the same seal, also none of the same UID.
func SealKept(seed []byte, k Kept) (string, error) {
	if len(seed) != Size {
		return "", fmt.Errorf("keys: the keep seed has %d bytes, not %d", len(seed), Size)
	}
	text, err := json.Marshal(k)
	if err != nil {
		return "", err
	}
	sealed := mac(seed, "elastichub kept as v1\n"+string(text))
	return hex.EncodeToString(sealed[:]), nil
}

// IsSealOf reports whether a seal is that of SealKept.
func IsSealOf(seed []byte, k Kept, seal string) bool {
	want, err := SealKept(seed, k)
	return err == nil && hmac.Equal([]byte(want), []byte(seal))
}

// SealKept is that of the seed of now.
func (s KeepSeeds) SealKept(k Kept) (string, error) {
	seeds := s.all()
	if len(seeds) == 0 {
		return "", errNoKeepSeed
	}
	return SealKept(seeds[0], k)
}

// IsSealOf reports whether a seal is of one of the seeds.
func (s KeepSeeds) IsSealOf(k Kept, seal string) bool {
	return slices.ContainsFunc(s.all(), func(seed []byte) bool { return IsSealOf(seed, k, seal) })
}
