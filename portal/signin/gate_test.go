package signin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/hubclient"
	"github.com/elastichub/elastichub/portal/signin"
	"github.com/elastichub/elastichub/test/hubtest"
	"github.com/elastichub/elastichub/test/oidctest"
)

const key = "0123456789abcdef0123456789abcdef"

// clock is moved by the test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func file(t testing.TB, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	return name
}

func hubConfig(t testing.TB) signin.Config {
	config := signin.DefaultConfig()
	config.BasePath, config.Hub.ClientID, config.KeyFile = "/services/console/", "service-console", file(t, key+"\n")
	return config
}

func newHubClient(t testing.TB, api string) *hubclient.Client {
	t.Helper()
	hub, err := hubclient.New(hubclient.Config{APIURL: api, TokenFile: file(t, hubtest.Console), Timeout: 5 * time.Second})
	require.NoError(t, err)
	t.Cleanup(hub.Close)
	return hub
}

func newGate(t testing.TB, config signin.Config, hub *hubclient.Client, now func() time.Time) *signin.Gate {
	t.Helper()
	gate, err := signin.New(config, hub, nil, now)
	require.NoError(t, err)
	t.Cleanup(gate.Close)
	return gate
}

// site is a Hub and pages behind one address, as a Hub's proxy has them. The pages
// tell who reads them; each request goes to the next of the gates.
func site(t testing.TB, hub *hubtest.Hub, gates ...*signin.Gate) *httptest.Server {
	t.Helper()
	target, err := url.Parse(strings.TrimSuffix(hub.API, "/hub/api"))
	require.NoError(t, err)
	toHub := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}, Transport: &http.Transport{DisableKeepAlives: true}}
	var mu sync.Mutex
	turn := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, ours := strings.CutPrefix(r.URL.Path, "/services/console/")
		if !ours {
			toHub.ServeHTTP(w, r)
			return
		}
		mu.Lock()
		gate := gates[turn%len(gates)]
		turn++
		mu.Unlock()
		var err error
		if page == signin.Callback {
			err = gate.Finish(w, r)
		} else {
			var person signin.Person
			if person, err = gate.Identify(r); err == nil {
				fmt.Fprintf(w, "%s reads %s", person.User, r.URL.RequestURI())
				if person.HubAdmin {
					fmt.Fprint(w, " and is an administrator")
				}
			} else if errors.Is(err, signin.ErrSignedOut) && page != "api" {
				err = gate.Begin(w, r, r.URL.RequestURI())
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusTeapot)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

func newBrowser(t testing.TB) *http.Client {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
}

func read(t testing.TB, browser *http.Client, address string) (int, string) {
	t.Helper()
	answer, err := browser.Get(address)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(text)
}

func TestSignInAtARealHub(t *testing.T) {
	hub := hubtest.Start(t)
	hub.User("alice", "console")
	hub.User("bob")
	clock, config := newClock(), hubConfig(t)
	client := newHubClient(t, hub.API)
	// Two replicas: what one begins the other finishes.
	gate := newGate(t, config, client, clock.Now)
	server := site(t, hub, gate, newGate(t, config, client, clock.Now))

	browser := newBrowser(t)
	hubtest.LogIn(t, browser, server.URL, "alice")
	status, text := read(t, browser, server.URL+"/services/console/kernels?q=a%20b")
	require.Equal(t, "alice reads /services/console/kernels?q=a%20b", text)
	assert.Equal(t, http.StatusOK, status)

	chief := newBrowser(t)
	hubtest.LogIn(t, chief, server.URL, "root")
	_, text = read(t, chief, server.URL+"/services/console/")
	assert.Equal(t, "root reads /services/console/ and is an administrator", text)

	stranger := newBrowser(t)
	hubtest.LogIn(t, stranger, server.URL, "bob")
	status, _ = read(t, stranger, server.URL+"/services/console/kernels")
	assert.Equal(t, http.StatusForbidden, status, "the Hub lets nobody in whose role does not say so")

	t.Run("what has no code or a stranger's", func(t *testing.T) {
		for _, query := range []string{"", "?state=" + strings.Repeat("x", 22) + "&code=y", "?code=y&state=short"} {
			status, text := read(t, browser, server.URL+"/services/console/oauth_callback"+query)
			assert.Equal(t, http.StatusTeapot, status)
			assert.Contains(t, text, "the sign-in failed")
		}
		_, text = read(t, browser, server.URL+"/services/console/api")
		assert.Contains(t, text, "alice", "a failed attempt leaves the session alone")
	})

	t.Run("tokens of the Hub", func(t *testing.T) {
		hub.User("carol")
		good := hub.Token("alice", "access:services!service=console")
		for token, want := range map[string]error{
			good: nil,
			hub.Token("alice", "read:users:name!user=alice"): signin.ErrForbidden,
			hub.Token("carol"):  signin.ErrForbidden,
			hubtest.Reader:      signin.ErrForbidden,
			hubtest.Console:     signin.ErrForbidden,
			"no-token-of-a-hub": signin.ErrSignedOut,
			"":                  signin.ErrSignedOut,
		} {
			person, err := gate.Identify(withToken(token))
			if want == nil {
				require.NoError(t, err)
				assert.Equal(t, signin.Person{User: "alice"}, person)
				assert.NoError(t, gate.CheckOrigin(withToken(token), person, ""), "no other page sends it")
				continue
			}
			assert.ErrorIs(t, err, want)
			assert.Equal(t, signin.Person{}, person)
		}
		twice := withToken(good)
		twice.Header.Add("Authorization", "token "+good)
		_, err := gate.Identify(twice)
		assert.ErrorIs(t, err, signin.ErrSignedOut)
		basic := withToken(good)
		basic.Header.Set("Authorization", "Basic "+good)
		_, err = gate.Identify(basic)
		assert.ErrorIs(t, err, signin.ErrSignedOut)
	})

	hubtest.LogOut(t, browser, server.URL)
	_, text = read(t, browser, server.URL+"/services/console/api")
	assert.Contains(t, text, "alice", "for a moment")
	clock.add(31 * time.Second)
	_, text = read(t, browser, server.URL+"/services/console/api")
	assert.Contains(t, text, "not signed in", "the Hub's log-out counts here")

	hubtest.LogIn(t, browser, server.URL, "alice")
	_, text = read(t, browser, server.URL+"/services/console/")
	require.Contains(t, text, "alice")
	hub.Stop()
	clock.add(59 * time.Second)
	_, text = read(t, browser, server.URL+"/services/console/api")
	assert.Contains(t, text, "alice", "a Hub that restarts throws nobody out")
	clock.add(2 * time.Second)
	_, text = read(t, browser, server.URL+"/services/console/api")
	assert.Contains(t, text, "does not answer", "nobody is let in on an old word")
	clock.add(12 * time.Hour)
	_, text = read(t, browser, server.URL+"/services/console/api")
	assert.Contains(t, text, "the session is over")
}

func withToken(token string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://hub/services/console/api", nil)
	r.Header.Set("Authorization", "token "+token)
	return r
}

// started begins a sign-in that no provider has to be there for.
func started(t *testing.T, gate *signin.Gate, next string, change ...func(*http.Request)) (*http.Cookie, *url.URL) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://hub/services/console/", nil)
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	require.NoError(t, gate.Begin(w, r, next))
	cookies := w.Result().Cookies()
	require.Len(t, cookies, 1)
	location, err := w.Result().Location()
	require.NoError(t, err)
	return cookies[0], location
}

