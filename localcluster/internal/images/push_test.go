package images

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTargetsOfAPush(t *testing.T) {
	t.Parallel()
	for to, want := range map[string]struct {
		target   target
		loopback bool
	}{
		"localhost:5000/elastichub/hub:1":   {target{"localhost:5000", "elastichub/hub", "1"}, true},
		"localhost/hub:1":                   {target{"localhost", "hub", "1"}, true},
		"127.0.0.2:5000/hub:1":              {target{"127.0.0.2:5000", "hub", "1"}, true},
		"[::1]:5000/hub:1":                  {target{"[::1]:5000", "hub", "1"}, true},
		"registry.example.org/a/b/hub:1":    {target{"registry.example.org", "a/b/hub", "1"}, false},
		"localhost.example.org:5000/hub:1a": {target{"localhost.example.org:5000", "hub", "1a"}, false},
	} {
		got, err := parseTarget(to)
		require.NoError(t, err, to)
		assert.Equal(t, want.target, got, to)
		assert.Equal(t, want.loopback, got.loopback(), to)
	}
	for _, to := range []string{"", "hub", "localhost:5000", "localhost:5000/hub", "localhost:5000/:1", "/hub:1", "localhost/hub:1/2"} {
		_, err := parseTarget(to)
		assert.ErrorContains(t, err, "want HOST[:PORT]/PATH:TAG", to)
	}
}

// TestOnlyTheSameImageIsNotPushed: a tag that means another image, or none, is no reason
// to leave the push out.
func TestOnlyTheSameImageIsNotPushed(t *testing.T) {
	t.Parallel()
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/elastichub/hub/manifests/1" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Docker-Content-Digest", "sha256:there")
		_, _ = w.Write([]byte(`{"config": {"digest": "sha256:id"}}`))
	}))
	t.Cleanup(registry.Close)
	host := strings.TrimPrefix(registry.URL, "http://")
	assert.Equal(t, "sha256:there", target{host, "elastichub/hub", "1"}.digestOf(t.Context(), "sha256:id"))
	assert.Empty(t, target{host, "elastichub/hub", "1"}.digestOf(t.Context(), "sha256:other"))
	assert.Empty(t, target{host, "elastichub/hub", "2"}.digestOf(t.Context(), "sha256:id"))
	assert.Empty(t, target{"127.0.0.1:1", "elastichub/hub", "1"}.digestOf(t.Context(), "sha256:id"))
}
