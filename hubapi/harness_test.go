package hubapi_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/hubapi"
	"github.com/elastichub/elastichub/hubapi/internal/inmemory"
	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/test/lockedbuffer"
)

const token = "0123456789abcdef0123456789abcdef"

// In production these are the spawner's service.
var (
	_ hubapi.Servers = (*spawner.Service)(nil)
	_ hubapi.Servers = (*inmemory.Servers)(nil)
)

var clock = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// harness is the API over real policies and servers that the test moves.
type harness struct {
	api      *hubapi.API
	people   *inmemory.People
	servers  *inmemory.Servers
	registry *prometheus.Registry
	log      *lockedbuffer.Buffer
}

func newHarness(t testing.TB, changes ...func(*hubapi.Config, *hubapi.Dependencies)) *harness {
	t.Helper()
	now := func() time.Time { return clock }
	people, err := inmemory.NewPeople(contract, now)
	require.NoError(t, err)
	h := &harness{people: people, servers: inmemory.New(nil, now), registry: prometheus.NewRegistry(), log: &lockedbuffer.Buffer{}}
	config := hubapi.DefaultConfig()
	config.Tokens = hubapi.FixedTokens("another-token-of-enough-characters", token)
	deps := hubapi.Dependencies{
		Allowances: people, Servers: h.servers, Cluster: inmemory.Cluster{}, Ready: func() error { return nil },
		Log: slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Metrics: h.registry,
	}
	for _, change := range changes {
		change(&config, &deps)
	}
	h.api, err = hubapi.New(config, deps)
	require.NoError(t, err)
	return h
}

// call sends a request with the right token and a body of JSON.
func (h *harness) call(method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://hub"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.api.ServeHTTP(w, r)
	return w
}

var readDocument = sync.OnceValues(func() (*openapi3.T, error) {
	for _, kind := range []string{"text/html", "text/event-stream", "application/yaml", "text/plain"} {
		openapi3filter.RegisterBodyDecoder(kind, openapi3filter.PlainBodyDecoder)
	}
	return openapi3.NewLoader().LoadFromData(hubapi.OpenAPI)
})

func document(t *testing.T) *openapi3.T {
	t.Helper()
	d, err := readDocument()
	require.NoError(t, err)
	require.NoError(t, d.Validate(t.Context()))
	return d
}

// operation finds a request's operation, by its escaped path: the routers that
// come with the validator would cut a user name at its slashes.
func operation(t *testing.T, r *http.Request) (*routers.Route, map[string]string) {
	t.Helper()
	segments := strings.Split(r.URL.EscapedPath(), "/")
	for path, item := range document(t).Paths.Map() {
		parameters, matches := match(strings.Split(path, "/"), segments)
		if found := item.GetOperation(r.Method); matches && found != nil {
			return &routers.Route{Spec: document(t), Path: path, PathItem: item, Method: r.Method, Operation: found}, parameters
		}
	}
	require.Fail(t, "not in the document", "%s %s", r.Method, r.URL)
	return nil, nil
}

func match(template, segments []string) (map[string]string, bool) {
	parameters := map[string]string{}
	if len(template) != len(segments) {
		return nil, false
	}
	for i, name := range template {
		if strings.HasPrefix(name, "{") {
			parameters[strings.Trim(name, "{}")] = segments[i]
		} else if name != segments[i] {
			return nil, false
		}
	}
	return parameters, true
}

func problemOf(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"), "%d %s", w.Code, w.Body)
	return parsed(t, w)
}

func parsed(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &v))
	return v
}