// hubOfOne answers as a Hub with one user does.
func hubOfOne(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/token") {
			_, _ = io.WriteString(w, `{"access_token": "tok"}`)
			return
		}
		_, _ = io.WriteString(w, `{"kind": "user", "name": "alice", "admin": true, "scopes": ["access:services"]}`)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func finish(gate *signin.Gate, state string, cookies ...*http.Cookie) (*httptest.ResponseRecorder, error) {
	r := httptest.NewRequest(http.MethodGet, "http://hub/services/console/oauth_callback?code=c&state="+url.QueryEscape(state), nil)
	for _, cookie := range cookies {
		r.AddCookie(cookie)
	}
	w := httptest.NewRecorder()
	return w, gate.Finish(w, r)
}

func sessionOf(t *testing.T, w *httptest.ResponseRecorder) *http.Cookie {
	t.Helper()
	for _, cookie := range w.Result().Cookies() {
		if cookie.Name == "elastichub-session" {
			return cookie
		}
	}
	require.Fail(t, "no session")
	return nil
}

func identify(gate *signin.Gate, cookie *http.Cookie) (signin.Person, error) {
	r := httptest.NewRequest(http.MethodGet, "http://hub/services/console/", nil)
	r.AddCookie(cookie)
	return gate.Identify(r)
}

