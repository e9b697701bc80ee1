package hubapi_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/hubapi"
	"github.com/elastichub/elastichub/spawner"
)

const researcher = "/api/spawner/v1/users/researcher"

func TestDocumentNamesEveryRoute(t *testing.T) {
	h := newHarness(t)
	inDocument := map[string]bool{}
	for path, item := range document(t).Paths.Map() {
		for method := range item.Operations() {
			inDocument[method+" "+path] = true
		}
	}
	inCode := map[string]bool{}
	for _, route := range h.api.Routes() {
		inCode[route] = true
	}
	assert.Equal(t, inDocument, inCode)
	assert.Len(t, inCode, 14)
}

func TestEveryRouteWantsAToken(t *testing.T) {
	h := newHarness(t)
	probes := map[string]bool{"GET /healthz": true, "GET /readyz": true}
	for _, route := range append(h.api.Routes(), "GET /", "GET /api/spawner/v1/users/a/b/c", "PATCH /api/spawner/v1/servers", "GET /metrics") {
		method, path, _ := strings.Cut(route, " ")
		path = strings.ReplaceAll(path, "{user}", "researcher")
		for name, header := range map[string][]string{
			"none":       nil,
			"wrong":      {"Bearer 0123456789abcdef0123456789abcdeF"},
			"prefix":     {"Bearer " + token[:31]},
			"longer":     {"Bearer " + token + "0"},
			"empty":      {"Bearer "},
			"bare":       {token},
			"basic":      {"Basic " + token},
			"two values": {"Bearer " + token, "Bearer " + token},
		} {
			r := httptest.NewRequest(method, "http://hub"+path+"?token="+token, nil)
			r.Header["Authorization"] = header
			w := httptest.NewRecorder()
			h.api.ServeHTTP(w, r)
			if probes[route] {
				assert.Equal(t, http.StatusOK, w.Code, "%s, %s", route, name)
				continue
			}
			assert.Equal(t, http.StatusUnauthorized, w.Code, "%s, %s", route, name)
			assert.Equal(t, "urn:elastichub:problem:unauthenticated", problemOf(t, w)["type"])
		}
	}
	assert.NotContains(t, h.log.String(), token)

	assert.Equal(t, http.StatusOK, h.call("GET", "/api/spawner/v1/servers", "").Code)
	r := httptest.NewRequest("GET", "http://hub/api/spawner/v1/servers", nil)
	r.Header.Set("Authorization", "bearer another-token-of-enough-characters")
	w := httptest.NewRecorder()
	h.api.ServeHTTP(w, r)
	assert.Equal(t, http.StatusOK, w.Code, "the second token, and the scheme in any case")
}

// TestAListThatIsTheSameIsNotSentAgain, in whatever order the servers are kept.
func TestAListThatIsTheSameIsNotSentAgain(t *testing.T) {
	h := newHarness(t)
	ask := func(tag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "http://hub/api/spawner/v1/servers", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("If-None-Match", tag)
		w := httptest.NewRecorder()
		h.api.ServeHTTP(w, r)
		return w
	}
	for _, user := range []string{"a", "b", "c"} {
		for _, server := range []string{"", "x", "y"} {
			_, err := h.servers.Start(t.Context(), spawner.Request{Key: spawner.Key{User: user, Server: server}, Start: user + server})
			require.NoError(t, err)
		}
	}
	w := ask("")
	require.Equal(t, http.StatusOK, w.Code)
	tag := w.Header().Get("ETag")
	require.NotEmpty(t, tag)
	for range 10 {
		w = ask(tag)
		assert.Equal(t, http.StatusNotModified, w.Code)
		assert.Empty(t, w.Body.String())
	}
	require.NoError(t, h.servers.Stop(t.Context(), spawner.Key{User: "b", Server: "x"}))
	w = ask(tag)
	assert.Equal(t, http.StatusOK, w.Code)
	assert.NotEqual(t, tag, w.Header().Get("ETag"))
	assert.Len(t, parsed(t, w)["servers"], 9)
}

