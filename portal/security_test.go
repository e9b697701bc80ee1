package portal_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/portal"
)

// Who may use a route: whoever it is, whoever is signed in, the owner of the object and
// administrators, administrators.
const (
	open   = "open"
	signed = "signed in"
	owner  = "owner"
	admins = "administrators"
	// accounts of Kubernetes, and nobody of the Hub
	accounts = "accounts"
)

// allowed is who may use each route. It is written here again, apart from the routes.
var allowed = map[string]string{
	"GET /signin":                          open,
	"GET /oauth_callback":                  open,
	"POST /signout":                        signed,
	"GET /signedout":                       open,
	"GET /static/{name}":                   open,
	"GET /live":                            signed,
	"GET /{$}":                             signed,
	"GET /kernels/{name}":                  owner,
	"POST /kernels/{name}/release":         owner,
	"POST /kernels/{name}/shutdown":        owner,
	"POST /kernels/{name}/return":          owner,
	"POST /api/v1/kernels/{name}/return":   owner,
	"GET /servers/{name}":                  owner,
	"POST /servers/{name}/stop":            owner,
	"POST /kernels/{name}/move":            admins,
	"POST /api/v1/kernels/{name}/move":     admins,
	"POST /servers/{name}/snooze":          owner,
	"POST /kernels/{name}/snooze":          owner,
	"POST /api/v1/servers/{name}/snooze":   owner,
	"POST /api/v1/kernels/{name}/snooze":   owner,
	"GET /cluster":                         admins,
	"GET /kernels":                         admins,
	"GET /servers":                         admins,
	"GET /policies":                        admins,
	"GET /newpolicy":                       admins,
	"POST /newpolicy":                      admins,
	"GET /policies/{name}":                 admins,
	"GET /policies/{name}/edit":            admins,
	"POST /policies/{name}/edit":           admins,
	"GET /policies/{name}/delete":          admins,
	"POST /policies/{name}/delete":         admins,
	"GET /directory":                       admins,
	"GET /directory/pick":                  admins,
	"GET /explain":                         admins,
	"POST /api/v1/policies":                admins,
	"GET /api/v1/policies/{name}":          admins,
	"PATCH /api/v1/policies/{name}":        admins,
	"POST /api/v1/policies/{name}/delete":  admins,
	"GET /api/v1/policies/{name}/affected": admins,
	"GET /api/v1/directory/groups":         admins,
	"GET /api/v1/users/{name}/explanation": admins,
	"GET /my-hours":                        signed,
	"GET /my-hours.csv":                    signed,
	"GET /hours":                           admins,
	"GET /hours.csv":                       admins,
	"GET /api/v1/me/usage":                 signed,
	"GET /api/v1/me/budgets":               signed,
	"GET /api/v1/usage":                    admins,
	"GET /api/v1/budgets":                  admins,
	"GET /api/v1/openapi.yaml":             signed,
	"GET /api/v1/me":                       signed,
	"GET /api/v1/me/servers":               signed,
	"GET /api/v1/me/kernels":               signed,
	"GET /api/v1/servers/{name}":           owner,
	"POST /api/v1/servers/{name}/stop":     owner,
	"GET /api/v1/kernels/{name}":           owner,
	"POST /api/v1/kernels/{name}/release":  owner,
	"POST /api/v1/kernels/{name}/shutdown": owner,
	"GET /api/v1/servers/{name}/events":    owner,
	"GET /api/v1/servers/{name}/log":       owner,
	"GET /api/v1/kernels/{name}/log":       owner,
	"GET /api/v1/kernels/{name}/events":    owner,
	"GET /api/v1/overview":                 admins,
	"GET /api/v1/queue":                    admins,
	"GET /api/v1/images":                   admins,
	"GET /api/v1/kernels":                  admins,
	"GET /api/v1/servers":                  admins,
	"GET /api/v1/policies":                 admins,
	"GET /api/v1/notebooks":                signed,
	"POST /api/v1/notebooks":               accounts,
	"GET /api/v1/notebooks/{name}":         owner,
	"POST /api/v1/notebooks/{name}/start":  owner,
	"POST /api/v1/notebooks/{name}/stop":   owner,
	"DELETE /api/v1/notebooks/{name}":      owner,
}

// isPage reports whether a route is of the pages.
func isPage(route string) bool { return !strings.Contains(route, " /api/") }

// callRoute makes a request of a route, to alice's kernel or server, by a token.
func (h *harness) callRoute(route, user string, header ...string) *httptest.ResponseRecorder {
	method, path, _ := strings.Cut(route, " ")
	body := ""
	switch {
	case method == http.MethodGet:
	case isPage(route):
		body = "reason=a+test"
		header = append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)
	default:
		body = `{"reason": "a test"}`
	}
	return h.call(user, method, pathOf(path), body, header...)
}

