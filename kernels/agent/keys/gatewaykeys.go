package keys

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/elastichub/elastichub/rotation"
)

// GatewayKeys are the keys of a gateway that count, Size bytes each and the current one
// first. While it is rotated they are more than one.
type GatewayKeys [][]byte

// ParseGatewayKeys are those of a Secret's values, each 2*Size hexadecimal digits.
func ParseGatewayKeys(values rotation.Values, now time.Time) (GatewayKeys, error) {
	var all GatewayKeys
	for _, text := range values.Counting(now) {
		key, err := hex.DecodeString(text)
		if err != nil || len(key) != Size {
			return nil, fmt.Errorf("keys: a gateway's key is %d hexadecimal digits", 2*Size)
		}
		all = append(all, key)
	}
	return all, nil
}

// ForRun returns the secrets of a kernel's run, by the kernel's UID and run, and
// by status.warm: a warm Pod was made before it was anybody's, under its own name.
func (k GatewayKeys) ForRun(kernelUID string, run int64, warm string) (Secrets, error) {
	if warm != "" {
		return k.Derive(warm, 0)
	}
	return k.Derive(kernelUID, run)
}

// Derive returns what follows from each key for a kernel's run.
func (k GatewayKeys) Derive(kernelUID string, run int64) (Secrets, error) {
	if len(k) == 0 {
		return nil, errors.New("keys: the gateway has no key")
	}
	var all Secrets
	for _, key := range k {
		secret, err := Derive(key, kernelUID, run)
		if err != nil {
			return nil, err
		}
		all = append(all, secret)
	}
	return all, nil
}

// ID tells keys of a gateway apart, and tells nothing of them.
func ID(gatewayKey []byte) string {
	m := mac(gatewayKey, "elastichub gateway key id v1")
	return hex.EncodeToString(m[:8])
}

// Secrets are those of one run that count, that of the gateway's current key first. An
// agent has one of them: it is told from its certificate which.
type Secrets []Secret

// Try calls with each secret in turn, until the peer is not another than it should be.
func (s Secrets) Try(call func(Secret) error) error {
	err := ErrPeer
	for _, secret := range s {
		if err = call(secret); !errors.Is(err, ErrPeer) {
			return err
		}
	}
	return err
}