func TestUserNamesOfAnyCharacters(t *testing.T) {
	h := newHarness(t)
	for _, user := range []string{"a", "org/team/x", "..", ".", "a b", "a+b", "a%2Fb", "ü", "<script>", "a?b#c", "%", "a\x00b", strings.Repeat("u", 1024)} {
		escaped := strings.ReplaceAll(url.PathEscape(user), ".", "%2E")
		key := spawner.Key{User: user, Server: "née 1"}
		_, err := h.servers.Start(t.Context(), spawner.Request{Key: key, Start: "s"})
		require.NoError(t, err)
		w := h.call("GET", "/api/spawner/v1/users/"+escaped+"/server?name="+url.QueryEscape(key.Server), "")
		require.Equal(t, http.StatusOK, w.Code, "%q %s", user, w.Body)
		assert.Equal(t, user, parsed(t, w)["user"])
		assert.Equal(t, key.Server, parsed(t, w)["server"])
	}
	for path, status := range map[string]int{
		"/users/" + strings.Repeat("u", 1025) + "/server": http.StatusBadRequest,
		"/users/%FF/server": http.StatusBadRequest,
		"/users//server":    http.StatusBadRequest,
		"/users/a/b/server": http.StatusNotFound,
		"/users/a/server/":  http.StatusNotFound,
		"/users/a/server?name=" + strings.Repeat("s", 256):         http.StatusBadRequest,
		"/users/a/server?name=a&name=b":                            http.StatusBadRequest,
		"/users/a/server?name=%FF":                                 http.StatusBadRequest,
		"/users/a/server?name=%zz":                                 http.StatusBadRequest,
		"/users/a/server/events?start=" + strings.Repeat("s", 129): http.StatusBadRequest,
		"/users/a/server/events?start=" + strings.Repeat("𝐬", 129): http.StatusBadRequest,
		"/users/a/server/events?start=" + strings.Repeat("𝐬", 128): http.StatusNotFound,
		"/users/a/server?name=" + strings.Repeat("𝐬", 255):         http.StatusNotFound,
		"/users/a/server?name=" + strings.Repeat("𝐬", 256):         http.StatusBadRequest,
		"/users/a/server?x=" + strings.Repeat("s", 9<<10):          http.StatusBadRequest,
	} {
		assert.Equal(t, status, h.call("GET", "/api/spawner/v1"+path, "").Code, "%.80s", path)
	}
}

func TestBodies(t *testing.T) {
	h := newHarness(t)
	path := researcher + "/options/check?server="
	for name, row := range map[string]struct {
		body   string
		status int
		kind   string
	}{
		"no JSON":       {"cpu=1", 400, "malformed"},
		"empty":         {" ", 400, "malformed"},
		"list":          {"[]", 400, "malformed"},
		"unknown field": {`{"options":{},"admin":true}`, 400, "malformed"},
		"trailing":      {`{"options":{}} {}`, 400, "malformed"},
		"too large":     {`{"options":{"cpu":"` + strings.Repeat("1", 1<<20) + `"}}`, 413, "too-large"},
		"large padding": {`{"options":{}}` + strings.Repeat(" ", 1<<20), 413, "too-large"},
		"no object":     {`{"options":"cpu"}`, 422, "invalid-options"},
		"NaN":           {`{"options":{"cpu":NaN}}`, 400, "malformed"},
		"exponent":      {`{"options":{"cpu":1e2}}`, 422, "invalid-options"},
		"huge":          {`{"options":{"cpu":"` + strings.Repeat("9", 4000) + `"}}`, 422, "invalid-options"},
	} {
		w := h.call("POST", path, row.body)
		assert.Equal(t, row.status, w.Code, name)
		assert.Equal(t, "urn:elastichub:problem:"+row.kind, problemOf(t, w)["type"], name)
	}
	for _, none := range []string{`{}`, `{"options":null}`, `{"options":{}}`} {
		w := h.call("POST", path, none)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		assert.Equal(t, map[string]any{"cpu": "2", "memory": "2Gi", "image": "stable"}, parsed(t, w)["options"])
	}
	r := httptest.NewRequest("POST", "http://hub"+path, strings.NewReader("{}"))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.api.ServeHTTP(w, r)
	assert.Equal(t, http.StatusUnsupportedMediaType, w.Code)
}