// pathOf fills in the name of alice's kernel or server, or of a policy.
func pathOf(path string) string {
	name := "k-alice"
	switch {
	case strings.Contains(path, "/servers/"), strings.Contains(path, "/notebooks/"):
		name = "jupyter-alice"
	case strings.Contains(path, "/policies/"):
		name = "research"
	}
	return strings.NewReplacer("{name}", name, "{$}", "").Replace(path)
}

func newHarnessOfAlice(t *testing.T, change ...func(*portal.Config)) *harness {
	h := newHarness(t, change...)
	h.server("jupyter-alice", "alice", v1alpha1.JupyterNotebookStatus{Phase: v1alpha1.NotebookReady})
	h.kernel("k-alice", "alice", "jupyter-alice", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady})
	h.policy("research", "researchers")
	return h
}

func TestEveryRouteKnowsWhoMayUseIt(t *testing.T) {
	h := newHarnessOfAlice(t)
	for _, route := range h.portal.Routes() {
		require.Contains(t, allowed, route, "say here who may use it")
	}
	for route, who := range allowed {
		require.Contains(t, h.portal.Routes(), route)
		if who == open || route == "POST /signout" {
			continue // signing in and out have tests of their own
		}
		t.Run(route, func(t *testing.T) {
			for _, w := range []*httptest.ResponseRecorder{h.callRoute(route, ""), h.callRoute(route, "", "Cookie", "elastichub-session=stolen")} {
				switch {
				case !isPage(route):
					assert.Equal(t, "unauthenticated", kindOf(t, w))
				case strings.HasPrefix(route, "GET "):
					assert.Equal(t, http.StatusFound, w.Code)
					assert.True(t, strings.HasPrefix(w.Header().Get("Location"), "/hub/api/oauth2/authorize?"))
				default:
					assert.Equal(t, http.StatusSeeOther, w.Code)
					assert.Equal(t, base, w.Header().Get("Location"), "which asks who it is")
				}
				assert.NotContains(t, w.Body.String(), "alice")
			}
			stolen := h.callRoute(route, "", "Authorization", "token stolen")
			assert.Equal(t, http.StatusUnauthorized, stolen.Code)
			for _, user := range []string{"service", "weak"} {
				w := h.callRoute(route, user)
				assert.Equal(t, http.StatusForbidden, w.Code, user)
				assert.NotContains(t, w.Body.String(), "alice")
				assert.True(t, isPage(route) || kindOf(t, w) == "not-allowed")
			}
			mallory := h.callRoute(route, "bob")
			switch who {
			case signed:
				assert.Equal(t, http.StatusOK, mallory.Code)
			case owner:
				assert.Equal(t, http.StatusNotFound, mallory.Code)
				assert.True(t, isPage(route) || kindOf(t, mallory) == "not-found")
			case admins:
				assert.Equal(t, http.StatusForbidden, mallory.Code)
				assert.True(t, isPage(route) || kindOf(t, mallory) == "no-administrator")
				assert.Equal(t, http.StatusForbidden, h.callRoute(route, "alice").Code)
			}
			if who == accounts {
				for _, user := range []string{"bob", "root"} {
					w := h.callRoute(route, user)
					assert.Equal(t, http.StatusForbidden, w.Code, user)
					assert.Equal(t, "accounts-only", kindOf(t, w), user)
				}
			}
			assert.NotContains(t, mallory.Body.String(), "alice")
			if strings.HasPrefix(route, "GET ") {
				assert.Equal(t, http.StatusOK, h.callRoute(route, "root").Code)
			}
		})
	}
	var k v1alpha1.JupyterKernel
	var nb v1alpha1.JupyterNotebook
	h.read("k-alice", &k)
	h.read("jupyter-alice", &nb)
	assert.Nil(t, k.Spec.Park, "nothing of it was done")
	assert.Nil(t, k.Spec.Shutdown)
	assert.False(t, nb.Spec.Stopped)
	policies, err := h.Policies(t.Context())
	require.NoError(t, err)
	require.Len(t, policies, 1)
	assert.EqualValues(t, 1, policies[0].Generation)
}

