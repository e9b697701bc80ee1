package bearer

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

func TestOnlyWhoBearsTheToken(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	handler := Require(file, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	get := func(authorization ...string) int {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header["Authorization"] = authorization
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	const former, token = "former-0123456789", "0123456789abcdef"
	assert.Equal(t, http.StatusServiceUnavailable, get("Bearer "+token), "no file")
	for _, text := range []string{"", " \n", token[1:] + "\n"} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		assert.Equal(t, http.StatusServiceUnavailable, get("Bearer "+strings.TrimSpace(text)), "%q is no token", text)
	}
	require.NoError(t, os.WriteFile(file, []byte(former), 0o600))
	assert.Equal(t, http.StatusNoContent, get("Bearer "+former))
	require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
	for authorization, want := range map[string]int{
		"Bearer " + token:                http.StatusNoContent,
		"bearer " + token:                http.StatusNoContent,
		"Bearer " + former:               http.StatusUnauthorized,
		"Bearer " + token[:len(token)-1]: http.StatusUnauthorized,
		"Bearer " + token + "0":          http.StatusUnauthorized,
		"Bearer  " + token:               http.StatusUnauthorized,
		"Bearer":                         http.StatusUnauthorized,
		"Bearer ":                        http.StatusUnauthorized,
		"Basic " + token:                 http.StatusUnauthorized,
		token:                            http.StatusUnauthorized,
		"":                               http.StatusUnauthorized,
	} {
		assert.Equal(t, want, get(authorization), "%q", authorization)
	}
	assert.Equal(t, http.StatusUnauthorized, get())
	assert.Equal(t, http.StatusUnauthorized, get("Bearer "+token, "Bearer "+token), "one of them alone")
}
