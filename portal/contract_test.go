package portal_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/portal"
)

var readDocument = sync.OnceValues(func() (*openapi3.T, error) {
	openapi3filter.RegisterBodyDecoder("application/yaml", openapi3filter.PlainBodyDecoder)
	return openapi3.NewLoader().LoadFromData(portal.OpenAPI)
})

func document(t *testing.T) *openapi3.T {
	t.Helper()
	d, err := readDocument()
	require.NoError(t, err)
	return d
}

// TestEveryRouteIsInTheContract, and nothing else is.
func TestEveryRouteIsInTheContract(t *testing.T) {
	require.NoError(t, document(t).Validate(t.Context()))
	var documented, served []string
	for path, item := range document(t).Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	for _, route := range newHarness(t).portal.Routes() {
		if strings.Contains(route, " /api/v1/") {
			served = append(served, route)
		}
	}
	assert.ElementsMatch(t, served, documented)
	for _, kind := range portal.ProblemKinds() {
		assert.Contains(t, string(portal.OpenAPI), kind)
	}
}

// hold holds an answer of the API against the contract; each of the tests does.
func hold(t *testing.T, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	route, parameters := operation(t, r)
	if route == nil {
		return
	}
	require.NoError(t, openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: parameters, Route: route},
		Status:                 w.Code, Header: w.Header(), Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}), "%s %s: %s", r.Method, r.URL.Path, w.Body)
}

// operation is that of a request, nil if it is of none.
func operation(t *testing.T, r *http.Request) (*routers.Route, map[string]string) {
	t.Helper()
	segments := strings.Split("/"+strings.TrimPrefix(r.URL.Path, base), "/")
	for path, item := range document(t).Paths.Map() {
		template, parameters := strings.Split(path, "/"), map[string]string{}
		matches := len(template) == len(segments)
		for i := 0; matches && i < len(template); i++ {
			if strings.HasPrefix(template[i], "{") {
				parameters[strings.Trim(template[i], "{}")] = segments[i]
			} else {
				matches = template[i] == segments[i]
			}
		}
		if found := item.GetOperation(r.Method); matches && found != nil {
			return &routers.Route{Spec: document(t), Path: path, PathItem: item, Method: r.Method, Operation: found}, parameters
		}
	}
	return nil, nil
}
