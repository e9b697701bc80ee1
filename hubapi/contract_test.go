package hubapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/spawner"
)

const (
	contract  = "../testdata/contract"
	exchanges = contract + "/exchanges.json"
)

// exchange is one request and its answer, which the Python tests read too.
type exchange struct {
	Name  string `json:"name"`
	Given *given `json:"given,omitempty"`

	Request struct {
		Method string          `json:"method"`
		Path   string          `json:"path"`
		Body   json.RawMessage `json:"body,omitempty"`
		// Token stands for the right one when absent.
		Token *string `json:"token,omitempty"`
	} `json:"request"`
	Response response `json:"response"`
}

type given struct {
	// Directory and Start are keys of the errors that the directory, or every
	// start, ends with.
	Directory string        `json:"directory,omitempty"`
	Start     string        `json:"start,omitempty"`
	Synced    *bool         `json:"synced,omitempty"`
	Draining  bool          `json:"draining,omitempty"`
	Servers   []givenServer `json:"servers,omitempty"`
}

var (
	directoryFaults = map[string]error{
		"": nil, "down": groups.ErrUnavailable, "old sign-in": groups.ErrSignInExpired, "faulty policy": groups.ErrInvalidPolicy,
	}
	startFaults = map[string]error{
		"": nil, "removing": spawner.ErrRemoving, "another host": spawner.ErrOtherHost, "slow": context.DeadlineExceeded, "busy cluster": apierrors.NewTooManyRequests("later", 1), "unforeseen": errors.New("disk full on node-7"),
		"unclear home": &spawner.UnclearOwnerError{Claim: "claim-researcher", User: "researcher", Owner: spawner.HubUser{ID: 7, Created: clock.Unix()}, Made: clock},
	}
)

type givenServer struct {
	User    string                 `json:"user"`
	Server  string                 `json:"server"`
	Start   string                 `json:"start"`
	Phase   v1alpha1.NotebookPhase `json:"phase"`
	URL     string                 `json:"url,omitempty"`
	Message string                 `json:"message,omitempty"`
}

type response struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers,omitempty"`
	// Body is JSON, Text anything else.
	Body json.RawMessage `json:"body,omitempty"`
	Text string          `json:"text,omitempty"`
}

// TestContract replays every exchange. UPDATE_CONTRACT=1 writes the answers
// into the file instead; read the difference before committing it.
func TestContract(t *testing.T) {
	text, err := os.ReadFile(exchanges)
	require.NoError(t, err)
	var all []exchange
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&all))
	require.NotEmpty(t, all)

	for i := range all {
		e := &all[i]
		t.Run(e.Name, func(t *testing.T) {
			got := replay(t, e)
			if os.Getenv("UPDATE_CONTRACT") != "" {
				e.Response = got
				return
			}
			assert.Equal(t, e.Response.Status, got.Status)
			assert.Equal(t, e.Response.Headers, got.Headers)
			assert.Equal(t, e.Response.Text, got.Text)
			if e.Response.Body == nil {
				assert.Empty(t, got.Body)
			} else {
				assert.JSONEq(t, string(e.Response.Body), string(got.Body))
			}
		})
	}
	if os.Getenv("UPDATE_CONTRACT") != "" {
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		require.NoError(t, encoder.Encode(all))
		require.NoError(t, os.WriteFile(exchanges, out.Bytes(), 0o644))
	}
}

// replay puts the exchange's state in place, sends its request, and checks
// both against the OpenAPI document.
func replay(t *testing.T, e *exchange) response {
	h := newHarness(t)
	if e.Given != nil {
		h.put(t, *e.Given)
	}
	var body io.Reader
	if e.Request.Body != nil {
		body = bytes.NewReader(e.Request.Body)
	}
	r := httptest.NewRequest(e.Request.Method, "http://hub"+e.Request.Path, body)
	r.Header.Set("X-Request-Id", "contract")
	if e.Request.Body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if e.Request.Token == nil {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.api.ServeHTTP(w, r)
	validate(t, r, w)

	got := response{Status: w.Code, Headers: map[string]string{}}
	for _, name := range []string{"Content-Type", "Retry-After", "Www-Authenticate"} {
		if value := w.Header().Get(name); value != "" {
			got.Headers[name] = value
		}
	}
	if strings.Contains(got.Headers["Content-Type"], "json") {
		got.Body = json.RawMessage(bytes.TrimSpace(w.Body.Bytes()))
	} else {
		got.Text = w.Body.String()
	}
	if len(got.Headers) == 0 {
		got.Headers = nil
	}
	return got
}

func (h *harness) put(t *testing.T, g given) {
	fault, known := directoryFaults[g.Directory]
	require.True(t, known, g.Directory)
	h.people.SetFault(fault)
	for _, s := range g.Servers {
		key := spawner.Key{User: s.User, Server: s.Server}
		_, err := h.servers.Start(t.Context(), spawner.Request{Key: key, Start: s.Start,
			Options: []byte(`{"cpu":"1","memory":"1Gi","image":"stable"}`)})
		require.NoError(t, err)
		h.servers.Advance(key, s.Phase, s.URL, s.Message)
	}
	fault, known = startFaults[g.Start]
	require.True(t, known, g.Start)
	h.servers.Refuse(fault)
	h.servers.SetSynced(g.Synced == nil || *g.Synced)
	if g.Draining {
		h.api.Drain()
	}
}

// validate holds a response against the document.
func validate(t *testing.T, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	route, parameters := operation(t, r)
	input := &openapi3filter.RequestValidationInput{Request: r, PathParams: parameters, Route: route}
	require.NoError(t, openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: w.Code, Header: w.Header(), Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}), "%s", w.Body)
}
