package protocol_test

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

func TestLinesOfProcesses(t *testing.T) {
	t.Parallel()
	var wire bytes.Buffer
	calls := []protocol.ProcessCall{
		{Number: 1, Operation: protocol.OperationStart, Connection: json.RawMessage(`{"ip":"127.0.0.1"}`)},
		{Number: 2, Operation: protocol.OperationSignal, Process: 7, Signal: 15},
		{Number: 3, Operation: protocol.OperationEnd},
	}
	for _, call := range calls {
		require.NoError(t, protocol.WriteLine(&wire, call))
	}
	reader := protocol.LineReader(&wire)
	for _, want := range calls {
		var got protocol.ProcessCall
		require.NoError(t, protocol.ReadLine(reader, &got))
		assert.Equal(t, want, got)
	}
	assert.ErrorIs(t, protocol.ReadLine(reader, &protocol.ProcessCall{}), io.EOF)

	answer := protocol.ProcessAnswer{Exited: &protocol.Exited{
		Process: 7, ExitCode: -1, Signal: 9, Output: "last\nwords", Usage: protocol.Usage{CPUSeconds: 1.5, MemoryKills: 1, MemoryLimit: 1 << 30},
	}}
	require.NoError(t, protocol.WriteLine(&wire, answer))
	var got protocol.ProcessAnswer
	require.NoError(t, protocol.ReadLine(protocol.LineReader(&wire), &got))
	assert.Equal(t, answer, got)
}

func TestLinesAreBounded(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"nonsense\n", "[]\n", strings.Repeat("x", 2*protocol.LineBytes), `{"number":-1}` + "\n"} {
		err := protocol.ReadLine(protocol.LineReader(strings.NewReader(text)), &protocol.ProcessAnswer{})
		assert.ErrorIs(t, err, protocol.ErrLine, "%.20s", text)
	}
	assert.ErrorIs(t, protocol.WriteLine(io.Discard, protocol.ProcessAnswer{Error: strings.Repeat("x", protocol.LineBytes)}), protocol.ErrLine)
}