func TestAttempts(t *testing.T) {
	clock, config := newClock(), hubConfig(t)
	gate := newGate(t, config, newHubClient(t, hubOfOne(t)), clock.Now)
	cookie, address := started(t, gate, "/services/console/x")
	query := address.Query()
	state := query.Get("state")
	assert.Equal(t, "/hub/api/oauth2/authorize", address.Path)
	assert.Equal(t, "S256", query.Get("code_challenge_method"))
	assert.Len(t, query.Get("code_challenge"), 43)
	assert.Equal(t, "/services/console/oauth_callback", query.Get("redirect_uri"))
	assert.NotContains(t, cookie.Value, state, "sealed")

	other, otherAddress := started(t, gate, "/services/console/y")
	for name, row := range map[string]struct {
		state   string
		cookies []*http.Cookie
	}{
		"another browser":           {state, nil},
		"another attempt's state":   {otherAddress.Query().Get("state"), []*http.Cookie{cookie}},
		"another attempt's content": {state, []*http.Cookie{{Name: cookie.Name, Value: other.Value}}},
		"the same beginning":        {state[:8] + otherAddress.Query().Get("state")[8:], []*http.Cookie{cookie}},
		"tampered":                  {state, []*http.Cookie{{Name: cookie.Name, Value: cookie.Value[:len(cookie.Value)-4] + "AAAA"}}},
		"nonsense":                  {state, []*http.Cookie{{Name: cookie.Name, Value: "nonsense"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := finish(gate, row.state, row.cookies...)
			assert.ErrorIs(t, err, signin.ErrAttempt)
			assert.NotContains(t, strings.Join(w.Header().Values("Set-Cookie"), "\n"), "elastichub-session")
			assert.Empty(t, w.Header().Get("Location"))
		})
	}
	w, err := finish(gate, state, cookie)
	require.NoError(t, err)
	assert.Equal(t, "/services/console/x", w.Header().Get("Location"))
	first := sessionOf(t, w)
	person, err := identify(gate, first)
	require.NoError(t, err)
	assert.Equal(t, "alice", person.User)
	assert.True(t, person.HubAdmin)
	require.NotEmpty(t, person.CSRF)

	w, err = finish(gate, otherAddress.Query().Get("state"), other, first)
	require.NoError(t, err)
	again, err := identify(gate, sessionOf(t, w))
	require.NoError(t, err)
	assert.NotEqual(t, person.CSRF, again.CSRF, "a sign-in makes a session of its own")
	_, err = identify(gate, &http.Cookie{Name: first.Name, Value: cookie.Value})
	assert.ErrorIs(t, err, signin.ErrSignedOut, "an attempt is no session")

	late, address := started(t, gate, "")
	clock.add(10*time.Minute + time.Second)
	_, err = finish(gate, address.Query().Get("state"), late)
	assert.ErrorIs(t, err, signin.ErrAttempt)
}

// TestAProxyThatAsksForAPassword: what a browser shows to it is no proof, and keeps
// nobody from showing one.
func TestAProxyThatAsksForAPassword(t *testing.T) {
	gate := newGate(t, hubConfig(t), newHubClient(t, hubOfOne(t)), time.Now)
	cookie, address := started(t, gate, "")
	w, err := finish(gate, address.Query().Get("state"), cookie)
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodPost, "http://hub/services/console/", nil)
	r.Header.Set("Authorization", "Basic YTpi")
	_, err = gate.Identify(r)
	assert.ErrorIs(t, err, signin.ErrSignedOut)
	r.AddCookie(sessionOf(t, w))
	person, err := gate.Identify(r)
	require.NoError(t, err)
	assert.Equal(t, "alice", person.User)
	assert.ErrorIs(t, gate.CheckOrigin(r, person, ""), signin.ErrCrossSite)
	r.Header.Add("Authorization", "token a")
	r.Header.Add("Authorization", "Bearer b")
	assert.True(t, signin.ShowsToken(r))
	_, err = gate.Identify(r)
	assert.ErrorIs(t, err, signin.ErrSignedOut, "which of the two, nobody can tell")
}

