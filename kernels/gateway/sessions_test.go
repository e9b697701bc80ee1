package gateway

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/tokens"
)

func (w *world) session(who, method, path, body string, want int) (m sessionModel) {
	w.t.Helper()
	a := w.call(who, method, path, body)
	require.Equal(w.t, want, a.status, string(a.body))
	if want < 300 && len(a.body) > 0 {
		a.json(w.t, &m)
	}
	return m
}

func (w *world) sessionsOf(who string) []sessionModel {
	w.t.Helper()
	var all []sessionModel
	w.call(who, "GET", "/api/sessions", "").json(w.t, &all)
	return all
}

// TestSessions goes the way of a client of Enterprise Gateway.
func TestSessions(t *testing.T) {
	w := newWorld(t)
	assert.Equal(t, "[]", string(w.call("nb-alice", "GET", "/api/sessions", "").body))
	s := w.session("nb-alice", "POST", "/api/sessions", `{"path":"a.ipynb","name":"a","type":"notebook","kernel":{"name":"python-gpu","env":{"KERNEL_X":"1"}}}`, 201)
	assert.Equal(t, "a.ipynb", s.Path)
	assert.Equal(t, sessionFile{"a.ipynb", "a"}, s.Notebook)
	assert.Equal(t, "python-gpu", s.Kernel.Name)
	assert.Equal(t, "KERNEL_X", w.kernel(s.Kernel.ID).Spec.Env[0].Name)
	assert.Equal(t, []sessionModel{s}, w.sessionsOf("nb-alice"))
	again := w.session("nb-alice", "POST", "/api/sessions", `{"path":"a.ipynb","kernel":{"name":"python-cpu"}}`, 201)
	assert.Equal(t, s, again, "a path has one session")

	renamed := w.session("nb-alice", "PATCH", "/api/sessions/"+s.ID, `{"path":"b.ipynb","name":null}`, 200)
	assert.Equal(t, []string{s.ID, "b.ipynb", "a", s.Kernel.ID}, []string{renamed.ID, renamed.Path, renamed.Name, renamed.Kernel.ID})
	other := w.session("nb-alice", "PATCH", "/api/sessions/"+s.ID, `{"kernel":{"name":"python-cpu"}}`, 200)
	assert.NotEqual(t, s.Kernel.ID, other.Kernel.ID)
	assert.Equal(t, http.StatusNotFound, w.call("nb-alice", "GET", "/api/kernels/"+s.Kernel.ID, "").status, "the kernel before is gone")
	assert.Equal(t, other, w.session("nb-alice", "GET", "/api/sessions/"+s.ID, "", 200))

	// A kernel that runs gets one, and no second.
	id := w.start("nb-alice", "python-cpu")
	w.session("nb-alice", "POST", "/api/sessions", `{"path":"c","kernel":{"id":"`+id+`"}}`, 201)
	w.session("nb-alice", "POST", "/api/sessions", `{"path":"d","kernel":{"id":"`+id+`"}}`, 409)
	assert.Len(t, w.sessionsOf("nb-alice"), 2)
	assert.Equal(t, http.StatusNoContent, w.call("nb-alice", "DELETE", "/api/kernels/"+id, "").status)
	assert.Len(t, w.sessionsOf("nb-alice"), 1, "it goes with its kernel")

	assert.Equal(t, http.StatusNoContent, w.call("nb-alice", "DELETE", "/api/sessions/"+s.ID, "").status)
	assert.Empty(t, w.sessionsOf("nb-alice"))
	assert.Equal(t, http.StatusNotFound, w.call("nb-alice", "GET", "/api/kernels/"+other.Kernel.ID, "").status)
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		w.session("nb-alice", method, "/api/sessions/"+s.ID, `{}`, 404)
	}
}

func TestBadSessions(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-cpu")
	for body, want := range map[string]int{
		``: 400, `[]`: 400, `null`: 400, `{"path":""}`: 400, `{"path":7}`: 400, `{"path":"` + strings.Repeat("x", maxSessionText+1) + `"}`: 400,
		`{"path":"a","kernel":{"name":"none"}}`: 404, `{"path":"a","kernel":{"id":"none"}}`: 404, `{"path":"a","kernel":{"env":{"KERNEL_ID":"x"}}}`: 400,
		`{"path":"a","kernel":{"env":{"KERNEL_X":null}}}`: 400, `{"path":"a","id":"7"}`: 400, `{"path":"a","type":"` + strings.Repeat("x", maxSessionType+1) + `"}`: 400,
	} {
		w.session("nb-alice", "POST", "/api/sessions", body, want)
	}
	w.session("nb-bob", "POST", "/api/sessions", `{"path":"a","kernel":{"id":"`+id+`"}}`, 404)
	assert.Empty(t, w.sessionsOf("nb-alice"))
}

