package remote_test

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/agent/remote"
	"github.com/elastichub/elastichub/rotation"
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
func startAgent(t *testing.T, name string) (ip string, run keys.Secrets, ended <-chan protocol.Result) {
	t.Helper()
	return startAgentWith(t, name, "")
}

// startAgentWith is startAgent where the secret is read again from a file.
func startAgentWith(t *testing.T, name, secretFile string) (ip string, run keys.Secrets, ended <-chan protocol.Result) {
	t.Helper()
	ip = loopback.IP()
	run, ended = startAgentAt(t, name, secretFile, net.JoinHostPort(ip, strconv.Itoa(protocol.Port)))
	return ip, run, ended
}

// startAgentAt is startAgentWith at an address and port.
func startAgentAt(t *testing.T, name, secretFile, address string) (run keys.Secrets, ended <-chan protocol.Result) {
	t.Helper()
	python := pythontest.Interpreter(t)
	cfg := agent.DefaultConfig()
	cfg.Secret, cfg.SecretFile = secret(t, name), secretFile
	cfg.KernelID, cfg.KernelName, cfg.Listen = "k", "python3", address
	cfg.TerminationLog = filepath.Join(t.TempDir(), "log")
	cfg.Log = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	end := make(chan protocol.Result, 1)
	go func() {
		result, _ := agentpod.Run(ctx, cfg, []string{python, "-m", "ipykernel_launcher", "-f", "{connection_file}"}, io.Discard, t.TempDir())
		end <- result
	}()
	t.Cleanup(cancel)
	return keys.Secrets{cfg.Secret}, end
}

// TestAnAgentByIPv6: its certificate is known by the run, whatever the address is.
func TestAnAgentByIPv6(t *testing.T) {
	loopback.NeedIPv6(t)
	port := loopback.Port()
	run, ended := startAgentAt(t, "run-1", "", net.JoinHostPort("::1", strconv.Itoa(port)))
	c := remote.NewCaller(port, nil)
	require.Eventually(t, func() bool { _, err := c.Idle(t.Context(), "::1", run); return err == nil }, 30*time.Second, 50*time.Millisecond)
	require.NoError(t, c.Shutdown(t.Context(), "::1", run))
	assert.Equal(t, protocol.ReasonShutdown, (<-ended).Reason)
}

func TestShutdownOfARealAgent(t *testing.T) {
	ip, run, ended := startAgent(t, "run-1")
	c := remote.NewCaller(protocol.Port, nil)
	require.Eventually(t, func() bool { _, err := c.Idle(t.Context(), ip, run); return err == nil }, 30*time.Second, 50*time.Millisecond)
	assert.Error(t, c.Shutdown(t.Context(), ip, keys.Secrets{secret(t, "run-2")}))
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
		idle, err := c.Idle(t.Context(), ip, keys.Secrets{run})
		require.NoError(t, err)
		assert.Equal(t, time.Minute, idle)
	}
	assert.EqualValues(t, 1, made.Load())
	_, err := c.Idle(t.Context(), ip, keys.Secrets{secret(t, "run-2")})
	assert.ErrorIs(t, err, keys.ErrPeer)
	assert.EqualValues(t, 5, seen.Load())

	stop()
	next := secret(t, "run-2")
	made, _, stop = serve(next)
	defer stop()
	_, err = c.Idle(t.Context(), ip, keys.Secrets{run})
	assert.ErrorIs(t, err, keys.ErrPeer, "the address is another Pod's by now")
	_, err = c.Idle(t.Context(), ip, keys.Secrets{next})
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
	stranger := keys.Secrets{secret(t, "warm-2")}
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

// TestAnAgentFollowsItsSecret: while the gateway's key is rotated its callers know two secrets
// of it, and reach it at every moment. One that is cut off opens nothing, and what it has opened
// is closed.
func TestAnAgentFollowsItsSecret(t *testing.T) {
	t.Parallel()
	former, current := secret(t, "run-1"), secret(t, "run-2")
	file := filepath.Join(t.TempDir(), "key")
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(file), name), []byte(text), 0o600))
	}
	write("key", former.Hex())
	ip, _, _ := startAgentWith(t, "run-1", file)
	c := remote.NewCaller(protocol.Port, nil)
	both := keys.Secrets{current, former}
	reached := func(secrets ...keys.Secret) error {
		_, err := c.Idle(t.Context(), ip, secrets)
		return err
	}
	require.Eventually(t, func() bool { return reached(former) == nil }, time.Minute, 50*time.Millisecond)
	require.NoError(t, reached(both...))
	require.ErrorIs(t, reached(current), keys.ErrPeer)
	open := func(secret keys.Secret) (ended chan error) {
		ws, _, err := websocket.Dial(t.Context(), protocol.URL("wss", ip, protocol.Port, protocol.PathChannels, url.Values{protocol.QuerySession: {"s"}}), &websocket.DialOptions{
			HTTPClient: protocol.Client(secret, (&net.Dialer{}).DialContext, time.Minute), HTTPHeader: protocol.Header(secret), Subprotocols: []string{protocol.Subprotocol},
		})
		require.NoError(t, err)
		t.Cleanup(func() { _ = ws.CloseNow() })
		ended = make(chan error, 1)
		go func() {
			for {
				if _, _, err := ws.Read(context.Background()); err != nil {
					ended <- err
					return
				}
			}
		}()
		return ended
	}
	ofFormer := open(former)

	write("former", former.Hex())
	write("key", current.Hex())
	require.Eventually(t, func() bool {
		require.NoError(t, reached(both...))
		return reached(current) == nil
	}, time.Minute, 50*time.Millisecond)
	ofCurrent := open(current)
	_, err := remote.NewCaller(protocol.Port, nil).Idle(t.Context(), ip, keys.Secrets{former}) // that has no connection yet
	require.ErrorIs(t, err, keys.ErrPeer, "the certificate is the new one's")
	select {
	case err := <-ofFormer:
		t.Fatalf("the former still counts: %v", err)
	case <-time.After(2 * rotation.Interval):
	}

	require.NoError(t, os.Remove(filepath.Join(filepath.Dir(file), "former")))
	select {
	case err := <-ofFormer:
		require.Error(t, err)
	case <-time.After(time.Minute):
		t.Fatal("who was let in by the former is still in")
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, protocol.URL("https", ip, protocol.Port, protocol.PathState, nil), nil)
	require.NoError(t, err)
	request.Header = protocol.Header(former)
	answer, err := protocol.Client(current, (&net.Dialer{}).DialContext, time.Minute).Do(request)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	assert.Equal(t, http.StatusUnauthorized, answer.StatusCode)
	require.NoError(t, reached(both...))
	assert.Empty(t, ofCurrent)

	write("key", "damaged")
	time.Sleep(rotation.Interval + 200*time.Millisecond)
	require.NoError(t, reached(current), "what it was before goes on")
}
