package keys_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/keys"
)

// TestSealKept: each part is sealed, and none can be moved into another.
func TestSealKept(t *testing.T) {
	t.Parallel()
	seed := []byte(strings.Repeat("s", keys.Size))
	k := keys.Kept{Namespace: "ns", Name: "k", Notebook: "nb", User: "ann", UID: "u"}
	seal, err := keys.SealKept(seed, k)
	require.NoError(t, err)
	assert.True(t, keys.IsSealOf(seed, k, seal))
	for name, change := range map[string]func(*keys.Kept){
		"namespace": func(k *keys.Kept) { k.Namespace = "other" },
		"name":      func(k *keys.Kept) { k.Name = "other" },
		"notebook":  func(k *keys.Kept) { k.Notebook = "other" },
		"user":      func(k *keys.Kept) { k.User = "eve" },
		"UID":       func(k *keys.Kept) { k.UID = "v" },
		"moved":     func(k *keys.Kept) { k.Notebook, k.User = "nb\",\"User\":\"ann", "" },
	} {
		other := k
		change(&other)
		assert.False(t, keys.IsSealOf(seed, other, seal), name)
	}
	assert.False(t, keys.IsSealOf([]byte(strings.Repeat("t", keys.Size)), k, seal))
	assert.False(t, keys.IsSealOf(nil, k, seal))
	assert.False(t, keys.IsSealOf(seed, k, ""))
	_, err = keys.SealKept(seed[1:], k)
	require.Error(t, err)
}
