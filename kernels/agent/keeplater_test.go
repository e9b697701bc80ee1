package agent_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// startLater is startKept, of an agent that is told later how the state is kept.
func startLater(t *testing.T, home string) *running {
	t.Helper()
	return startInHome(t, home, ipykernel(t), kept(t, 1, func(c *agent.Config) {
		known := *c.Keep
		known.Kernel, known.Keys, known.Run, known.TTL, known.Short = "", nil, 0, 0, 0
		c.Keep, c.KeepLater, c.IdleTimeout = nil, &known, 0
	}))
}

// keepState is what the controllers tell of kernelUID.
func keepState(t *testing.T, change func(*protocol.KeepState)) string {
	t.Helper()
	state := protocol.KeepState{Kernel: kernelUID, Keys: []string{"0102" + strings.Repeat("00", 30)}, Run: 2, TTLSeconds: 3600}
	if change != nil {
		change(&state)
	}
	raw, err := json.Marshal(state)
	require.NoError(t, err)
	return string(raw)
}

// TestAKernelIsToldItsState: one that was kept ready takes the state of somebody's kernel
// before the first cell, and keeps it when it is parked.
func TestAKernelIsToldItsState(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	first := startKept(t, home, 1, nil)
	first.connect("s1").run("a = [1, 2]")
	first.parkedWith()

	r := startLater(t, home)
	r.waitReady()
	status, answer := r.request("PUT", protocol.PathIdle, `{"timeoutSeconds": 3600, "keepSeconds": 1}`)
	require.Equal(t, 204, status, answer)
	for range 2 { // it may be repeated
		status, answer = r.request("PUT", protocol.PathKeep, keepState(t, nil))
		require.Equal(t, 204, status, answer)
	}
	status, answer = r.request("PUT", protocol.PathKeep, keepState(t, func(s *protocol.KeepState) { s.Run = 3 }))
	assert.Equal(t, 409, status, answer)
	g := r.connect("s1")
	assert.True(t, g.hello.Keeps)
	back := g.result(g.execute("a.append(3)\nprint(a)"))
	assert.Equal(t, "[1, 2, 3]\n", back.stdout)
	require.Len(t, back.notices(), 1)
	assert.Contains(t, back.notices()[0], "Kernel is back with one variable")
	assert.Contains(t, r.parkedWith(), "Its one variable is kept")
	require.NotNil(t, r.result.Kept)
	assert.EqualValues(t, 2, r.result.Kept.Run)

	third := startKept(t, home, 3, nil)
	assert.Equal(t, "[1, 2, 3]\n", third.connect("s1").run("print(a)"))
}

// TestWhoIsToldNoState: an agent that is not waiting for that, or whose kernel somebody has
// spoken to; and nothing that is no state is taken.
func TestWhoIsToldNoState(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startLater(t, home)
	r.waitReady()
	for name, change := range map[string]func(*protocol.KeepState){
		"no kernel":         func(s *protocol.KeepState) { s.Kernel = "" },
		"no key":            func(s *protocol.KeepState) { s.Keys = nil },
		"half a key":        func(s *protocol.KeepState) { s.Keys = []string{"01"} },
		"no run":            func(s *protocol.KeepState) { s.Run = 0 },
		"a later run":       func(s *protocol.KeepState) { s.Loads = 2 },
		"no time":           func(s *protocol.KeepState) { s.TTLSeconds = 0 },
		"an eternity":       func(s *protocol.KeepState) { s.TTLSeconds = 1e300 },
		"less than nothing": func(s *protocol.KeepState) { s.MaxBytes = -1 },
	} {
		status, answer := r.request("PUT", protocol.PathKeep, keepState(t, change))
		assert.Equal(t, 400, status, "%s: %s", name, answer)
	}
	r.connect("s1").run("x = 1")
	status, answer := r.request("PUT", protocol.PathKeep, keepState(t, nil))
	assert.Equal(t, 409, status, answer)
	assert.NoDirExists(t, home+"/.elastichub")

	other := start(t, ipykernel(t), func(c *agent.Config) { c.IdleTimeout = time.Hour })
	other.waitReady()
	status, answer = other.request("PUT", protocol.PathKeep, keepState(t, nil))
	assert.Equal(t, 409, status, answer)
	assert.Equal(t, "1\n", other.connect("s1").run("print(1)"), "it goes on")
}