func TestAStartIsCheckedAgainstThePolicyOfNow(t *testing.T) {
	h := newHarness(t)
	w := h.call("PUT", researcher+"/server?name=", `{"start":"s1","options":{"cpu":"5"},"env":{},"cmd":["c"],"args":[]}`)
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	_, started := h.servers.Request(spawner.Key{User: "researcher"})
	assert.False(t, started, "nothing is made")

	h.people.SetDown(true)
	w = h.call("PUT", researcher+"/server?name=", `{"start":"s1","env":{},"cmd":["c"],"args":[]}`)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, "5", w.Header().Get("Retry-After"))
	_, started = h.servers.Request(spawner.Key{User: "researcher"})
	assert.False(t, started, "no default rights")

	h.people.SetDown(false)
	body := `{"start":"s1","options":{"cpu":"3"},"env":{"A":"1"},"cmd":["c"],"args":null}`
	w = h.call("PUT", researcher+"/server?name=", body)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	request, _ := h.servers.Request(spawner.Key{User: "researcher"})
	assert.Equal(t, "3", request.CPULimit.String())
	assert.Equal(t, "registry.example/notebook:1", request.Image)
	assert.Equal(t, "/data/hf", request.Env["HF_HOME"])
	assert.Equal(t, int32(2), request.ServersPerUser)
	assert.Equal(t, []string{"ml-research"}, request.KernelOptions.Policies)
	assert.Equal(t, w.Body.String(), h.call("PUT", researcher+"/server?name=", body).Body.String(), "repeated")
}

func TestForm(t *testing.T) {
	h := newHarness(t)
	w := h.call("GET", researcher+"/form?server=&lang=de", "")
	require.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
	assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	page := w.Body.String()
	for _, part := range []string{`name="cpu"`, `name="memory"`, `name="image"`, "Python (GPU)", "Research"} {
		assert.Contains(t, page, part)
	}
	assert.NotContains(t, page, "<form")

	require.Equal(t, http.StatusOK, h.call("PUT", researcher+"/server?name=", `{"start":"s1","options":{"cpu":"3"},"env":{},"cmd":["c"],"args":[]}`).Code)
	assert.NotEqual(t, page, h.call("GET", researcher+"/form?server=", "").Body.String(), "last choices are remembered")

	h.people.SetDown(true)
	assert.Equal(t, http.StatusServiceUnavailable, h.call("GET", researcher+"/form?server=", "").Code)
}

func TestForever(t *testing.T) {
	h := newHarness(t)
	key := spawner.Key{User: "researcher"}
	for _, row := range []struct {
		query  string
		status int
		left   bool
	}{
		{"name=&forever=1", http.StatusBadRequest, true},
		{"name=&forever=true&forever=true", http.StatusBadRequest, true},
		{"name=&forever=false", http.StatusAccepted, true},
		{"name=&forever=true", http.StatusNoContent, false},
	} {
		_, err := h.servers.Start(t.Context(), spawner.Request{Key: key, Start: row.query})
		require.NoError(t, err)
		w := h.call("DELETE", researcher+"/server?"+row.query, "")
		assert.Equal(t, row.status, w.Code, row.query)
		_, left := h.servers.Request(key)
		assert.Equal(t, row.left, left, row.query)
	}
}

func TestAStopMayNameItsStart(t *testing.T) {
	h := newHarness(t)
	key := spawner.Key{User: "researcher"}
	running := func(start string) bool {
		state, err := h.servers.State(t.Context(), key)
		require.NoError(t, err)
		return state.Start == start && state.Phase != v1alpha1.NotebookStopped
	}
	for _, start := range []string{"s1", "s2"} {
		_, err := h.servers.Start(t.Context(), spawner.Request{Key: key, Start: start})
		require.NoError(t, err)
	}
	for _, former := range []string{"s1", "s0"} {
		assert.Equal(t, http.StatusAccepted, h.call("DELETE", researcher+"/server?name=&start="+former, "").Code)
		assert.True(t, running("s2"), former)
	}
	assert.Equal(t, http.StatusBadRequest, h.call("DELETE", researcher+"/server?name=&start="+strings.Repeat("a", 129), "").Code)
	assert.True(t, running("s2"))
	assert.Equal(t, http.StatusAccepted, h.call("DELETE", researcher+"/server?name=&start=s2", "").Code)
	assert.False(t, running("s2"))
}