func TestKeysOfCookies(t *testing.T) {
	clock, config := newClock(), hubConfig(t)
	hub := newHubClient(t, hubOfOne(t))
	gate := newGate(t, config, hub, clock.Now)
	cookie, address := started(t, gate, "")
	w, err := finish(gate, address.Query().Get("state"), cookie)
	require.NoError(t, err)
	session := sessionOf(t, w)

	changed := config
	changed.KeyFile, changed.FormerKeyFile = file(t, strings.ToUpper(key)), config.KeyFile
	_, err = identify(newGate(t, changed, hub, clock.Now), session)
	assert.NoError(t, err, "the former key still opens")
	changed.FormerKeyFile = filepath.Join(t.TempDir(), "none")
	_, err = identify(newGate(t, changed, hub, clock.Now), session)
	assert.ErrorIs(t, err, signin.ErrSignedOut)
	changed.FormerKeyFile = file(t, "")
	_, err = identify(newGate(t, changed, hub, clock.Now), session)
	assert.ErrorIs(t, err, signin.ErrSignedOut)
	for _, short := range []string{"", "short"} {
		changed.KeyFile = file(t, short)
		_, err := signin.New(changed, hub, nil, clock.Now)
		assert.ErrorContains(t, err, "keyFile")
	}
	changed = config
	changed.Provider, changed.PublicURL = signin.ProviderOIDC, "https://console.example.org"
	changed.OIDC.Issuer, changed.OIDC.ClientID, changed.OIDC.SecretFile = "https://idp.example.org", "c", config.KeyFile
	_, err = identify(newGate(t, changed, nil, clock.Now), session)
	assert.ErrorIs(t, err, signin.ErrSignedOut, "a session of the Hub is none where nobody asks the Hub")
}

func TestCookiesAreForOurPagesAlone(t *testing.T) {
	config := hubConfig(t)
	gate := newGate(t, config, newHubClient(t, hubOfOne(t)), time.Now)
	proto := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", value) }
	}
	for value, secure := range map[string]bool{"": false, "http": false, "https": true, "https,http": true, "http,https": false} {
		cookie, _ := started(t, gate, "", proto(value))
		assert.Equal(t, secure, cookie.Secure, value)
		assert.True(t, cookie.HttpOnly)
		assert.Equal(t, http.SameSiteLaxMode, cookie.SameSite)
		assert.Equal(t, config.BasePath, cookie.Path)
		assert.Empty(t, cookie.Domain)
	}
	config.PublicURL = "https://hub.example.org"
	cookie, _ := started(t, newGate(t, config, newHubClient(t, hubOfOne(t)), time.Now), "", proto("http"))
	assert.True(t, cookie.Secure)
	w := httptest.NewRecorder()
	gate.SignOut(w, httptest.NewRequest(http.MethodPost, "/", nil))
	assert.Negative(t, sessionOf(t, w).MaxAge)
}

func TestCSRF(t *testing.T) {
	config := hubConfig(t)
	config.PublicURL = "https://hub.example.org"
	gate := newGate(t, config, newHubClient(t, hubOfOne(t)), time.Now)
	person := signin.Person{User: "alice", CSRF: "right"}
	for name, row := range map[string]struct {
		header map[string]string
		shown  string
		passes bool
	}{
		"our page":                  {map[string]string{"Sec-Fetch-Site": "same-origin"}, "right", true},
		"an old browser":            {map[string]string{"Origin": "http://inside:8080"}, "right", true},
		"a proxy that changes Host": {map[string]string{"Origin": "https://hub.example.org"}, "right", true},
		"no token":                  {map[string]string{"Sec-Fetch-Site": "same-origin"}, "", false},
		"another token":             {map[string]string{"Sec-Fetch-Site": "same-origin"}, "wrong", false},
		"another site":              {map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, "right", false},
		"another origin":            {map[string]string{"Origin": "https://evil.example"}, "right", false},
	} {
		r := httptest.NewRequest(http.MethodPost, "http://inside:8080/services/console/x", nil)
		for k, v := range row.header {
			r.Header.Set(k, v)
		}
		err := gate.CheckOrigin(r, person, row.shown)
		if row.passes {
			assert.NoError(t, err, name)
		} else {
			assert.ErrorIs(t, err, signin.ErrCrossSite, name)
		}
	}
}