// TestCrossSite: what a session may do takes its CSRF token, from a page of ours.
func TestCrossSite(t *testing.T) {
	h := newHarnessOfAlice(t)
	alice, bob := h.signIn("alice"), h.signIn("bob")
	for route := range allowed {
		method, path, _ := strings.Cut(route, " ")
		if method == http.MethodGet {
			continue
		}
		for name, header := range map[string][]string{
			"no token":        {"csrf", ""},
			"another's token": {"csrf", bob.csrf},
			"another site":    {"Sec-Fetch-Site", "cross-site"},
			"a sub-domain":    {"Sec-Fetch-Site", "same-site"},
			"another origin":  {"Origin", "https://evil.example"},
		} {
			shown := alice.csrf
			if header[0] == "csrf" {
				shown, header = header[1], nil
			}
			var w *httptest.ResponseRecorder
			if isPage(route) {
				w = alice.submit(pathOf(path), url.Values{"csrf": {shown}}, header...)
			} else {
				w = alice.call(method, pathOf(path), `{}`, append([]string{"X-CSRF-Token", shown}, header...)...)
			}
			assert.Equal(t, http.StatusForbidden, w.Code, "%s %s", route, name)
			assert.True(t, isPage(route) || kindOf(t, w) == "cross-site")
		}
	}
	var k v1alpha1.JupyterKernel
	h.read("k-alice", &k)
	require.Nil(t, k.Spec.Park)
	// The ways that a form of another site has around a preflight.
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
		w := alice.call(http.MethodPost, "api/v1/kernels/k-alice/release", `{}`, "Content-Type", kind)
		assert.Equal(t, "media-type", kindOf(t, w))
	}
	w := alice.call(http.MethodPost, "api/v1/kernels/k-alice/release", `{}`, "Sec-Fetch-Site", "same-origin")
	assert.Equal(t, http.StatusAccepted, w.Code)
}

func TestAdministrators(t *testing.T) {
	h := newHarnessOfAlice(t)
	assert.Equal(t, http.StatusForbidden, h.call("chief", http.MethodGet, "api/v1/overview", "").Code, "the Hub's administrators are none by themselves")
	h.members.fail(groups.ErrUnavailable)
	for _, user := range []string{"root", "bob"} {
		w := h.call(user, http.MethodGet, "api/v1/overview", "")
		assert.Equal(t, http.StatusServiceUnavailable, w.Code)
		assert.Equal(t, "directory-unavailable", kindOf(t, w))
		for _, name := range []string{"k-alice", "k-none"} {
			assert.Equal(t, http.StatusServiceUnavailable, h.call(user, http.MethodGet, "api/v1/kernels/"+name, "").Code, "nor does it tell what there is")
		}
	}
	w := h.call("alice", http.MethodGet, "api/v1/kernels/k-alice", "")
	assert.Equal(t, http.StatusOK, w.Code, "one's own is there without the directory")
	assert.Equal(t, true, decode(t, h.call("alice", http.MethodGet, "api/v1/me", ""))["admin_unknown"])
	h.members.fail(groups.ErrSignInAgain)
	assert.Equal(t, "sign-in-again", kindOf(t, h.call("root", http.MethodGet, "api/v1/overview", "")))
	h.members.fail(nil)
	assert.Equal(t, http.StatusForbidden, h.call("stranger", http.MethodGet, "api/v1/overview", "").Code, "whom the directory does not know is nobody")

	byHub := newHarness(t, func(c *portal.Config) { c.Admins = portal.Admins{Hub: true} })
	assert.Equal(t, http.StatusOK, byHub.call("chief", http.MethodGet, "api/v1/overview", "").Code)
	assert.Equal(t, http.StatusForbidden, byHub.call("root", http.MethodGet, "api/v1/overview", "").Code)
}

func TestClientsOfAGatewayAreNoPeople(t *testing.T) {
	h := newHarness(t)
	h.kernel("k-batch", "batch", "", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady})
	assert.Equal(t, http.StatusNotFound, h.call("batch", http.MethodGet, "api/v1/kernels/k-batch", "").Code, "a user who has a client's name")
	assert.Empty(t, decode(t, h.call("batch", http.MethodGet, "api/v1/me/kernels", ""))["items"])
	assert.Equal(t, http.StatusOK, h.call("root", http.MethodGet, "api/v1/kernels/k-batch", "").Code)
}

func TestBodiesThatAreNone(t *testing.T) {
	h := newHarnessOfAlice(t)
	for body, want := range map[string]string{
		"":                 "media-type",
		"{":                "malformed",
		"null x":           "malformed",
		"null":             "malformed",
		`{"unknown": 1}`:   "malformed",
		`{"force": "yes"}`: "malformed",
		`{"reason": "` + strings.Repeat("x", 501) + `"}`:        "malformed",
		`{"reason": "` + strings.Repeat("x", 70<<10) + `"}`:     "too-large",
		strings.Repeat("[", 1<<10):                              "malformed",
		`{"reason": "` + "\xff" + `"}` + strings.Repeat(" ", 9): "",
	} {
		w := h.call("alice", http.MethodPost, "api/v1/kernels/k-alice/release", body)
		assert.Equal(t, want, kindOf(t, w), "%.40q", body)
		assert.Less(t, w.Code, 500)
	}
	for _, query := range []string{"?limit=0", "?limit=501", "?limit=x", "?sort=password", "?after=x", "?q=a&q=b", "?secret=1", "?q=%ff", "?q=%", "?q=" + strings.Repeat("x", 257), "?q=" + strings.Repeat("x", 40_000), "?after=" + strings.Repeat("61", 2049)} {
		w := h.call("root", http.MethodGet, "api/v1/kernels"+query, "")
		assert.Equal(t, "malformed", kindOf(t, w), query)
	}
}

