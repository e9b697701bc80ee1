// Package hubtest runs a real JupyterHub for tests, without a proxy, on free
// loopback ports, with everything in a temporary directory.
package hubtest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/test/loopback"
	"github.com/elastichub/elastichub/test/pythontest"
)

// Tokens of the Hub's services.
const (
	// Reader has the scope read:users:groups.
	Reader = "11111111111111111111111111111111"
	// Namer may read names, and no groups.
	Namer = "22222222222222222222222222222222"
	// Nobody has no scope at all.
	Nobody = "33333333333333333333333333333333"
	// Some may read the groups of the members of one group.
	Some   = "44444444444444444444444444444444"
	tester = "55555555555555555555555555555555"
	// Console is that of the service named console, to which the members of the
	// group console may sign in, and root, the Hub's administrator.
	Console = "66666666666666666666666666666666"
	// Steward may read users, and start and stop their servers.
	Steward = "77777777777777777777777777777777"
	// Warden may do that, and list all users.
	Warden = "88888888888888888888888888888888"
)

// Callback is where the Hub sends those who sign in to the service console.
const Callback = "/services/console/oauth_callback"

const config = `
import os
from jupyterhub.proxy import Proxy

class NoProxy(Proxy):
    should_start = False
    async def get_all_routes(self): return {}
    async def add_route(self, routespec, target, data): pass
    async def delete_route(self, routespec): pass

c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.db_url = "sqlite:///hub.sqlite"
c.JupyterHub.bind_url = "http://127.0.0.1:%[1]d"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:%[2]d"
tokens = {"reader": "` + Reader + `", "namer": "` + Namer + `", "nobody": "` + Nobody + `", "some": "` + Some + `", "tester": "` + tester + `", "steward": "` + Steward + `", "warden": "` + Warden + `", "console": "` + Console + `"}
scopes = {"reader": ["read:users:groups"], "namer": ["read:users:name"], "some": ["read:users:groups!group=staff"], "steward": ["read:users", "servers"], "warden": ["list:users", "read:users", "servers"], "tester": ["admin:users", "admin:groups", "tokens", "access:services", "read:users", "servers"]}
c.JupyterHub.services = [{"name": n, "api_token": t} for n, t in tokens.items()]
c.JupyterHub.services[-1].update(oauth_redirect_uri="` + Callback + `", oauth_no_confirm=True,
    oauth_client_allowed_scopes=["read:users!user", "access:services!service=console"])
c.JupyterHub.load_roles = [{"name": n, "services": [n], "scopes": s} for n, s in scopes.items()]
c.JupyterHub.load_roles.append({"name": "console-users", "scopes": ["access:services!service=console"], "groups": ["console"]})
c.JupyterHub.load_groups = {"console": []}
c.Authenticator.admin_users = {"root"}

# Servers are a process of this machine that says nothing of itself, or refused.
import sys
from tornado import web
c.JupyterHub.spawner_class = "simple"
c.Spawner.cmd = [sys.executable, "-c", """
import http.server, os, urllib.parse
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"]).port), Page).serve_forever()
"""]
c.JupyterHub.allow_named_servers = True
def refuse(spawner):
    if spawner.user.name == "refused":
        raise web.HTTPError(409, "As many servers run as the policy allows.")
c.Spawner.pre_spawn_hook = refuse
`

// Hub is a running JupyterHub.
type Hub struct {
	// API is the URL of its REST API.
	API string

	t       testing.TB
	dir     string
	process *exec.Cmd
	command []string
}

// Start runs JupyterHub 5. It skips the test where that cannot be had, unless CI=true.
func Start(t testing.TB) *Hub {
	t.Helper()
	return start(t, "hubtest", 5, Place{})
}

// Place is where browsers find a Hub that is not at the root of one address.
type Place struct {
	// Base is c.JupyterHub.base_url, with slashes around it.
	Base string
	// Subdomains is c.JupyterHub.subdomain_host.
	Subdomains string
}

// StartAt is Start elsewhere. The service console leads back to where the Hub itself puts it.
func StartAt(t testing.TB, at Place) *Hub {
	t.Helper()
	return start(t, "hubtest", 5, at)
}

// StartNext is Start with JupyterHub 6, which checks PKCE.
func StartNext(t testing.TB) *Hub {
	t.Helper()
	return start(t, "hubtest-next", 6, Place{})
}

// config is nothing for the zero Place.
func (p Place) config() string {
	if p == (Place{}) {
		return ""
	}
	text := "del c.JupyterHub.services[-1]['oauth_redirect_uri']\nc.JupyterHub.services[-1]['url'] = 'http://127.0.0.1:1'\n"
	if p.Base != "" {
		text += fmt.Sprintf("c.JupyterHub.bind_url += %q\n", p.Base)
	}
	if p.Subdomains != "" {
		text += fmt.Sprintf("c.JupyterHub.subdomain_host = %q\n", p.Subdomains)
	}
	return text
}

