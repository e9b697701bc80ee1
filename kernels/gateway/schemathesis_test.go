package gateway

import (
	"testing"

	"github.com/elastichub/elastichub/test/schemathesis"
)

func TestSchemathesis(t *testing.T) {
	w := newWorldWith(t, func(c *Config) { c.bounds.kernelsPerUser = 1 << 20 })
	// It speaks no WebSocket.
	schemathesis.Run(t, OpenAPI, w.server.Handler(), ciToken, "--exclude-path", "/api/kernels/{id}/channels")
}
