package hubclient_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAnswersAreCounted by how the Hub answers; what its caller gave up is none of its faults.
func TestAnswersAreCounted(t *testing.T) {
	answers := []func(http.ResponseWriter){
		func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"name": "a"}`)) },
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) },
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) },
		func(w http.ResponseWriter) { _, _ = w.Write([]byte(`<html>`)) },
	}
	next := 0
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answers[next](w)
		next++
	}))
	c := newClient(t, hub.URL, "token")
	registry := prometheus.NewRegistry()
	require.NoError(t, c.Register(registry))
	for range answers {
		_, _ = c.User(t.Context(), "a")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.User(gone, "a")
	require.Error(t, err)
	hub.Close()
	_, err = c.User(t.Context(), "a")
	require.Error(t, err)
	assert.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP elastichub_hub_requests_total Questions to JupyterHub's REST API by how they were answered: answered, refused, unavailable.
# TYPE elastichub_hub_requests_total counter
elastichub_hub_requests_total{result="answered"} 1
elastichub_hub_requests_total{result="refused"} 2
elastichub_hub_requests_total{result="unavailable"} 3
`)))
	assert.Error(t, c.Register(registry), "twice")
}
