package portal_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/portal"
)

// stream follows what a page hears. Its lines end with the stream.
func (h *harness) stream(server *httptest.Server, user, of string) (lines <-chan string, end context.CancelFunc) {
	h.Helper()
	ctx, cancel := context.WithCancel(h.Context())
	h.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+base+"live"+of, nil)
	require.NoError(h, err)
	r.Header.Set("Authorization", "token "+user+"-token")
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	require.NoError(h, err)
	require.Equal(h, http.StatusOK, answer.StatusCode)
	require.Equal(h, "text/event-stream", answer.Header.Get("Content-Type"))
	heard := make(chan string, 1000)
	go func() {
		defer close(heard)
		defer answer.Body.Close()
		for scanner := bufio.NewScanner(answer.Body); scanner.Scan(); {
			if text := scanner.Text(); strings.HasPrefix(text, "data:") || text == ": here" {
				heard <- text
			}
		}
	}()
	require.Equal(h, ": here", <-heard)
	return heard, cancel
}

func TestPagesHearOfChanges(t *testing.T) {
	h := newHarnessOfAlice(t, func(c *portal.Config) { c.LiveEvery = 20 * time.Millisecond })
	server := httptest.NewServer(h.portal)
	t.Cleanup(server.Close)
	alice, endAlice := h.stream(server, "alice", "")
	root, _ := h.stream(server, "root", "?of=all")

	h.kernel("k-bob", "bob", "jupyter-bob", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelQueued})
	assert.Equal(t, "data: changed", <-root)
	h.kernel("k-alice-2", "alice", "jupyter-alice", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelQueued})
	assert.Equal(t, "data: changed", <-alice)
	time.Sleep(200 * time.Millisecond) // its status comes after it
	for len(alice) > 0 {
		<-alice
	}
	for len(root) > 0 {
		<-root
	}
	h.kernel("k-bob-2", "bob", "jupyter-bob", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelQueued})
	assert.Equal(t, "data: changed", <-root)
	time.Sleep(100 * time.Millisecond)
	assert.Empty(t, alice, "what is another's is nothing to her")

	endAlice()
	h.members.fail(groups.ErrUnavailable)
	for range root { // it ends when it cannot be told any more who is an administrator
	}
	h.members.fail(nil)
	bob, _ := h.stream(server, "bob", "")
	h.portal.Drain()
	for range bob { // at once
	}
}

func TestStreamsAreForWhoMay(t *testing.T) {
	h := newHarness(t)
	assert.Equal(t, http.StatusForbidden, h.call("bob", http.MethodGet, "live?of=all", "").Code)
	h.members.fail(groups.ErrUnavailable)
	assert.Equal(t, http.StatusServiceUnavailable, h.call("root", http.MethodGet, "live?of=all", "").Code)
	w := h.call("bob", http.MethodGet, "live", "")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Contains(t, w.Body.String(), "\n:\n", "it says that it is there")
}

// TestStreamsOutliveARequestsTime, and leave the connection as they found it.
func TestStreamsOutliveARequestsTime(t *testing.T) {
	h := newHarnessOfAlice(t, func(c *portal.Config) { c.RequestTimeout, c.LiveEvery = time.Second, 50*time.Millisecond })
	server := httptest.NewServer(h.portal)
	t.Cleanup(server.Close)
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	t.Cleanup(client.CloseIdleConnections)
	get := func(path string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+base+path, nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "token alice-token")
		answer, err := client.Do(r)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, answer.StatusCode)
		return answer
	}
	get("api/v1/me").Body.Close()
	stream := get("live")
	time.Sleep(1500 * time.Millisecond)
	h.kernel("k-late", "alice", "jupyter-alice", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelQueued})
	heard := false
	for scanner := bufio.NewScanner(stream.Body); !heard && scanner.Scan(); {
		heard = scanner.Text() == "data: changed"
	}
	assert.True(t, heard)
	h.portal.Drain()
	_, err := io.Copy(io.Discard, stream.Body)
	require.NoError(t, err)
	stream.Body.Close()
	get("").Body.Close()
}
