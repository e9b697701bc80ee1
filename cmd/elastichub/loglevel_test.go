package main

import (
	"bytes"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLogLevel sends this process the signals that the command sends.
func TestLogLevel(t *testing.T) {
	out := &lockedBuffer{}
	log := logConfig{Level: "warn", Format: "text"}.logger(t.Context(), out)
	tell := func(level string) {
		t.Helper()
		command := logLevelCommand()
		command.SetArgs([]string{level, "--pid", strconv.Itoa(os.Getpid())})
		require.NoError(t, command.Execute())
	}
	logs := func(level slog.Level) func() bool {
		return func() bool { return log.Enabled(t.Context(), level) }
	}
	assert.False(t, logs(slog.LevelInfo)())
	tell("debug")
	assert.Eventually(t, logs(slog.LevelDebug), 10*time.Second, time.Millisecond)
	tell("configured")
	assert.Eventually(t, func() bool { return !logs(slog.LevelInfo)() }, 10*time.Second, time.Millisecond)
	assert.True(t, logs(slog.LevelWarn)())
	assert.Eventually(t, func() bool {
		return bytes.Contains(out.bytes(), []byte("level=WARN msg=\"the level of the log has changed\""))
	}, 10*time.Second, time.Millisecond)

	command := logLevelCommand()
	command.SetArgs([]string{"loud"})
	command.SilenceUsage, command.SilenceErrors = true, true
	assert.EqualError(t, command.Execute(), `"loud" is not one of debug, configured`)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}