func TestNextStaysHere(t *testing.T) {
	gate := newGate(t, hubConfig(t), newHubClient(t, hubOfOne(t)), time.Now)
	for next, want := range map[string]string{
		"/services/console/":                             "",
		"/services/console/kernels?sort=user":            "/services/console/kernels?sort=user",
		"":                                               "",
		"https://evil.example/services/console/":         "",
		"//evil.example/services/console/":               "",
		"/services/console/../../user/mallory/":          "",
		"/services/console/%2e%2e/x":                     "",
		"/services/console/\\evil":                       "",
		"/services/console/\r\nSet-Cookie: a=b":          "",
		"/user/mallory/":                                 "",
		"javascript:alert(1)":                            "",
		"/services/console/" + strings.Repeat("x", 2000): "",
	} {
		cookie, address := started(t, gate, next)
		w, err := finish(gate, address.Query().Get("state"), cookie)
		require.NoError(t, err)
		if want == "" {
			want = "/services/console/"
		}
		assert.Equal(t, want, w.Header().Get("Location"), "%q", next)
	}
}

func TestSignInAtARealProvider(t *testing.T) {
	provider := oidctest.Start(t)
	provider.Account("Alice", nil)
	config := signin.DefaultConfig()
	config.Provider, config.BasePath, config.PublicURL, config.KeyFile = signin.ProviderOIDC, "/", "https://console.example.org", file(t, key)
	config.OIDC.Issuer, config.OIDC.ClientID, config.OIDC.SecretFile, config.OIDC.AllowPlaintext = provider.Issuer, oidctest.Console, file(t, oidctest.Secret), true
	clock := newClock()
	gate := newGate(t, config, nil, clock.Now)

	// walk follows the provider's pages until they lead to us.
	walk := func(address *url.URL) url.Values {
		query := address.Query()
		query.Set("login_hint", "Alice")
		address.RawQuery = query.Encode()
		browser := newBrowser(t)
		var back url.Values
		browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			if strings.HasPrefix(r.URL.String(), oidctest.ConsoleCallback) {
				back = r.URL.Query()
				return http.ErrUseLastResponse
			}
			return nil
		}
		read(t, browser, address.String())
		require.NotEmpty(t, back.Get("code"), "%v", back)
		return back
	}
	sendBack := func(query url.Values, cookie *http.Cookie) (*httptest.ResponseRecorder, error) {
		r := httptest.NewRequest(http.MethodGet, "http://inside/oauth_callback?"+query.Encode(), nil)
		r.AddCookie(cookie)
		w := httptest.NewRecorder()
		return w, gate.Finish(w, r)
	}
	cookie, address := started(t, gate, "/kernels")
	assert.NotEmpty(t, address.Query().Get("nonce"))
	assert.Equal(t, "S256", address.Query().Get("code_challenge_method"))
	back := walk(address)
	w, err := sendBack(back, cookie)
	require.NoError(t, err)
	assert.Equal(t, "/kernels", w.Header().Get("Location"))
	session := sessionOf(t, w)
	assert.True(t, session.Secure)
	person, err := identify(gate, session)
	require.NoError(t, err)
	assert.Equal(t, "alice", person.User, "as the Hub keeps names")

	_, err = sendBack(back, cookie)
	assert.ErrorIs(t, err, signin.ErrAttempt, "a code is good once")
	t.Run("a code that somebody else got", func(t *testing.T) {
		mine, address := started(t, gate, "")
		theirs := walk(func() *url.URL { _, a := started(t, gate, ""); return a }())
		theirs.Set("state", address.Query().Get("state"))
		_, err := sendBack(theirs, mine)
		assert.ErrorIs(t, err, signin.ErrAttempt, "PKCE")
	})
	t.Run("keys change", func(t *testing.T) {
		provider.Rotate()
		cookie, address := started(t, gate, "")
		_, err := sendBack(walk(address), cookie)
		assert.NoError(t, err)
	})
	t.Run("a provider that is down", func(t *testing.T) {
		for _, fault := range []string{"error", "html", "huge", "redirect"} {
			provider.Fault(fault)
			fresh := newGate(t, config, nil, clock.Now)
			err := fresh.Begin(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "http://inside/", nil), "")
			assert.ErrorIs(t, err, signin.ErrUnavailable, fault)
		}
		fresh := newGate(t, config, nil, clock.Now)
		begin := func() error {
			return fresh.Begin(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "http://inside/", nil), "")
		}
		assert.ErrorIs(t, begin(), signin.ErrUnavailable)
		provider.Fault("")
		assert.ErrorIs(t, begin(), signin.ErrUnavailable, "strangers do not make us ask all the time")
		clock.add(5 * time.Second)
		assert.NoError(t, begin())
	})
	t.Run("a provider that says no", func(t *testing.T) {
		cookie, address := started(t, gate, "")
		_, err := sendBack(url.Values{"state": {address.Query().Get("state")}, "error": {"access_denied"}}, cookie)
		assert.ErrorIs(t, err, signin.ErrAttempt)
	})
	clock.add(time.Hour)
	_, err = identify(gate, session)
	assert.ErrorIs(t, err, signin.ErrSignedOut, "the provider is asked again")
	_, err = gate.Identify(withToken("some-token"))
	assert.ErrorIs(t, err, signin.ErrSignedOut, "without a Hub its tokens are no proof")
}

