package queue

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
)

// TestSpellingsOfANameAreOneAccount: a directory takes them for one person.
func TestSpellingsOfANameAreOneAccount(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"ALICE", "aLiCe", "alice"} {
		assert.Equal(t, "user alice", accountOf(kerneltest.Kernel("k", "gw", "gpu", kerneltest.Owned(user))))
	}
	assert.NotEqual(t, userAccount("alicé"), userAccount("alice"))
	assert.NotEqual(t, userAccount("alice "), userAccount("alice"))
}
