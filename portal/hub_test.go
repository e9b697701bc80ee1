package portal_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/hubclient"
	"github.com/elastichub/elastichub/portal"
	"github.com/elastichub/elastichub/portal/signin"
	"github.com/elastichub/elastichub/test/hubtest"
)

// behindHub is a Hub and its console behind one address, as a Hub's proxy has them.
func behindHub(t *testing.T, h *harness, hub *hubtest.Hub) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(hubWithConsole(t, h, hub, func(config *signin.Config) { config.BasePath = "/services/console/" }))
	t.Cleanup(server.Close)
	return server
}

// hubWithConsole is what answers there; configure says where the console is.
func hubWithConsole(t *testing.T, h *harness, hub *hubtest.Hub, configure func(*signin.Config)) http.Handler {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"token": hubtest.Console, "key": strings.Repeat("k", 32)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	asker, err := hubclient.New(hubclient.Config{APIURL: hub.API, TokenFile: filepath.Join(dir, "token"), Timeout: 5 * time.Second})
	require.NoError(t, err)
	t.Cleanup(asker.Close)
	config := signin.DefaultConfig()
	config.Hub.ClientID, config.KeyFile = "service-console", filepath.Join(dir, "key")
	configure(&config)
	gate, err := signin.New(config, asker, nil, time.Now)
	require.NoError(t, err)
	t.Cleanup(gate.Close)
	pages := portal.DefaultConfig()
	pages.Namespace, pages.BasePath, pages.Admins = h.namespace, config.BasePath, portal.Admins{Groups: []string{"admins"}}
	console, err := portal.New(pages, portal.Dependencies{
		Gate: gate, Members: h.members, Client: h.api, Live: h.api, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: prometheus.NewRegistry(), Now: time.Now,
	})
	require.NoError(t, err)

	target, err := url.Parse(hub.API)
	require.NoError(t, err)
	target.Path = ""
	toHub := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}, Transport: &http.Transport{DisableKeepAlives: true}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if console.Serves(r) {
			console.ServeHTTP(w, r)
		} else {
			toHub.ServeHTTP(w, r)
		}
	})
}

func TestBehindARealHub(t *testing.T) {
	h := newHarnessOfAlice(t)
	hub := hubtest.Start(t)
	hub.User("alice", "console")
	site := behindHub(t, h, hub)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	browser := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	read := func(answer *http.Response, err error) (int, string) {
		t.Helper()
		require.NoError(t, err)
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return answer.StatusCode, string(text)
	}

	status, page := read(browser.Get(site.URL + "/services/console/kernels/k-alice"))
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, page, "password_input", "the Hub asks who it is")
	hubtest.LogIn(t, browser, site.URL, "alice")
	status, page = read(browser.Get(site.URL + "/services/console/kernels/k-alice"))
	require.Equal(t, http.StatusOK, status, page)
	require.Contains(t, page, "Release now")
	w := httptest.NewRecorder()
	_, _ = w.WriteString(page)
	form := formOf(t, w, "/services/console/kernels/k-alice/release")
	status, page = read(browser.PostForm(site.URL+"/services/console/kernels/k-alice/release", form))
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, page, "Asked for.")
	var k v1alpha1.JupyterKernel
	h.read("k-alice", &k)
	assert.Equal(t, &v1alpha1.KernelPark{Run: 1, By: "alice"}, k.Spec.Park)

	request, err := http.NewRequest(http.MethodGet, site.URL+"/services/console/api/v1/me", nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "token "+hub.Token("alice", "access:services!service=console"))
	_, text := read((&http.Client{Transport: browser.Transport}).Do(request))
	assert.JSONEq(t, `{"user": "alice", "admin": false}`, text)
}