// TestASessionWithAnIDOfItsClient: as a notebook server does for sessions of its own.
func TestASessionWithAnIDOfItsClient(t *testing.T) {
	w := newWorld(t)
	const id = "6f2d2f70-3b1c-4c3e-9f55-0a4f3f0c9a01"
	kernel := w.start("nb-alice", "python-cpu")
	body := `{"id":"` + id + `","path":"a","name":"A","type":"console","kernel":{"id":"` + kernel + `"}}`
	s := w.session("nb-alice", "POST", "/api/sessions", body, 201)
	assert.Equal(t, []string{id, "a", "A", "console", kernel}, []string{s.ID, s.Path, s.Name, s.Type, s.Kernel.ID})
	assert.Equal(t, &v1alpha1.KernelSession{ID: id, Path: "a", Name: "A", Type: "console"}, w.kernel(kernel).Spec.Session)
	assert.Equal(t, s, w.session("nb-alice", "POST", "/api/sessions", body, 201), "asked twice")
	w.session("nb-alice", "POST", "/api/sessions", `{"id":"`+id+`","path":"b"}`, 409)
	assert.Len(t, w.sessionsOf("nb-alice"), 1)
	moved := w.session("nb-alice", "PATCH", "/api/sessions/"+id, `{"path":"b","kernel":{"id":"`+w.start("nb-alice", "python-cpu")+`"}}`, 200)
	assert.NotEqual(t, kernel, moved.Kernel.ID)
	assert.Equal(t, []sessionModel{moved}, w.sessionsOf("nb-alice"))
	assert.Equal(t, http.StatusNotFound, w.call("nb-alice", "GET", "/api/kernels/"+kernel, "").status)
}

// TestARenameWhileTheControllersWrite: it takes their place in no time, and of two at
// once neither takes back what the other has changed.
func TestARenameWhileTheControllersWrite(t *testing.T) {
	w := newWorld(t)
	s := w.session("nb-alice", "POST", "/api/sessions", `{"path":"a","name":"A"}`, 201)
	old := w.kernel(s.Kernel.ID)
	w.phase(s.Kernel.ID, v1alpha1.KernelReady, 1, "10.0.0.1")
	w.session("nb-alice", "PATCH", "/api/sessions/"+s.ID, `{"path":"b"}`, 200)
	store, id := w.server.store, Identity{User: "alice", Notebook: "nb-alice", NotebookUID: "nb-alice-uid"}
	rename := func(id string) func(now *v1alpha1.KernelSession) (*v1alpha1.KernelSession, error) {
		return func(now *v1alpha1.KernelSession) (*v1alpha1.KernelSession, error) {
			if now.ID != id {
				return nil, errNoSession
			}
			next := *now
			next.Name = "B"
			return &next, nil
		}
	}
	_, err := store.changeSession(t.Context(), id, old, rename(s.ID))
	require.NoError(t, err)
	assert.Equal(t, &v1alpha1.KernelSession{ID: s.ID, Path: "b", Name: "B", Type: "notebook"}, w.kernel(s.Kernel.ID).Spec.Session)
	_, err = store.changeSession(t.Context(), id, old, rename("another"))
	assert.ErrorIs(t, err, errNoSession)
	_, err = store.changeSession(t.Context(), Identity{User: "bob"}, old, rename(s.ID))
	assert.ErrorIs(t, err, errNoKernel, "whoever has it by now")
	assert.Equal(t, http.StatusNoContent, w.call("nb-alice", "DELETE", "/api/kernels/"+s.Kernel.ID, "").status)
	_, err = store.changeSession(t.Context(), id, old, rename(s.ID))
	assert.ErrorIs(t, err, errNoKernel)
}

