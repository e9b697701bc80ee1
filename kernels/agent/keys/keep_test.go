package keys_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/keys"
)

// TestKeepKeys: the vector was made with Python's hmac from docs/parking-format.md.
func TestKeepKeys(t *testing.T) {
	seed := []byte(strings.Repeat("s", keys.Size))
	k, err := keys.DeriveKeep(seed, "ns", "u")
	require.NoError(t, err)
	assert.Equal(t, "9ba714620ab3ac2e5c783b8cbc711ac18530c7229cc09ecc040d096a6143be1e", k.Hex())
	other, err := keys.DeriveKeep(seed, "n", "s\nu")
	require.NoError(t, err)
	assert.NotEqual(t, k, other)
	assert.NotContains(t, fmt.Sprintf("%v %s", k, k), k.Hex())
	_, err = keys.DeriveKeep(seed[1:], "ns", "u")
	require.Error(t, err)

	all, err := keys.ParseKeep(k.Hex() + "\n" + other.Hex() + "\n")
	require.NoError(t, err)
	assert.Equal(t, []keys.KeepKey{k, other}, all)
	for _, text := range []string{"", " \n", "ab", k.Hex() + "0", k.Hex() + "\nxx"} {
		_, err := keys.ParseKeep(text)
		assert.Error(t, err, text)
	}
}
