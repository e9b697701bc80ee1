package protocol_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// TestInstantsHaveSixFractionDigits: Jupyter's clients parse no other form.
func TestInstantsHaveSixFractionDigits(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600))
	raw, err := json.Marshal(protocol.State{LastActivity: protocol.Instant{Time: at}})
	require.NoError(t, err)
	assert.Contains(t, string(raw), `"lastActivity":"2026-03-04T04:06:07.000000Z"`)
	var back protocol.State
	require.NoError(t, json.Unmarshal(raw, &back))
	assert.True(t, back.LastActivity.Equal(at))
}

// TestTheDocumentSaysTheSame holds docs/agent-protocol.md against what is declared.
func TestTheDocumentSaysTheSame(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../../docs/agent-protocol.md")
	require.NoError(t, err)
	document := string(raw)
	for _, call := range []string{
		"GET " + protocol.PathReady, "GET " + protocol.PathState, "POST " + protocol.PathInterrupt, "POST " + protocol.PathRestart,
		"PUT " + protocol.PathIdle, "PUT " + protocol.PathVariables, "POST " + protocol.PathPark, "POST " + protocol.PathShutdown, "GET " + protocol.PathChannels,
	} {
		assert.Contains(t, document, "`"+call)
	}
	for _, reason := range []protocol.Reason{
		protocol.ReasonIdle, protocol.ReasonShutdown, protocol.ReasonKernelExited, protocol.ReasonStartFailed,
		protocol.ReasonOrphaned, protocol.ReasonTerminated,
	} {
		assert.Contains(t, document, "`"+string(reason)+"`")
	}
	assert.Contains(t, document, "`"+protocol.Subprotocol+"`")
	text := strings.Join(strings.Fields(document), " ")
	assert.Contains(t, text, "One TLS port (8443)")
	assert.Contains(t, text, "4000 the agent ends")
	assert.Contains(t, text, "4001 the session has too many connections")
	for _, name := range []string{
		protocol.EnvKeyFile, protocol.EnvKernelID, protocol.EnvKernelName, protocol.EnvIdleTimeout, protocol.EnvCullConnected, protocol.EnvInterruptMode,
		protocol.EnvGPUs, protocol.EnvTerminationLog, protocol.EnvListen, protocol.EnvParkNotice, protocol.EnvIOPubMessages, protocol.EnvIOPubBytes,
	} {
		assert.Contains(t, document, "`"+name+"`")
	}
	assert.Equal(t, 8443, protocol.Port)
	assert.EqualValues(t, 4000, protocol.CloseEnded)
	assert.EqualValues(t, 4001, protocol.CloseReplaced)
}

// TestOlderAgentsAreToldWhatTheyKnow: they refuse any other field.
func TestOlderAgentsAreToldWhatTheyKnow(t *testing.T) {
	t.Parallel()
	limits := protocol.IdleLimits{Long: time.Hour, Short: 5 * time.Minute, CullConnected: true}
	for version, want := range map[int]string{
		0: `{"timeoutSeconds":3600,"cullConnected":true}`,
		2: `{"timeoutSeconds":3600,"cullConnected":true}`,
		3: `{"timeoutSeconds":3600,"cullConnected":true,"keepSeconds":300}`,
		4: `{"timeoutSeconds":3600,"cullConnected":true,"keepSeconds":300}`,
	} {
		raw, err := json.Marshal(limits.Body(version))
		require.NoError(t, err)
		assert.JSONEq(t, want, string(raw))
	}
	raw, err := json.Marshal(protocol.IdleLimits{}.Body(3))
	require.NoError(t, err)
	assert.JSONEq(t, `{"timeoutSeconds":0,"cullConnected":false,"keepSeconds":0}`, string(raw), "no limit is said, too")
}
