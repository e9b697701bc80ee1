package hubapi_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/hubapi"
	"github.com/elastichub/elastichub/spawner"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs the API on a real listener, as cmd does.
func (h *harness) serve(t *testing.T) (url string, server *http.Server) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server = hubapi.NewServer(h.api)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		assert.NoError(t, server.Shutdown(ctx), "streams are drained, so that a shutdown ends")
		assert.ErrorIs(t, <-served, http.ErrServerClosed)
		http.DefaultClient.CloseIdleConnections()
	})
	return "http://" + listener.Addr().String(), server
}

// follow opens a stream and gives its lines; it closes at the stream's end.
func follow(t *testing.T, url, after string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+researcher+"/server/events?name=&start=s1", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	if after != "" {
		r.Header.Set("Last-Event-ID", after)
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode)
	lines := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(lines)
		defer answer.Body.Close()
		for scanner := bufio.NewScanner(answer.Body); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return lines
}

// until reads lines up to one with the given beginning.
func until(t *testing.T, lines <-chan string, begin string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case line, open := <-lines:
			require.True(t, open, "the stream ended before %q", begin)
			if strings.HasPrefix(line, begin) {
				return
			}
		case <-deadline:
			require.Fail(t, "no line", "%q", begin)
		}
	}
}

func rest(t *testing.T, lines <-chan string) string {
	t.Helper()
	var all []string
	deadline := time.After(20 * time.Second)
	for {
		select {
		case line, open := <-lines:
			if !open {
				return strings.Join(all, "\n")
			}
			all = append(all, line)
		case <-deadline:
			require.Fail(t, "the stream does not end")
		}
	}
}

var key = spawner.Key{User: "researcher"}

func started(t *testing.T, h *harness) {
	t.Helper()
	_, err := h.servers.Start(t.Context(), spawner.Request{Key: key, Start: "s1"})
	require.NoError(t, err)
}

func TestEventsAreFollowedAndResumed(t *testing.T) {
	h := newHarness(t)
	url, _ := h.serve(t)
	started(t, h)
	first := follow(t, url, "")
	until(t, first, "id: 1")
	h.servers.Advance(key, v1alpha1.NotebookStarting, "", "Line one\nid: 99")
	until(t, first, "id: 2")
	until(t, first, `data: {"progress":50,"message":"Line one\nid: 99"`)

	second := follow(t, url, "1")
	until(t, second, "id: 2")
	h.servers.Advance(key, v1alpha1.NotebookReady, "http://x", "The server answers.")
	for _, stream := range []<-chan string{first, second} {
		tail := rest(t, stream)
		assert.Contains(t, tail, "id: 3\nevent: ready\n")
		assert.NotContains(t, tail, "id: 1\n")
	}
	assert.NotContains(t, rest(t, follow(t, url, "3")), "id:", "nothing twice")
}

func TestFinalEventsSayHowItEnded(t *testing.T) {
	for phase, kind := range map[v1alpha1.NotebookPhase]string{
		v1alpha1.NotebookReady: "ready", v1alpha1.NotebookFailed: "failed", v1alpha1.NotebookStopped: "stopped",
	} {
		h := newHarness(t)
		url, _ := h.serve(t)
		started(t, h)
		h.servers.Advance(key, phase, "", "over")
		assert.Contains(t, rest(t, follow(t, url, "")), "event: "+kind+"\n")
	}
}

func TestSilentStreamsAreKeptOpen(t *testing.T) {
	h := newHarness(t, func(c *hubapi.Config, _ *hubapi.Dependencies) {
		c.KeepAlive = 200 * time.Millisecond
		c.RequestTimeout, c.LookupTimeout = time.Second, time.Second
	})
	url, _ := h.serve(t)
	started(t, h)
	lines := follow(t, url, "")
	for range 15 { // three times the bound on other requests
		until(t, lines, ": keep-alive")
	}
	assert.Equal(t, 1.0, gauge(t, h))
	h.servers.Advance(key, v1alpha1.NotebookReady, "http://x", "")
	assert.Contains(t, rest(t, lines), "event: ready")
	assert.Eventually(t, func() bool { return gauge(t, h) == 0 }, 20*time.Second, 10*time.Millisecond)
}

func gauge(t *testing.T, h *harness) float64 {
	t.Helper()
	families, err := h.registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == "elastichub_hubapi_event_streams" {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	require.Fail(t, "no such gauge")
	return 0
}

func TestDrainEndsStreamsWithoutAFinalEvent(t *testing.T) {
	h := newHarness(t)
	url, server := h.serve(t)
	started(t, h)
	lines := follow(t, url, "")
	until(t, lines, "id: 1")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, server.Shutdown(ctx))
	tail := rest(t, lines)
	for _, kind := range []string{"ready", "failed", "stopped"} {
		assert.NotContains(t, tail, "event: "+kind)
	}
}

func TestAClientThatGoesAwayLeavesNothing(t *testing.T) {
	h := newHarness(t, func(c *hubapi.Config, _ *hubapi.Dependencies) { c.KeepAlive = 10 * time.Millisecond })
	url, _ := h.serve(t)
	started(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+researcher+"/server/events?name=&start=s1", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	cancel()
	answer.Body.Close()
	assert.Eventually(t, func() bool { return gauge(t, h) == 0 }, 20*time.Second, 10*time.Millisecond)
}

func TestEventsOfAnotherStartAreNotGiven(t *testing.T) {
	h := newHarness(t)
	started(t, h)
	assert.Equal(t, http.StatusNotFound, h.call("GET", researcher+"/server/events?name=&start=s2", "").Code)
}
