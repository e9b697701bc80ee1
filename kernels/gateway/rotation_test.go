package gateway

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
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

// TestKeysOfTokensAreOfOneMoment: a token counts at whatever moment the kubelet brings another
// step. Readers have the keys of one step, with its mark.
func TestKeysOfTokensAreOfOneMoment(t *testing.T) {
	dir := t.TempDir()
	issuer := func(n byte) *tokens.Issuer {
		i, err := tokens.NewIssuer(bytes.Repeat([]byte{n}, 32))
		require.NoError(t, err)
		return i
	}
	signing, sent := issuer(3), tokens.Notebook{Namespace: testNS, Name: "nb", UID: "uid", Start: "s1", User: "alice"}
	token, err := signing.Issue(sent)
	require.NoError(t, err)
	step := func(n int) {
		now := fmt.Sprintf("..step-%d", n)
		require.NoError(t, os.Mkdir(filepath.Join(dir, now), 0o700))
		// The key of the token is now the first, now the second, and which it is stands in the mark.
		current, other, mark := signing.PublicKey(), issuer(4).PublicKey(), "first"
		if n%2 == 1 {
			current, other, mark = other, current, "second"
		}
		for name, text := range map[string]string{"public-key": current, publicKeysFile: current + "\n" + other, rotation.KeyMark: mark} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, now, name), []byte(text), 0o600))
		}
		require.NoError(t, os.Symlink(now, filepath.Join(dir, "..new")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")))
		_ = os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..step-%d", n-1)))
	}
	step(0)
	require.NoError(t, os.Symlink("..data/public-key", filepath.Join(dir, "public-key")))
	stop, reads := make(chan struct{}), map[string]int{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			found, err := loadTokenKeys(filepath.Join(dir, "public-key"))
			if errors.Is(err, fs.ErrNotExist) {
				continue // three steps within one reading
			}
			if !assert.NoError(t, err) {
				return
			}
			_, err = found.verifier.Verify(token)
			assert.NoError(t, err)
			reads[found.mark]++ // of none: a part of a step
		}
	})
	for n := 1; n < 300; n++ {
		step(n)
	}
	close(stop)
	wg.Wait()
	assert.Positive(t, reads["first"])
	assert.Positive(t, reads["second"])
	assert.Len(t, reads, 2)
}

// TestAgentsOfTwoKeys: while the gateway's key is rotated an agent has a secret of either, and
// is reached in every way; one of a key that counts no more is not.
func TestAgentsOfTwoKeys(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-bob", "python-cpu")
	agent := w.agent(id, 1)
	w.phase(id, v1alpha1.KernelReady, 1, agent.ip)
	next := bytes.Repeat([]byte{8}, keys.Size)
	dir := t.TempDir()
	put := func(name string, value []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(hex.EncodeToString(value)), 0o600))
	}
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	w.server.agents.keys = &reread[gatewayKeys]{now: now, load: func() (gatewayKeys, error) { return loadKeys(filepath.Join(dir, "key"), now()) }}
	at, ok := targetOf(w.kernel(id))
	require.True(t, ok)
	reach := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := w.server.agents.state(ctx, at)
		secret, found := w.server.agents.secret(ctx, at)
		conn, dialed := w.server.agents.dial(ctx, at, "s", resume{})
		if dialed == nil {
			_ = conn.CloseNow()
			want, err := keys.Derive(w.key, at.uid, at.run)
			require.NoError(t, err)
			assert.Equal(t, want, secret)
		}
		assert.Equal(t, err == nil, dialed == nil)
		if found != nil {
			assert.Error(t, err)
		}
		return err
	}
	put("key", w.key)
	require.NoError(t, reach())
	put("next", next)
	ahead.Add(int64(rereadAfter))
	require.NoError(t, reach())
	put("key", next)
	put("former", w.key)
	require.NoError(t, os.Remove(filepath.Join(dir, "next")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "former-until"), []byte(now().Add(time.Hour).Format(time.RFC3339)), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mark"), []byte("m2"), 0o600))
	ahead.Add(int64(rereadAfter))
	require.NoError(t, reach())
	assert.Equal(t, "m2", w.server.keyMark())
	ahead.Add(int64(time.Hour))
	require.ErrorIs(t, reach(), keys.ErrPeer, "the former's time is over")
}
