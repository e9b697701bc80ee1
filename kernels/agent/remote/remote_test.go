package remote_test

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/agent/remote"
	"github.com/elastichub/elastichub/test/agentpod"
	"github.com/elastichub/elastichub/test/loopback"
	"github.com/elastichub/elastichub/test/pythontest"
)

func secret(t *testing.T, id string) keys.Secret {
	s, err := keys.Derive(bytes.Repeat([]byte{7}, keys.Size), id, 0)
	require.NoError(t, err)
	return s
}

// startAgent runs an agent with a real ipykernel, and tells where it is and how it ends.
func startAgent(t *testing.T, name string) (ip string, run keys.Secret, ended <-chan protocol.Result) {
	t.Helper()
	python := pythontest.Interpreter(t)
	ip = loopback.IP()
	cfg := agent.DefaultConfig()
	cfg.Secret = secret(t, name)
	cfg.KernelID, cfg.KernelName, cfg.Listen = "k", "python3", net.JoinHostPort(ip, strconv.Itoa(protocol.Port))
	cfg.TerminationLog = filepath.Join(t.TempDir(), "log")
	cfg.Log = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	end := make(chan protocol.Result, 1)
	go func() {
		result, _ := agentpod.Run(ctx, cfg, []string{python, "-m", "ipykernel_launcher", "-f", "{connection_file}"}, io.Discard, t.TempDir())
		end <- result
	}()
	t.Cleanup(cancel)
	return ip, cfg.Secret, end
}

func TestShutdownOfARealAgent(t *testing.T) {
	ip, run, ended := startAgent(t, "run-1")
	c := remote.NewCaller(protocol.Port, nil)
	require.Eventually(t, func() bool { _, err := c.Idle(t.Context(), ip, run); return err == nil }, 30*time.Second, 50*time.Millisecond)
	assert.Error(t, c.Shutdown(t.Context(), ip, secret(t, "run-2")))
	require.NoError(t, c.Shutdown(t.Context(), ip, run))
	assert.Equal(t, protocol.ReasonShutdown, (<-ended).Reason)
}

// TestAConnectionIsKept: for the next call of the same run, and never for that of another one
// at the same address, which would be shown the secret of the latter.
func TestAConnectionIsKept(t *testing.T) {
	t.Parallel()
	ip, run := loopback.IP(), secret(t, "run-1")
	serve := func(run keys.Secret) (made, seen *atomic.Int32, stop func()) {
		config, err := run.ServerTLS()
		require.NoError(t, err)
		l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(protocol.Port)))
		require.NoError(t, err)
		made, seen = &atomic.Int32{}, &atomic.Int32{}
		server := &http.Server{
			TLSConfig: config, ReadHeaderTimeout: time.Second, ErrorLog: log.New(io.Discard, "", 0),
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen.Add(1)
				assert.True(t, run.Accepts(r.Header.Get("Authorization")))
				assert.Equal(t, l.Addr().String(), r.Host)
				for range 10 { // of no length that is told before
					_, _ = io.WriteString(w, strings.Repeat(" ", 1024))
				}
				_, _ = io.WriteString(w, `{"protocol":5,"idleSeconds":60}`+strings.Repeat("\n", 4096))
			}),
			ConnState: func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					made.Add(1)
				}
			},
		}
		go func() { _ = server.ServeTLS(l, "", "") }()
		return made, seen, func() { _ = server.Close() }
	}
	made, seen, stop := serve(run)
	c := remote.NewCaller(protocol.Port, nil)
	for range 5 {
		idle, err := c.Idle(t.Context(), ip, run)
		require.NoError(t, err)
		assert.Equal(t, time.Minute, idle)
	}
	assert.EqualValues(t, 1, made.Load())
	_, err := c.Idle(t.Context(), ip, secret(t, "run-2"))
	assert.ErrorIs(t, err, keys.ErrPeer)
	assert.EqualValues(t, 5, seen.Load())

	stop()
	next := secret(t, "run-2")
	made, _, stop = serve(next)
	defer stop()
	_, err = c.Idle(t.Context(), ip, run)
	assert.ErrorIs(t, err, keys.ErrPeer, "the address is another Pod's by now")
	_, err = c.Idle(t.Context(), ip, next)
	require.NoError(t, err)
	assert.EqualValues(t, 2, made.Load())
}

func TestCallsOfARealAgent(t *testing.T) {
	ip, run, ended := startAgent(t, "warm-1")
	ctx := t.Context()
	c := remote.NewCaller(protocol.Port, nil)
	require.Eventually(t, func() bool {
		idle, err := c.Idle(ctx, ip, run)
		return err == nil && idle > 10*time.Millisecond
	}, 30*time.Second, 50*time.Millisecond)

	report, err := c.Report(ctx, ip, run)
	require.NoError(t, err)
	require.True(t, report.Meter.Counts())
	assert.Positive(t, report.Meter.HeldSeconds)

	// another run's key is no key
	stranger := secret(t, "warm-2")
	_, err = c.Idle(ctx, ip, stranger)
	assert.ErrorIs(t, err, keys.ErrPeer)
	assert.Error(t, c.SetIdle(ctx, ip, stranger, protocol.IdleLimits{Long: time.Second, CullConnected: true}))
	assert.ErrorContains(t, c.SetIdle(ctx, "agent.example.org", run, protocol.IdleLimits{Long: time.Second}), "no address")

	require.NoError(t, c.SetIdle(ctx, ip, run, protocol.IdleLimits{Long: time.Hour, Short: time.Minute}))
	require.Eventually(t, func() bool {
		return c.SetVariables(ctx, ip, run, protocol.Variables{Variables: map[string]string{"JUPYTERHUB_USER": "ann"}}) == nil
	}, 30*time.Second, 50*time.Millisecond, "once there is a kernel")
	assert.ErrorContains(t, c.SetVariables(ctx, ip, run, protocol.Variables{Variables: map[string]string{protocol.EnvGPUs: "8"}}), "400")
	told, err := c.SetKeep(ctx, ip, run, protocol.KeepState{Kernel: "uid", Keys: []string{strings.Repeat("ab", keys.Size)}, Run: 1, TTLSeconds: 60})
	require.NoError(t, err)
	assert.False(t, told, "it is no agent that waits for it")
	told, err = c.SetKeep(ctx, ip, run, protocol.KeepState{})
	require.NoError(t, err)
	assert.False(t, told)
	_, err = c.SetKeep(ctx, ip, stranger, protocol.KeepState{})
	require.Error(t, err)
	will, err := c.Park(ctx, ip, run, time.Hour)
	require.NoError(t, err)
	assert.False(t, will)
	_, err = c.Park(ctx, ip, run, 0)
	assert.ErrorContains(t, err, "400")

	require.Eventually(t, func() bool {
		will, err := c.ParkByHand(ctx, ip, run, 10*time.Millisecond)
		return err == nil && will
	}, 10*time.Second, 50*time.Millisecond)
	assert.Equal(t, protocol.ReasonIdle, (<-ended).Reason)

	timed, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	_, err = c.Idle(timed, ip, run)
	assert.Error(t, err, "it has ended")
}
