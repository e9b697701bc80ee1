package portal_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
)

// formOf finds the form of a page that leads to a path, as a browser would fill it in.
func formOf(t *testing.T, w *httptest.ResponseRecorder, action string) url.Values {
	t.Helper()
	root, err := html.Parse(strings.NewReader(w.Body.String()))
	require.NoError(t, err)
	for node := range root.Descendants() {
		if node.Data != "form" || !has(node, "action", action) {
			continue
		}
		form := url.Values{}
		for input := range node.Descendants() {
			if input.Data == "input" && has(input, "type", "hidden") {
				form.Set(value(input, "name"), value(input, "value"))
			}
		}
		return form
	}
	require.Fail(t, "no such form", "%s in %s", action, w.Body)
	return nil
}

func value(node *html.Node, key string) string {
	for _, a := range node.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func has(node *html.Node, key, want string) bool { return value(node, key) == want }

func TestAPersonReleasesAKernel(t *testing.T) {
	h := newHarnessOfAlice(t)
	alice := h.signIn("alice")
	page := alice.open("")
	require.Equal(t, http.StatusOK, page.Code)
	assert.Contains(t, page.Body.String(), "My servers and kernels")
	for _, admin := range []string{"cluster", "policies"} {
		assert.NotContains(t, page.Body.String(), base+admin, "a page that she may not see")
	}
	form := formOf(t, page, base+"kernels/k-alice/release")
	done := alice.submit("kernels/k-alice/release", form)
	require.Equal(t, http.StatusSeeOther, done.Code, "%s", done.Body)
	assert.Equal(t, base+"?done=release", done.Header().Get("Location"))
	page = alice.open("?done=release")
	assert.Contains(t, page.Body.String(), "Asked for.")
	assert.Contains(t, page.Body.String(), "Is released as soon as it is idle.")

	form = formOf(t, page, base+"servers/jupyter-alice/stop")
	require.Equal(t, http.StatusSeeOther, alice.submit("servers/jupyter-alice/stop", form).Code)
	assert.Contains(t, alice.open("").Body.String(), "stopping")
	form = formOf(t, page, base+"signout")
	out := alice.submit("signout", form)
	assert.Equal(t, base+"signedout", out.Header().Get("Location"))
	assert.Contains(t, out.Header().Get("Set-Cookie"), "elastichub-session=;")
	assert.Contains(t, h.call("", http.MethodGet, "signedout", "").Body.String(), `href="/hub/logout"`)
}

func TestAnAdministratorStopsAServer(t *testing.T) {
	h := newHarnessOfAlice(t)
	root := h.signIn("root")
	assert.Contains(t, root.open("").Body.String(), "You have no server yet.")
	list := root.open("servers")
	require.Equal(t, http.StatusOK, list.Code)
	assert.Contains(t, list.Body.String(), base+"servers/jupyter-alice")
	form := formOf(t, root.open("servers/jupyter-alice"), base+"servers/jupyter-alice/stop")
	refused := root.submit("servers/jupyter-alice/stop", form)
	assert.Equal(t, http.StatusUnprocessableEntity, refused.Code)
	assert.Contains(t, refused.Body.String(), "Say why")
	form.Set("reason", "Maintenance")
	done := root.submit("servers/jupyter-alice/stop", form)
	assert.Equal(t, base+"servers?done=stop", done.Header().Get("Location"), "%s", done.Body)
	assert.Contains(t, root.open("servers?done=stop").Body.String(), "The server stops.")
	var nb v1alpha1.JupyterNotebook
	h.read("jupyter-alice", &nb)
	assert.Equal(t, "Admin", nb.Annotations[v1alpha1.AnnotationStopCause])
}

func TestEveryPageOpens(t *testing.T) {
	h := newHarnessOfAlice(t)
	h.kernel("k-waits", "bob", "jupyter-bob", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelQueued, Queue: &v1alpha1.QueueStatus{Position: 1, Length: 1, Reason: "none is free"}})
	root := h.signIn("root")
	for path, want := range map[string]string{
		"cluster": "none is free", "kernels": "k-waits", "kernels?q=alice&phase=&sort=-since": "1 found", "servers?phase=Ready": "jupyter-alice",
		"policies": base + "policies/research", "kernels/k-waits": "Leave the queue", "": "You have no kernels",
	} {
		w := root.open(path, "Sec-Fetch-Site", "cross-site") // a link in a mail
		assert.Equal(t, http.StatusOK, w.Code, path)
		assert.Contains(t, w.Body.String(), want, path)
		assert.Equal(t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
	}
	assert.Contains(t, root.open("cluster", "Accept-Language", "ru").Body.String(), `<html lang="ru">`)
	assert.Contains(t, root.open("cluster", "Accept-Language", strings.Repeat("ru,", 500)).Body.String(), `<html lang="en">`, "nobody reads that many")
	for _, bad := range []string{"kernels?sort=password", "kernels?secret=1", "servers?after=x"} {
		assert.Equal(t, http.StatusBadRequest, root.open(bad).Code, bad)
	}
	h.members.fail(groups.ErrUnavailable)
	assert.Contains(t, root.open("").Body.String(), "The directory does not answer", "and one's own are there")
	assert.Equal(t, http.StatusServiceUnavailable, root.open("cluster").Code)
}

func TestAssetsAreKept(t *testing.T) {
	h := newHarnessOfAlice(t)
	page := h.signIn("alice").open("").Body.String()
	for _, file := range regexp.MustCompile(`/static/[^"]+`).FindAllString(page, -1) {
		w := h.call("", http.MethodGet, file, "")
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Contains(t, w.Header().Get("Cache-Control"), "immutable")
		assert.NotEmpty(t, w.Body.Len())
	}
	assert.Equal(t, http.StatusNotFound, h.call("", http.MethodGet, "static/other.js", "").Code)
}

// TestFailuresOfTheSignIn are pages, too.
func TestFailuresOfTheSignIn(t *testing.T) {
	h := newHarness(t)
	w := h.call("", http.MethodGet, "oauth_callback?code=x&state=y", "")
	assert.Equal(t, http.StatusBadRequest, w.Code)
	assert.Contains(t, w.Body.String(), "The sign-in failed")
	w = h.call("", http.MethodGet, "kernels/k?x=1", "")
	require.Equal(t, http.StatusFound, w.Code)
	for _, next := range []string{"https://evil.example/", "//evil.example", base + "../../user/mallory"} {
		begun := h.send(httptest.NewRequest(http.MethodGet, "http://hub"+base+"signin?next="+url.QueryEscape(next), nil))
		address, err := begun.Result().Location()
		require.NoError(t, err)
		back := httptest.NewRequest(http.MethodGet, "http://hub"+base+"oauth_callback?code=alice-code&state="+address.Query().Get("state"), nil)
		back.AddCookie(begun.Result().Cookies()[0])
		assert.Equal(t, base, h.send(back).Header().Get("Location"), next)
	}
}

// TestHostileNamesOfObjects: hostile names reach a page through real objects, too.
func TestHostileNamesOfObjects(t *testing.T) {
	h := newHarness(t)
	const evil = `<script>alert(1)</script>`
	h.kernel("k-evil", "bob"+evil, "jupyter-bob", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelDead, Message: evil, Node: evil})
	root := h.signIn("root")
	for _, path := range []string{"kernels", "kernels/k-evil", "kernels?q=" + url.QueryEscape(evil)} {
		w := root.open(path)
		require.Equal(t, http.StatusOK, w.Code)
		assert.NotContains(t, w.Body.String(), evil)
		assert.Contains(t, w.Body.String(), "&lt;script&gt;")
	}
}
