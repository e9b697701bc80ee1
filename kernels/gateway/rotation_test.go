package gateway

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/rotation"
	"github.com/elastichub/elastichub/tokens"
)

// TestTokensOfTwoKeys: while the signing key changes tokens of both count, the former's for its
// time, and a replica says which step it has read.
func TestTokensOfTwoKeys(t *testing.T) {
	var ahead atomic.Int64 // of the clock by which files are read again
	var dir string
	w := newWorldWith(t, func(cfg *Config) { dir = filepath.Dir(cfg.TokenKeyFile) })
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	w.server.auth.keys.now = now
	seed := func(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }
	alice := tokens.Notebook{Namespace: testNS, Name: "nb-alice", UID: "nb-alice-uid", Start: "s1", User: "alice"}
	put := func(seeds tokens.Seeds) {
		t.Helper()
		require.NoError(t, w.issuer.Replace(seeds))
		for name, text := range map[string]string{"pub": w.issuer.PublicKey(), publicKeysFile: w.issuer.PublicKeys(), rotation.KeyMark: w.issuer.Mark()} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		ahead.Add(int64(rereadAfter))
	}
	status := func(token string) int {
		t.Helper()
		return w.call("token "+token, http.MethodGet, "/api/kernels", "").status
	}
	mark := func() string {
		t.Helper()
		answer := httptest.NewRecorder()
		w.server.health().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, rotation.Path, nil))
		require.Equal(t, http.StatusOK, answer.Code)
		var seen map[string]string
		require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &seen))
		return seen["signing"]
	}
	first := w.issue(alice)
	assert.Equal(t, http.StatusOK, status(first))
	assert.Empty(t, mark())

	put(tokens.Seeds{Current: seed(3), Next: seed(4), Mark: "m1"})
	assert.Equal(t, "m1", mark())
	put(tokens.Seeds{Current: seed(4), Former: seed(3), FormerUntil: time.Now().Add(time.Hour), Mark: "m2"})
	second := w.issue(alice)
	assert.Equal(t, http.StatusOK, status(first))
	assert.Equal(t, http.StatusOK, status(second))
	assert.Equal(t, "m2", mark())

	put(tokens.Seeds{Current: seed(4), Former: seed(3), FormerUntil: time.Now().Add(-time.Second), Mark: "m2"})
	assert.Equal(t, http.StatusUnauthorized, status(first), "its time is over")
	assert.Equal(t, http.StatusOK, status(second))

	put(tokens.Seeds{Current: seed(5), Mark: "m3"})
	assert.Equal(t, http.StatusUnauthorized, status(second), "cut off")
	assert.Equal(t, http.StatusOK, status(w.issue(alice)))

	// A service of a former release writes its key alone, and may leave what is beside it.
	third := w.issue(alice)
	other, err := tokens.NewIssuer(seed(6))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pub"), []byte(other.PublicKey()), 0o600))
	ahead.Add(int64(rereadAfter))
	assert.Equal(t, http.StatusUnauthorized, status(third))
	assert.Empty(t, mark())
	theirs, err := other.Issue(alice)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status(theirs))
}