func TestRefusedTokensAreRemembered(t *testing.T) {
	var asked int
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		asked++
		mu.Unlock()
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	gate := newGate(t, hubConfig(t), newHubClient(t, server.URL), time.Now)
	for range 50 {
		_, err := gate.Identify(withToken("stolen").WithContext(context.Background()))
		require.ErrorIs(t, err, signin.ErrSignedOut)
	}
	assert.Equal(t, 1, asked, "a refusal is remembered, too")
}

func TestConfigFaults(t *testing.T) {
	for want, change := range map[string]func(*signin.Config){
		"provider":         func(c *signin.Config) { c.Provider = "ldap" },
		"basePath":         func(c *signin.Config) { c.BasePath = "/services/x" },
		"basePath: not":    func(c *signin.Config) { c.BasePath = "//evil/" },
		"publicURL":        func(c *signin.Config) { c.PublicURL = "https://x/y" },
		"publicURL: requ":  func(c *signin.Config) { c.Hub.PublicURL = "https://hub/hub/" },
		"keyFile":          func(c *signin.Config) { c.KeyFile = "" },
		"hub.publicURL":    func(c *signin.Config) { c.Hub.PublicURL = "javascript:x/" },
		"hub.publicURL: n": func(c *signin.Config) { c.Hub.PublicURL = "//evil/" },
		"hub.clientID":     func(c *signin.Config) { c.Hub.ClientID = "elastichub" },
		"oidc.issuer":      func(c *signin.Config) { c.Provider, c.OIDC.Issuer = signin.ProviderOIDC, "http://idp" },
		"oidc.clientID":    func(c *signin.Config) { c.Provider = signin.ProviderOIDC },
		"oidc.algorithms":  func(c *signin.Config) { c.Provider, c.OIDC.Algorithms = signin.ProviderOIDC, []string{"none"} },
	} {
		config := hubConfig(t)
		require.NoError(t, config.Validate())
		change(&config)
		assert.ErrorContains(t, config.Validate(), want)
	}
	config := signin.DefaultConfig()
	config.Provider, config.KeyFile = signin.ProviderNone, ""
	require.NoError(t, config.Validate(), "where nobody signs in nothing is sealed")
	_, err := signin.New(config, nil, nil, time.Now)
	assert.ErrorContains(t, err, "provider: with none")
}