func TestAStartSaysWhatTheServerIsCalled(t *testing.T) {
	h := newHarness(t)
	key := spawner.Key{User: "researcher", Server: "one"}
	body := `{"start":"s1","cmd":["c"]}`
	long := "&display_name=" + strings.Repeat("%C3%BC", 256)
	assert.Equal(t, http.StatusBadRequest, h.call("PUT", researcher+"/server?name=one"+long, body).Code)
	assert.Equal(t, http.StatusOK, h.call("PUT", researcher+"/server?name=one&display_name=My%20%E2%9C%93", body).Code)
	request, found := h.servers.Request(key)
	require.True(t, found)
	assert.Equal(t, "My ✓", request.DisplayName)
}

func TestRequestIDs(t *testing.T) {
	h := newHarness(t)
	r := httptest.NewRequest("GET", "http://hub/api/spawner/v1/servers", nil)
	for given, kept := range map[string]bool{"abc-1.2_3": true, "a b": false, "": false, strings.Repeat("a", 65): false, "a\nlevel=ERROR": false} {
		r.Header["X-Request-Id"] = []string{given}
		w := httptest.NewRecorder()
		h.api.ServeHTTP(w, r)
		id := w.Header().Get("X-Request-Id")
		assert.Equal(t, kept, id == given, "%q", given)
		assert.NotEmpty(t, id)
		assert.Equal(t, "urn:elastichub:request:"+id, problemOf(t, w)["instance"])
		assert.Contains(t, h.log.String(), id)
	}
}

func TestLogAndMetricsHoldNoSecret(t *testing.T) {
	h := newHarness(t)
	h.call("PUT", researcher+"/server?name=hidden-name", `{"start":"s1","env":{"JUPYTERHUB_API_TOKEN":"hunter2"},"cmd":["c"],"args":["--token=hunter2"]}`)
	h.call("PUT", researcher+"/server?name=", `{"start":"s 1","env":{"A=B":"hunter2"},"cmd":["c"],"args":["hunter2"]}`)
	assert.NotContains(t, h.log.String(), "hunter2")
	assert.NotContains(t, h.log.String(), token)
	assert.Contains(t, h.log.String(), `"route":"/api/spawner/v1/users/:user/server"`)

	counted := map[string]float64{}
	families, err := h.registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		assert.True(t, strings.HasPrefix(family.GetName(), "elastichub_hubapi_"), family.GetName())
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				assert.Contains(t, []string{"route", "method", "code"}, label.GetName())
				assert.NotContains(t, label.GetValue(), "researcher", "never a label per user")
				if label.GetName() == "code" {
					counted[label.GetValue()] = metric.GetCounter().GetValue()
				}
			}
		}
	}
	assert.Equal(t, map[string]float64{"200": 1, "422": 1}, counted)
}

func TestReadiness(t *testing.T) {
	var fault error
	h := newHarness(t, func(_ *hubapi.Config, d *hubapi.Dependencies) { d.Ready = func() error { return fault } })
	assert.Equal(t, http.StatusOK, h.call("GET", "/readyz", "").Code)
	fault = errors.New("caches not synced at 10.0.0.1")
	w := h.call("GET", "/readyz", "")
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.NotContains(t, w.Body.String(), "10.0.0.1")
	assert.Equal(t, http.StatusOK, h.call("GET", "/healthz", "").Code)
	fault = nil
	h.api.Drain()
	assert.Equal(t, http.StatusServiceUnavailable, h.call("GET", "/readyz", "").Code)
}
