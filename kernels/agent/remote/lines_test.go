package remote

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/kernels/agent/keys"
)

// TestAgentsThatAreGoneAreForgotten: what is kept of an agent is gone when it cannot be used any more.
func TestAgentsThatAreGoneAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCaller(1, nil)
		there := peer{address: "there"}
		for range 5 {
			for n := range 100 {
				c.line(peer{address: "gone", secret: keys.Secret{byte(n)}})
			}
			kept := c.line(there)
			time.Sleep(keptFor / 2)
			assert.Same(t, kept, c.line(there), "its connection is used again")
			assert.Len(t, c.lines, 101, "they may still have a connection")
			time.Sleep(keptFor)
			assert.Same(t, kept, c.line(there))
			time.Sleep(keptFor / 2)
			assert.Len(t, c.lines, 1)
			time.Sleep(2 * keptFor)
			assert.Empty(t, c.lines)
			assert.False(t, c.sweeping)
		}
	})
}