func start(t testing.TB, environment string, version int, at Place) *Hub {
	t.Helper()
	python, err := pythontest.Environment(environment, fmt.Sprintf("import jupyterhub; assert jupyterhub.version_info[0] == %d", version), fmt.Sprintf("jupyterhub==%d.*", version))
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no JupyterHub: %v", err)
		}
		t.Skipf("no JupyterHub: %v", err)
	}
	port := loopback.Port()
	h := &Hub{t: t, dir: t.TempDir(), API: fmt.Sprintf("http://127.0.0.1:%d%shub/api", port, cmp.Or(at.Base, "/")), command: []string{python, "-m", "jupyterhub", "--config", "config.py"}}
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "config.py"), []byte(fmt.Sprintf(config, loopback.Port(), port)+at.config()), 0o600))
	h.Resume()
	t.Cleanup(h.Stop)
	return h
}

// Stop ends the process. A stopped Hub can be resumed.
func (h *Hub) Stop() {
	if h.process == nil {
		return
	}
	_ = h.process.Process.Kill()
	_ = h.process.Wait()
	h.process = nil
}

// Resume starts the process on the same port and data.
func (h *Hub) Resume() {
	h.t.Helper()
	log, err := os.Create(filepath.Join(h.dir, "log"))
	require.NoError(h.t, err)
	defer log.Close()
	h.process = exec.Command(h.command[0], h.command[1:]...)
	h.process.Dir = h.dir
	h.process.Stdout, h.process.Stderr = log, log
	require.NoError(h.t, h.process.Start())
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if status, _ := h.call(http.MethodGet, "", nil); status == http.StatusOK {
			return
		}
	}
	said, _ := os.ReadFile(log.Name())
	require.Fail(h.t, "JupyterHub does not answer", "%s", said)
}

// User makes a user who is in the groups.
func (h *Hub) User(name string, groups ...string) {
	h.t.Helper()
	status, body := h.call(http.MethodPost, "/users/"+url.PathEscape(name), nil)
	require.Equal(h.t, http.StatusCreated, status, "%s", body)
	for _, group := range groups {
		path := "/groups/" + url.PathEscape(group)
		if status, _ := h.call(http.MethodGet, path, nil); status == http.StatusNotFound {
			status, body := h.call(http.MethodPost, path, nil)
			require.Equal(h.t, http.StatusCreated, status, "%s", body)
		}
		status, body := h.call(http.MethodPost, path+"/users", map[string]any{"users": []string{name}})
		require.Equal(h.t, http.StatusOK, status, "%s", body)
	}
}

// LogIn signs a user in, who is believed, with a browser that keeps cookies. base
// is where the browser finds the Hub.
func LogIn(t testing.TB, browser *http.Client, base, user string) {
	t.Helper()
	page, err := browser.Get(base + "/hub/login")
	require.NoError(t, err)
	page.Body.Close()
	form := url.Values{"username": {user}, "password": {"x"}}
	for _, cookie := range browser.Jar.Cookies(page.Request.URL) {
		if cookie.Name == "_xsrf" {
			form.Set("_xsrf", cookie.Value)
		}
	}
	// Where the Hub leads then is a server that nobody has.
	once := *browser
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := once.PostForm(base+"/hub/login?next=%2Fhub%2Fhome", form)
	require.NoError(t, err)
	answer.Body.Close()
	require.Equal(t, http.StatusFound, answer.StatusCode)
}

// LogOut ends the session of LogIn.
func LogOut(t testing.TB, browser *http.Client, base string) {
	t.Helper()
	answer, err := browser.Get(base + "/hub/logout")
	require.NoError(t, err)
	answer.Body.Close()
}

// Token makes a token of a user, of the scopes.
func (h *Hub) Token(user string, scopes ...string) string {
	h.t.Helper()
	status, body := h.call(http.MethodPost, "/users/"+url.PathEscape(user)+"/tokens", map[string]any{"scopes": scopes})
	require.Equal(h.t, http.StatusCreated, status, "%s", body)
	var answer struct{ Token string }
	require.NoError(h.t, json.Unmarshal([]byte(body), &answer))
	return answer.Token
}

// Servers are the names of a user's that start, run or stop.
func (h *Hub) Servers(user string) []string {
	h.t.Helper()
	status, body := h.call(http.MethodGet, "/users/"+url.PathEscape(user), nil)
	require.Equal(h.t, http.StatusOK, status, "%s", body)
	var answer struct{ Servers map[string]any }
	require.NoError(h.t, json.Unmarshal([]byte(body), &answer))
	return slices.Sorted(maps.Keys(answer.Servers))
}

// Rename gives a user another name.
func (h *Hub) Rename(user, to string) {
	h.t.Helper()
	status, body := h.call(http.MethodPatch, "/users/"+url.PathEscape(user), map[string]any{"name": to})
	require.Equal(h.t, http.StatusOK, status, "%s", body)
}

// Created is when the Hub made a user.
func (h *Hub) Created(user string) time.Time {
	h.t.Helper()
	status, body := h.call(http.MethodGet, "/users/"+url.PathEscape(user), nil)
	require.Equal(h.t, http.StatusOK, status, "%s", body)
	var answer struct{ Created time.Time }
	require.NoError(h.t, json.Unmarshal([]byte(body), &answer))
	return answer.Created
}

func (h *Hub) call(method, path string, body any) (int, string) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		require.NoError(h.t, err)
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, h.API+path, content)
	require.NoError(h.t, err)
	request.Header.Set("Authorization", "token "+tester)
	answer, err := (&http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(h.t, err)
	return answer.StatusCode, strings.TrimSpace(string(text))
}
