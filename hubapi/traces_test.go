package hubapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/hubapi"
	"github.com/elastichub/elastichub/tracing/tracingtest"
)

// TestTheTraceOfARequest: what is asked for a user is recorded as part of what the caller names, and
// says nothing that the log does not say.
func TestTheTraceOfARequest(t *testing.T) {
	tracer, receiver := tracingtest.Start(t, "service")
	h := newHarness(t, func(_ *hubapi.Config, d *hubapi.Dependencies) { d.Tracer = tracer })
	ask := func(method, path, body string) int {
		r := httptest.NewRequest(method, "http://hub"+path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Request-Id", "start-1")
		r.Header.Set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		w := httptest.NewRecorder()
		h.api.ServeHTTP(w, r)
		return w.Code
	}
	require.Equal(t, http.StatusOK, ask("GET", "/api/spawner/v1/servers", ""))
	require.Equal(t, http.StatusOK, ask("PUT", researcher+"/server?name=hidden-name", `{"start":"s1","env":{"JUPYTERHUB_API_TOKEN":"hunter2"},"cmd":["c"],"args":["--token=hunter2"]}`))
	require.Equal(t, http.StatusNotFound, ask("GET", "/api/spawner/v1/users/nobody/form", ""))

	spans := receiver.Await(t, "PUT /api/spawner/v1/users/:user/server", "GET /api/spawner/v1/users/:user/form", "groups", "write the server")
	assert.Len(t, receiver.Spans(), 5, "groups twice, and nothing of what is asked all the time")
	put := spans["PUT /api/spawner/v1/users/:user/server"]
	assert.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", put.Trace)
	assert.Equal(t, "00f067aa0ba902b7", put.Parent)
	assert.Equal(t, map[string]string{"request": "start-1", "url.path": researcher + "/server", "http.response.status_code": "200"}, put.Attributes)
	assert.Empty(t, put.Failed)
	assert.Equal(t, put.ID, spans["write the server"].Parent)
	assert.Equal(t, "unknown-user", spans["GET /api/spawner/v1/users/:user/form"].Failed)
	for _, secret := range []string{"hunter2", token, "hidden-name"} {
		assert.NotContains(t, receiver.Raw(), secret)
	}
}
