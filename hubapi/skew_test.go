package hubapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/hubapi"
	"github.com/elastichub/elastichub/skew"
)

// as sends a request of a Hub whose class tells that of itself.
func (h *harness) as(told, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://hub"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	if told != "" {
		r.Header.Set(skew.Header, told)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.api.ServeHTTP(w, r)
	return w
}

// TestHubsTooFarApartAreRefused on every route, with both releases; whoever tells nothing is served.
func TestHubsTooFarApartAreRefused(t *testing.T) {
	t.Parallel()
	seen := skew.NewSeen(skew.Service, skew.HubProtocol, time.Now)
	h := newHarness(t, func(_ *hubapi.Config, deps *hubapi.Dependencies) { deps.Seen = seen })
	for _, told := range []string{"", "nonsense", skew.Here(skew.HubProtocol).String(), "0.1.0"} {
		w := h.as(told, http.MethodGet, "/api/spawner/v1/servers", "")
		assert.Equal(t, http.StatusOK, w.Code, "%q: %s", told, w.Body)
		assert.Equal(t, skew.Here(skew.HubProtocol), skew.Parse(w.Header().Get(skew.Header)))
	}
	for _, route := range h.api.Routes() {
		method, path, _ := strings.Cut(route, " ")
		if !strings.HasPrefix(path, hubapi.Prefix) {
			continue
		}
		w := h.as("9.9.0; protocol=7", method, strings.ReplaceAll(path, "{user}", "alice"), "")
		assert.Equal(t, http.StatusConflict, w.Code, route)
		problem := problemOf(t, w)
		assert.Equal(t, "urn:elastichub:problem:too-far-apart", problem["type"])
		assert.Contains(t, problem["detail"], "9.9.0")
		assert.Contains(t, problem["detail"], skew.Release())
		assert.Contains(t, problem["detail"], "the notebook service (helm upgrade) to 9.9.0")
	}
	assert.Equal(t, 1, strings.Count(h.log.String(), `"msg":"the Hub's ElasticSpawner is refused"`), "said once")
	counted := seen.Versions().Neighbours[skew.Hub]
	assert.Equal(t, []int{1, 1}, []int{counted[skew.TellsNone], counted["9.9.0"]})
	w := httptest.NewRecorder()
	h.api.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/spawner/v1/servers", nil))
	assert.Equal(t, http.StatusUnauthorized, w.Code)
}

// TestFieldsOfANewerHubAreIgnored, and named in the log, once; of any other they are a fault.
func TestFieldsOfANewerHubAreIgnored(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const path = "/api/spawner/v1/users/analyst/options/check"
	const body = `{"options": {}, "colour": "blue"}`
	newer := skew.Told{Release: skew.Release(), Protocol: skew.HubProtocol + 1}.String()
	for _, told := range []string{"", skew.Here(skew.HubProtocol).String()} {
		assert.Equal(t, http.StatusBadRequest, h.as(told, http.MethodPost, path, body).Code, told)
	}
	for range 3 {
		w := h.as(newer, http.MethodPost, path, body)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		assert.Contains(t, parsed(t, w)["options"], "cpu")
	}
	assert.Equal(t, 1, strings.Count(h.log.String(), `unknown field \"colour\"`), h.log.String())
	for name, bad := range map[string]string{"no JSON": "{", "two values": body + body, "a wrong type": `{"options": {}, "sign_in": 7}`, "large": `{"a": "` + strings.Repeat("x", 1<<20) + `"}`} {
		w := h.as(newer, http.MethodPost, path, bad)
		assert.Contains(t, []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}, w.Code, name)
	}
}
