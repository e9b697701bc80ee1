package outbound

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func answering(body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		_, _ = w.Write([]byte(body))
	}
}

func newClient(t *testing.T, ca string) *Client {
	t.Helper()
	c, err := NewClient(ClientConfig{CAFile: ca, Timeout: 500 * time.Millisecond, Connections: 2, MaxBytes: 100})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func get(t *testing.T, c *Client, url string) ([]byte, error) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(t, err)
	return c.Do(t.Context(), r)
}

func TestDo(t *testing.T) {
	var reached bool
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer target.Close()
	for name, row := range map[string]struct {
		handler http.HandlerFunc
		status  int
		text    string
	}{
		"JSON":           {answering(`{}`), 0, ""},
		"a kind of JSON": {answering(`{}`, "Content-Type", "application/jwk-set+json; charset=utf-8"), 0, ""},
		"as long as may": {answering(strings.Repeat(" ", 98) + `{}`), 0, ""},
		"one too long":   {answering(strings.Repeat(" ", 99) + `{}`), 0, "too long"},
		"HTML":           {answering(`{}`, "Content-Type", "text/html"), 0, "text/html"},
		"no type":        {answering(`{}`, "Content-Type", ""), 0, "not JSON"},
		"redirect":       {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target.URL, http.StatusFound) }, 302, "302"},
		"refused":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401); _, _ = w.Write([]byte("secret")) }, 401, "401"},
		"no content":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, 204, "204"},
		"slow":           {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 0, "deadline"},
		"slow body": {func(w http.ResponseWriter, r *http.Request) {
			answering(" ")(w, r)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, 0, "deadline"},
		"unsaid length": {func(w http.ResponseWriter, r *http.Request) {
			for range 10 {
				answering(strings.Repeat(" ", 50))(w, r)
				w.(http.Flusher).Flush()
			}
		}, 0, "too long"},
		"long header": {answering(`{}`, "X", strings.Repeat("x", maxHeaderBytes+1)), 0, "header"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(row.handler)
			defer server.Close()
			body, err := get(t, newClient(t, ""), server.URL)
			if row.text == "" {
				require.NoError(t, err)
				assert.Equal(t, "{}", strings.TrimSpace(string(body)))
				return
			}
			require.ErrorContains(t, err, row.text)
			assert.NotContains(t, err.Error(), "secret")
			var status *StatusError
			if row.status != 0 {
				require.ErrorAs(t, err, &status)
				assert.Equal(t, row.status, status.Code)
			} else {
				assert.False(t, errors.As(err, &status))
			}
		})
	}
	assert.False(t, reached, "redirects are not followed")
}

func TestCAFileIsReadAgain(t *testing.T) {
	server := httptest.NewTLSServer(answering(`{}`))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.crt")
	good := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	write := func(content []byte) { require.NoError(t, os.WriteFile(ca, content, 0o600)) }

	_, err := get(t, newClient(t, ""), server.URL)
	assert.ErrorContains(t, err, "certificate", "the system does not know it")
	write(good)
	c := newClient(t, ca)
	for range 2 {
		_, err = get(t, c, server.URL)
		require.NoError(t, err)
	}
	for _, bad := range [][]byte{nil, []byte("rubbish"), make([]byte, maxFileBytes+1)} {
		write(bad)
		_, err = get(t, c, server.URL)
		assert.ErrorContains(t, err, "caFile")
		_, err = NewClient(ClientConfig{CAFile: ca})
		assert.ErrorContains(t, err, "caFile")
	}
	require.NoError(t, os.Remove(ca))
	_, err = get(t, c, server.URL)
	assert.ErrorIs(t, err, os.ErrNotExist)
	write(good)
	_, err = get(t, c, server.URL)
	assert.NoError(t, err)
	_, err = get(t, c, strings.Replace(server.URL, "127.0.0.1", "localhost", 1))
	assert.ErrorContains(t, err, "localhost", "the name counts")
}

func TestReadSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	for content, want := range map[string]string{"s": "s", " s\n": "s", "a b": "a b", "": "", "\n": ""} {
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		got, err := ReadSecret(file)
		assert.Equal(t, want, got)
		assert.Equal(t, want == "", err != nil, "%q", content)
	}
	_, err := ReadSecret(file + "x")
	assert.ErrorIs(t, err, os.ErrNotExist)
}
