package remote

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/keys"
)

// TestAgentsThatAreGoneAreForgotten calls agents of which none is there: what is kept of them is gone when it cannot be used.
func TestAgentsThatAreGoneAreForgotten(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	c := NewCaller(port, nil)
	for n := range 100 {
		_, err := c.Idle(t.Context(), "127.0.0.1", keys.Secrets{{byte(n)}})
		require.Error(t, err)
	}
	require.Equal(t, 100, len(c.lines), "each has one of its own")
	synctest.Test(t, func(*testing.T) {
		now := time.Now()
		c.swept = now
		for _, l := range c.lines {
			l.used = now
		}
		time.Sleep(keptFor)
		c.line(peer{address: "one who is there"})
		assert.Equal(t, 101, len(c.lines), "they may still have a connection")
		time.Sleep(time.Second)
		c.line(peer{address: "one who is there"})
		assert.Equal(t, 1, len(c.lines))
	})
}