// TestSessionsAreTheCallersOwn: not another user's, and not those of the user's
// other server, whose kernels one may see all the same.
func TestSessionsAreTheCallersOwn(t *testing.T) {
	w := newWorld(t)
	second := &v1alpha1.JupyterNotebook{}
	require.NoError(t, w.api.Get(context.Background(), client.ObjectKey{Namespace: testNS, Name: "nb-alice"}, second))
	second.ObjectMeta = metav1.ObjectMeta{Name: "nb-alice-2", Namespace: testNS, UID: "nb-alice-2-uid"}
	require.NoError(t, w.api.Create(context.Background(), second))
	w.tokens["nb-alice-2"] = w.issue(tokens.Notebook{Namespace: testNS, Name: "nb-alice-2", UID: "nb-alice-2-uid", Start: "s1", User: "alice"})
	s := w.session("nb-alice", "POST", "/api/sessions", `{"path":"a"}`, 201)
	for _, who := range []string{"nb-bob", "plain", "ci", "nb-alice-2"} {
		assert.Empty(t, w.sessionsOf(who), who)
		for _, method := range []string{"GET", "PATCH", "DELETE"} {
			w.session(who, method, "/api/sessions/"+s.ID, `{"path":"mine"}`, 404)
		}
	}
	assert.Equal(t, http.StatusOK, w.call("nb-alice-2", "GET", "/api/kernels/"+s.Kernel.ID, "").status)
	for who, own := range map[string]bool{"nb-alice": true, "nb-alice-2": false} {
		var kernels []kernelModel
		w.call(who, "GET", "/api/kernels", "").json(t, &kernels)
		require.Len(t, kernels, 1, who)
		assert.Equal(t, own, kernels[0].Own, who)
	}
	assert.NotEqual(t, s.ID, w.session("nb-alice-2", "POST", "/api/sessions", `{"path":"a"}`, 201).ID)
	assert.Equal(t, "a", w.session("nb-alice", "GET", "/api/sessions/"+s.ID, "", 200).Path)
}

func (w *world) allow(origins string) {
	w.t.Helper()
	gw := &v1alpha1.JupyterGateway{}
	require.NoError(w.t, w.api.Get(context.Background(), client.ObjectKey{Namespace: testNS, Name: testGateway}, gw))
	gw.Annotations = map[string]string{AnnotationAllowOrigins: origins}
	require.NoError(w.t, w.api.Update(context.Background(), gw))
}

// TestPagesOfAllowedOrigins: none unless the gateway names them, and none
// without a token.
func TestPagesOfAllowedOrigins(t *testing.T) {
	w := newWorld(t)
	id := w.start("nb-alice", "python-cpu")
	from := func(origin, method, path string, header http.Header) *http.Response {
		t.Helper()
		req, err := http.NewRequest(method, w.url+path, nil)
		require.NoError(t, err)
		req.Header = header.Clone()
		req.Header.Set("Origin", origin)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp
	}
	token := http.Header{"Authorization": {"token " + w.tokens["nb-alice"]}}
	preflight := http.Header{"Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"authorization"}}
	dial := func(origin string) error {
		conn, _, err := websocket.Dial(context.Background(), w.url+"/api/kernels/"+id+"/channels?session_id=s&token="+w.tokens["nb-alice"],
			&websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}})
		if err == nil {
			_ = conn.CloseNow()
		}
		return err
	}
	const page = "https://lab.example.org"
	for allowed, ok := range map[string]bool{
		"": false, "https://other.example.org": false, "https://lab.example": false, "http://lab.example.org": false,
		page: true, "https://other.example.org, " + page: true, "*": true,
	} {
		w.allow(allowed)
		want := map[bool]string{true: page}[ok]
		resp := from(page, "GET", "/api/kernels", token)
		assert.Equal(t, http.StatusOK, resp.StatusCode, allowed)
		assert.Equal(t, want, resp.Header.Get("Access-Control-Allow-Origin"), allowed)
		assert.Empty(t, resp.Header.Get("Access-Control-Allow-Credentials"))
		assert.Equal(t, "Origin", resp.Header.Get("Vary"))
		asked := from(page, "OPTIONS", "/api/sessions", preflight)
		assert.Equal(t, map[bool]int{true: http.StatusNoContent, false: http.StatusUnauthorized}[ok], asked.StatusCode, allowed)
		assert.Equal(t, ok, strings.Contains(asked.Header.Get("Access-Control-Allow-Headers"), "Authorization"), allowed)
		assert.Equal(t, http.StatusUnauthorized, from(page, "GET", "/api/kernels", http.Header{}).StatusCode)
		assert.Equal(t, http.StatusUnauthorized, from(page, "OPTIONS", "/api/kernels", http.Header{}).StatusCode, "no question of a browser's")
		assert.Equal(t, ok, dial(page) == nil, allowed)
	}
	assert.Empty(t, w.call("nb-alice", "GET", "/api/kernels", "").header.Get("Access-Control-Allow-Origin"), "where nobody asks")
}
