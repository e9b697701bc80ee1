package hubclient_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/elastichub/elastichub/hubclient"
	"github.com/elastichub/elastichub/test/hubtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, api, token string) *hubclient.Client {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
	c, err := hubclient.New(hubclient.Config{APIURL: api, TokenFile: file, Timeout: 3 * time.Second})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

const verifier = "0123456789012345678901234567890123456789012"

// authorize has a user who has signed in at the Hub give the service a code.
func authorize(t *testing.T, hub *hubtest.Hub, user string) string {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	var code string
	browser := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == hubtest.Callback {
			code = r.URL.Query().Get("code")
			return http.ErrUseLastResponse
		}
		return nil
	}}
	base := strings.TrimSuffix(hub.API, "/hub/api")
	hubtest.LogIn(t, browser, base, user)
	challenge := sha256.Sum256([]byte(verifier))
	query := url.Values{
		"client_id": {"service-console"}, "response_type": {"code"}, "redirect_uri": {hubtest.Callback}, "state": {"s"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}
	answer, err := browser.Get(hub.API + "/oauth2/authorize?" + query.Encode())
	require.NoError(t, err)
	answer.Body.Close()
	require.NotEmpty(t, code, answer.Status)
	return code
}

func TestTokensOfARealHub(t *testing.T) {
	hub := hubtest.Start(t)
	hub.User("alice", "console")
	console := newClient(t, hub.API, hubtest.Console)
	exchange := hubclient.Code{ClientID: "service-console", Code: authorize(t, hub, "alice"), RedirectURI: hubtest.Callback, Verifier: verifier}

	token, err := console.Exchange(t.Context(), exchange)
	require.NoError(t, err)
	owner, err := console.OwnerOf(t.Context(), token)
	require.NoError(t, err)
	assert.Equal(t, "alice", owner.Name)
	assert.Equal(t, hubclient.KindUser, owner.Kind)
	assert.Contains(t, owner.Scopes, "access:services!service=console")

	_, err = console.Exchange(t.Context(), exchange)
	assert.ErrorIs(t, err, hubclient.ErrRefused, "a code is good once")
	other := newClient(t, hub.API, hubtest.Namer)
	exchange.Code = authorize(t, hub, "alice")
	_, err = other.Exchange(t.Context(), exchange)
	assert.ErrorIs(t, err, hubclient.ErrRefused, "another service's secret")

	self, err := console.Self(t.Context())
	require.NoError(t, err)
	assert.Equal(t, hubclient.KindService, self.Kind)
	for _, bad := range []string{"", "wrong", "a b", "a\nb", strings.Repeat("x", 5000)} {
		_, err = console.OwnerOf(t.Context(), bad)
		assert.ErrorIs(t, err, hubclient.ErrRefused, "%.10q", bad)
	}
	hub.Stop()
	_, err = console.OwnerOf(t.Context(), token)
	require.Error(t, err)
	assert.NotErrorIs(t, err, hubclient.ErrRefused, "a Hub that is down refuses nobody")
	assert.NotContains(t, err.Error(), token)
}

// TestPKCEOfARealHub: a code is worthless without what its owner kept back.
func TestPKCEOfARealHub(t *testing.T) {
	hub := hubtest.StartNext(t)
	hub.User("alice", "console")
	console := newClient(t, hub.API, hubtest.Console)
	exchange := hubclient.Code{ClientID: "service-console", Code: authorize(t, hub, "alice"), RedirectURI: hubtest.Callback, Verifier: strings.ToUpper("x" + verifier[1:])}
	_, err := console.Exchange(t.Context(), exchange)
	assert.ErrorIs(t, err, hubclient.ErrRefused)
	exchange.Code, exchange.Verifier = authorize(t, hub, "alice"), verifier
	_, err = console.Exchange(t.Context(), exchange)
	assert.NoError(t, err)
}

func TestHubThatAnswersBadly(t *testing.T) {
	for name, row := range map[string]struct {
		status  int
		body    string
		refused bool
	}{
		"no JSON":     {200, "<h1>Captive portal</h1>", false},
		"nobody":      {200, `{"kind": "user"}`, false},
		"down":        {503, `{}`, false},
		"signed out":  {401, `{}`, true},
		"not allowed": {403, `{}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(row.status)
				_, _ = w.Write([]byte(row.body))
			}))
			defer server.Close()
			c := newClient(t, server.URL, "secret-token")
			_, err := c.OwnerOf(t.Context(), "token-of-alice")
			require.Error(t, err)
			assert.Equal(t, row.refused, errors.Is(err, hubclient.ErrRefused))
			_, err = c.Exchange(t.Context(), hubclient.Code{Code: "x"})
			require.Error(t, err)
			assert.Equal(t, row.refused, errors.Is(err, hubclient.ErrRefused))
			assert.NotContains(t, err.Error(), "secret-token")
		})
	}
}

func TestConfigFaults(t *testing.T) {
	for api, want := range map[string]string{
		"": "apiURL", "ftp://hub/hub/api": "apiURL", "http://u:p@hub/hub/api": "apiURL", "http://hub/hub/api?x": "apiURL",
	} {
		err := hubclient.Config{APIURL: api}.Validate()
		for _, field := range []string{want, "tokenFile", "timeout"} {
			assert.ErrorContains(t, err, field, api)
		}
	}
	_, err := hubclient.New(hubclient.Config{APIURL: "http://hub/hub/api", TokenFile: "/nowhere", Timeout: time.Second})
	assert.ErrorIs(t, err, os.ErrNotExist)
}