func TestPathsThatLeadNowhere(t *testing.T) {
	h := newHarness(t)
	for _, path := range []string{"nothing", "api/v1/nothing", "api/v1/kernels/x/y/z", "/evil.example", "/user/mallory/", "x//y", "./x", "x/../y", "api/v1/kernels/../me", "%2e%2e/x"} {
		w := h.send(httptest.NewRequest(http.MethodGet, "http://hub"+base+path, nil))
		assert.Equal(t, http.StatusNotFound, w.Code, path)
		assert.Empty(t, w.Header().Get("Location"), path)
	}
	w := h.send(httptest.NewRequest(http.MethodDelete, "http://hub"+base+"api/v1/me", nil))
	assert.Equal(t, "method", kindOf(t, w))
	assert.Equal(t, "GET", w.Header().Get("Allow"))
	w = h.send(httptest.NewRequest(http.MethodDelete, "http://hub"+base, nil))
	assert.Equal(t, http.StatusMethodNotAllowed, w.Code)
	assert.True(t, h.portal.Serves(httptest.NewRequest(http.MethodGet, base+"x", nil)))
	assert.False(t, h.portal.Serves(httptest.NewRequest(http.MethodGet, "/api/spawner/v1/servers", nil)))
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	h := newHarnessOfAlice(t)
	for _, w := range []*httptest.ResponseRecorder{
		h.call("alice", http.MethodGet, "api/v1/me", ""), h.call("", http.MethodGet, "api/v1/me", ""), h.call("", http.MethodGet, "nothing", ""),
		h.call("", http.MethodGet, "signin", ""), h.call("", http.MethodGet, "oauth_callback?code=x&state=y", ""),
	} {
		header := w.Header()
		policy := header.Get("Content-Security-Policy")
		assert.Contains(t, policy, "default-src 'none'")
		assert.Contains(t, policy, "frame-ancestors 'none'")
		assert.NotContains(t, policy, "unsafe")
		assert.Equal(t, "DENY", header.Get("X-Frame-Options"))
		assert.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
		assert.Equal(t, "no-store", header.Get("Cache-Control"))
		assert.NotEmpty(t, header.Get("X-Request-Id"))
	}
	w := h.call("alice", http.MethodGet, "api/v1/me", "", "X-Request-Id", "evil\r\nid")
	assert.NotContains(t, w.Header().Get("X-Request-Id"), "evil")
}

// TestAnotherObjectOfTheName: a wish is for the object that was looked at.
func TestAnotherObjectOfTheName(t *testing.T) {
	h := newHarnessOfAlice(t)
	var k v1alpha1.JupyterKernel
	h.read("k-alice", &k)
	require.NoError(t, h.api.Delete(t.Context(), &k))
	made := h.kernel("k-alice", "bob", "jupyter-bob", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady})
	assert.NotEqual(t, types.UID(""), made.UID)
	assert.Equal(t, http.StatusNotFound, h.call("alice", http.MethodPost, "api/v1/kernels/k-alice/release", `{}`).Code)
	assert.Equal(t, http.StatusAccepted, h.call("bob", http.MethodPost, "api/v1/kernels/k-alice/release", `{}`).Code)
}

// TestNothingSecretIsLogged: neither tokens nor cookies nor queries.
func TestNothingSecretIsLogged(t *testing.T) {
	h := newHarnessOfAlice(t)
	alice := h.signIn("alice")
	alice.call(http.MethodPost, "api/v1/kernels/k-alice/release", `{}`)
	h.call("root", http.MethodGet, "api/v1/kernels?q=whom-root-looks-for", "")
	h.call("", http.MethodGet, "oauth_callback?code=a-secret-code&state=x", "")
	for _, secret := range []string{"alice-token", alice.cookie.Value, alice.csrf, "whom-root-looks-for", "a-secret-code"} {
		assert.NotContains(t, h.log.String(), secret)
	}
	lines := strings.Split(h.log.String(), "\n")
	assert.True(t, slices.ContainsFunc(lines, func(line string) bool {
		return strings.Contains(line, `"msg":"audit"`) && strings.Contains(line, `"by":"alice"`)
	}))
}
