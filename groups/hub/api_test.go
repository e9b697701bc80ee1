package hub_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/hub"
	"github.com/elastichub/elastichub/groups/sourcetest"
	"github.com/elastichub/elastichub/test/hubtest"
)

func newAPI(t *testing.T, api, token string) (*hub.API, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
	source, err := hub.NewAPI(hub.Config{APIURL: api, TokenFile: file, Timeout: 3 * time.Second}, time.Now)
	require.NoError(t, err)
	t.Cleanup(source.Close)
	return source, file
}

func TestAPIOfARealHub(t *testing.T) {
	hub := hubtest.Start(t)
	hub.User(sourcetest.Member, sourcetest.Research, sourcetest.Staff)
	hub.User(sourcetest.Loner)
	hub.User("a%2fb@example.org", "slashes")
	hub.User("ü+ser #1?x=%2f", "odd")
	hub.User("bob", "staff")

	t.Run("users of any name", func(t *testing.T) {
		s, _ := newAPI(t, hub.API, hubtest.Reader)
		for user, group := range map[string]string{"a%2fb@example.org": "slashes", "ü+ser #1?x=%2f": "odd"} {
			m, err := s.Lookup(t.Context(), user)
			require.NoError(t, err, user)
			assert.Equal(t, []groups.Group{{Name: group}}, m.Groups)
		}
		for _, user := range []string{".", "..", "../groups", "a", "b", "alice/server"} {
			_, err := s.Lookup(t.Context(), user)
			assert.ErrorIs(t, err, groups.ErrUnknownUser, user)
		}
	})
	t.Run("a token that may not read groups is a fault, not a user without groups", func(t *testing.T) {
		for token, want := range map[string]string{
			hubtest.Namer: "scope read:users:groups", hubtest.Nobody: "", "wrong-token": "HTTP status 403",
		} {
			s, _ := newAPI(t, hub.API, token)
			for _, user := range []string{"alice", "nobody"} {
				m, err := s.Lookup(t.Context(), user)
				assert.ErrorIs(t, err, groups.ErrUnavailable, token)
				assert.NotErrorIs(t, err, groups.ErrUnknownUser, token)
				assert.ErrorContains(t, err, want)
				assert.NotContains(t, err.Error(), token)
				assert.Equal(t, groups.Membership{}, m)
			}
		}
		s, file := newAPI(t, hub.API, hubtest.Some)
		m, err := s.Lookup(t.Context(), "bob")
		require.NoError(t, err)
		assert.Equal(t, []groups.Group{{Name: "staff"}}, m.Groups)
		_, err = s.Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, groups.ErrUnavailable, "who is hidden is not unknown")
		require.NoError(t, os.WriteFile(file, []byte(hubtest.Reader), 0o600))
		_, err = s.Lookup(t.Context(), "alice")
		assert.NoError(t, err, "a changed token counts at once")
		require.NoError(t, os.Remove(file))
		_, err = s.Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, groups.ErrUnavailable)
	})
	s, _ := newAPI(t, hub.API, hubtest.Reader)
	sourcetest.Conformance(t, sourcetest.Fixture{
		Source: s, Name: "hub", Absent: groups.ErrUnknownUser,
		Break: func(*testing.T) { hub.Stop() }, Restore: func(*testing.T) { hub.Resume() },
	})
}

func TestHubThatAnswersBadly(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"HTML":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<h1>Sign in</h1>")) },
		"error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		},
		"not an object":  func(w http.ResponseWriter, _ *http.Request) { asJSON(w, `[]`) },
		"no groups":      func(w http.ResponseWriter, _ *http.Request) { asJSON(w, `{"name": "alice"}`) },
		"null":           func(w http.ResponseWriter, _ *http.Request) { asJSON(w, `{"name": "alice", "groups": null}`) },
		"strange groups": func(w http.ResponseWriter, _ *http.Request) { asJSON(w, `{"name": "alice", "groups": [{}]}`) },
		"empty name":     func(w http.ResponseWriter, _ *http.Request) { asJSON(w, `{"name": "alice", "groups": [""]}`) },
		"many groups": func(w http.ResponseWriter, _ *http.Request) {
			asJSON(w, `{"name": "alice", "groups": ["a"`+strings.Repeat(`,"a"`, 10_000)+`]}`)
		},
		"endless": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		},
		"hanging":  func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			asJSON(w, `{"name": "alice", "groups": ["a"]}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			defer server.Close()
			file := filepath.Join(t.TempDir(), "token")
			require.NoError(t, os.WriteFile(file, []byte("t"), 0o600))
			s, err := hub.NewAPI(hub.Config{APIURL: server.URL, TokenFile: file, Timeout: 300 * time.Millisecond}, time.Now)
			require.NoError(t, err)
			defer s.Close()
			m, err := s.Lookup(t.Context(), "alice")
			assert.ErrorIs(t, err, groups.ErrUnavailable)
			assert.Equal(t, groups.Membership{}, m)
		})
	}
	t.Run("another user", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asJSON(w, `{"name": "Alice", "groups": ["a"]}`) }))
		defer server.Close()
		s, _ := newAPI(t, server.URL, "t")
		_, err := s.Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, groups.ErrUnknownUser)
	})
}

func asJSON(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(text))
}

func TestConfigFaults(t *testing.T) {
	err := hub.Config{APIURL: "hub:8081"}.Validate()
	for _, field := range []string{"apiURL", "tokenFile", "timeout"} {
		assert.ErrorContains(t, err, field+": ")
	}
	for _, bad := range []string{"", "ftp://hub", "http://u:secret@hub", "http://hub?x=1", "http://", "::"} {
		err := hub.Config{APIURL: bad, TokenFile: "x", Timeout: 1}.Validate()
		assert.ErrorContains(t, err, "apiURL: ", bad)
		assert.NotContains(t, err.Error(), "secret")
	}
	_, err = hub.NewAPI(hub.Config{APIURL: "http://hub:8081/hub/api", TokenFile: "/nowhere", Timeout: 1}, time.Now)
	assert.ErrorContains(t, err, "tokenFile")
}
