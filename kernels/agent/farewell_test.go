package agent_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
)

// TestShutdownRequestOfAClient: it is no death, whatever the kernel was doing,
// and a kernel that dies all the same is told of.
func TestShutdownRequestOfAClient(t *testing.T) {
	t.Parallel()
	shutdown := func(g *gateway, channel wire.Channel, restart bool) {
		g.send(g.build.New(channel, wire.TypeShutdownRequest, nil, map[string]bool{"restart": restart}))
	}
	t.Run("ends the run", func(t *testing.T) {
		t.Parallel()
		r := start(t, ipykernel(t), nil)
		g := r.connect("s1")
		g.run("x = 1")
		shutdown(g, wire.Control, false)
		e, all := g.closed()
		assert.Equal(t, "shutdown", e.Reason)
		for _, m := range all {
			assert.NotEqual(t, wire.TypeStream, m.Type(), "%s", m.Content)
		}
		assert.Equal(t, protocol.Result{Reason: protocol.ReasonShutdown}, r.ended())
	})
	t.Run("while it starts", func(t *testing.T) {
		t.Parallel()
		r := start(t, ipykernel(t), nil)
		shutdown(r.connect("s1"), wire.Control, false)
		assert.Equal(t, protocol.ReasonShutdown, r.ended().Reason)
	})
	for name, channel := range map[string]wire.Channel{"on control": wire.Control, "on shell": wire.Shell} {
		t.Run("restarts "+name, func(t *testing.T) {
			t.Parallel()
			r := start(t, ipykernel(t), nil)
			g := r.connect("s1")
			g.run("x = 1")
			shutdown(g, channel, true)
			require.Eventually(t, func() bool { return r.state().Restarts == 1 }, patience, 5*time.Millisecond)
			o := g.result(g.execute("print('x' in dir())"))
			assert.Equal(t, "False\n", o.stdout)
			assert.Empty(t, o.stderr)
			assert.NotContains(t, r.log.String(), "kernel crashed")
		})
	}
	t.Run("but a crash is one", func(t *testing.T) {
		t.Parallel()
		r := start(t, ipykernel(t), nil)
		g := r.connect("s1")
		g.run("import atexit, os; atexit.register(lambda: os._exit(3))")
		shutdown(g, wire.Control, false)
		g.until(func(m *wire.Message) bool { return m.ExecutionState() == "restarting" })
		assert.Equal(t, "7\n", g.run("print(7)"))
	})
}
