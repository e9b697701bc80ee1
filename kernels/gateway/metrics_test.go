package gateway

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestGatewaysMetricsWantTheirToken: if there is one, and nothing else at that port does.
func TestGatewaysMetricsWantTheirToken(t *testing.T) {
	t.Parallel()
	const token = "metrics-0123456789"
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token), 0o600))
	for configured, stranger := range map[string]int{"": http.StatusOK, file: http.StatusUnauthorized} {
		w := newWorldWith(t, func(c *Config) { c.MetricsTokenFile = configured })
		health := w.server.health()
		get := func(path, bearer string) (code int, body string) {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			if bearer != "" {
				r.Header.Set("Authorization", "Bearer "+bearer)
			}
			rec := httptest.NewRecorder()
			health.ServeHTTP(rec, r)
			return rec.Code, rec.Body.String()
		}
		for _, given := range []string{"", ciToken, token + "0"} {
			code, body := get("/metrics", given)
			assert.Equal(t, stranger, code, "%q", given)
			assert.Equal(t, code == http.StatusOK, strings.Contains(body, "elastichub_gateway_"), "%q", given)
		}
		code, body := get("/metrics", token)
		assert.Equal(t, http.StatusOK, code)
		assert.Contains(t, body, "elastichub_gateway_")
		for _, path := range []string{"/healthz", "/readyz"} {
			code, _ := get(path, "")
			assert.Equal(t, http.StatusOK, code, "the kubelet has no token")
		}
	}
}
