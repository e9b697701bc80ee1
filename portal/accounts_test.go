package portal_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/portal"
	"github.com/elastichub/elastichub/usage"
)

// reviewing is the API server as the service's own account sees it.
func reviewing(config *rest.Config, namespace string) *rest.Config {
	as := rest.CopyConfig(config)
	as.Impersonate.UserName = "system:serviceaccount:" + namespace + ":elastichub"
	return as
}

// newHarnessOfAccounts has the rights that the chart gives to the service for it.
func newHarnessOfAccounts(t *testing.T, change ...func(*portal.Config)) *harness {
	h := newHarnessOfAlice(t, change...)
	h.mayReview()
	return h
}

// mayReview gives the service the rights to ask about tokens.
func (h *harness) mayReview() {
	h.Helper()
	subject := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Name: "elastichub", Namespace: h.namespace}
	h.create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "reviews"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"localsubjectaccessreviews"}, Verbs: []string{"create"}},
	}})
	h.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reviews"}, Subjects: []rbacv1.Subject{subject}, RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "reviews"},
	})
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: h.namespace}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}},
	}}
	require.NoError(h, h.api.Create(h.Context(), role))
	require.NoError(h, h.api.Create(h.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: h.namespace}, Subjects: []rbacv1.Subject{subject}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: h.namespace},
	}))
}

// account makes one, with a token for an audience and the rights of the rules.
func (h *harness) account(name, audience string, rules ...rbacv1.PolicyRule) (*corev1.ServiceAccount, string) {
	h.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	h.create(account)
	h.create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules})
	h.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: name, Namespace: h.namespace}},
	})
	return account, h.token(account, audience)
}

func (h *harness) token(of *corev1.ServiceAccount, audience string) string {
	h.Helper()
	request := &authenticationv1.TokenRequest{}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	require.NoError(h, h.api.SubResource("token").Create(h.Context(), of, request))
	return request.Status.Token
}

// rule is on the kinds, for the objects of these names or all.
func rule(verbs, kinds string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{v1alpha1.GroupVersion.Group}, Verbs: strings.Fields(verbs), Resources: strings.Fields(kinds), ResourceNames: names}
}

// as makes a request with a token of Kubernetes.
func (h *harness) as(token, method, path, body string) *httptest.ResponseRecorder {
	return h.call("", method, path, body, "Authorization", "Bearer "+token)
}

func TestAnAccountOfKubernetes(t *testing.T) {
	h := newHarnessOfAccounts(t)
	_, token := h.account("ops", "elastichub", rule("list get patch", "jupyterkernels jupyternotebooks"))
	const name = "system:serviceaccount:"
	assert.Equal(t, map[string]any{"user": "", "admin": false, "kubernetes": name + h.namespace + ":ops"}, decode(t, h.as(token, http.MethodGet, "api/v1/me", "")))
	assert.EqualValues(t, 1, decode(t, h.as(token, http.MethodGet, "api/v1/kernels", ""))["total"])
	assert.Equal(t, "k-alice", decode(t, h.as(token, http.MethodGet, "api/v1/kernels/k-alice", ""))["id"])
	assert.Equal(t, "not-found", kindOf(t, h.as(token, http.MethodGet, "api/v1/kernels/k-none", "")))

	// Nothing is its own, nor what has no user.
	h.server("jupyter-nobody", "", v1alpha1.JupyterNotebookStatus{Phase: v1alpha1.NotebookReady})
	h.kernel("k-nobody", "", "jupyter-nobody", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady})
	for _, path := range []string{"me/servers", "me/kernels", "me/budgets"} {
		assert.Equal(t, []any{}, decode(t, h.as(token, http.MethodGet, "api/v1/"+path, ""))["items"], path)
	}
	h.bookHours(usage.Kernel{UID: "n", Run: 1, Key: usage.Key{KernelSpec: "python-gpu"}, Amounts: usage.Amounts{usage.CPU: 500}})
	assert.Empty(t, decode(t, h.as(token, http.MethodGet, "api/v1/me/usage", ""))["items"])
	assert.NotEmpty(t, decode(t, h.as(token, http.MethodGet, "api/v1/usage", ""))["items"])
	for _, path := range []string{"kernels/k-alice/release", "kernels/k-nobody/shutdown"} {
		assert.Equal(t, "reason-required", kindOf(t, h.as(token, http.MethodPost, "api/v1/"+path, `{}`)), path)
	}
	assert.Equal(t, "not-owner", kindOf(t, h.as(token, http.MethodPost, "api/v1/kernels/k-nobody/return", `{"kernelspec": "python-cpu"}`)))

	// What it asks for bears its name, with a mark.
	const reason = `{"reason": "The node is needed"}`
	require.Equal(t, http.StatusAccepted, h.as(token, http.MethodPost, "api/v1/kernels/k-alice/release", reason).Code)
	require.Equal(t, http.StatusAccepted, h.as(token, http.MethodPost, "api/v1/kernels/k-nobody/shutdown", reason).Code)
	assert.Equal(t, "reason-required", kindOf(t, h.as(token, http.MethodPost, "api/v1/servers/jupyter-alice/stop", `{}`)))
	require.Equal(t, http.StatusAccepted, h.as(token, http.MethodPost, "api/v1/servers/jupyter-alice/stop", reason).Code)
	require.Equal(t, http.StatusAccepted, h.as(token, http.MethodPost, "api/v1/servers/jupyter-nobody/stop", `{}`).Code)
	var k v1alpha1.JupyterKernel
	h.read("k-alice", &k)
	marked := "kubernetes:" + name + h.namespace + ":ops"
	assert.Equal(t, &v1alpha1.KernelPark{Run: 1, By: marked, Reason: "The node is needed"}, k.Spec.Park)
	h.read("k-nobody", &k)
	assert.Equal(t, "console:"+marked, k.Spec.Shutdown.By)
	var nb v1alpha1.JupyterNotebook
	h.read("jupyter-alice", &nb)
	assert.Equal(t, string(v1alpha1.StopAdmin), nb.Annotations[v1alpha1.AnnotationStopCause])
	h.read("jupyter-nobody", &nb)
	assert.True(t, nb.Spec.Stopped)
	assert.Empty(t, nb.Annotations, "what is nobody's is stopped as by its owner")
	assert.Contains(t, h.log.String(), `"by":"`+marked+`","admin":false`)
	assert.NotContains(t, h.log.String(), token)

	// The directory has no say.
	h.members.fail(groups.ErrUnavailable)
	assert.Equal(t, http.StatusOK, h.as(token, http.MethodGet, "api/v1/kernels", "").Code)
}

// TestRightsOfEachRoute: every route of the API says what an account needs, and its contract
// says the same; each of those is needed, and they suffice.
func TestRightsOfEachRoute(t *testing.T) {
	h := newHarnessOfAccounts(t)
	core := rbacv1.PolicyRule{APIGroups: []string{""}, Verbs: []string{"get", "list"}, Resources: []string{"pods/log", "events"}}
	_, nothing := h.account("nothing", "elastichub")
	_, reads := h.account("reads", "elastichub", rule("get list", "jupyterkernels jupyternotebooks grouppolicies jupyterkernelspecs"), core)
	_, writes := h.account("writes", "elastichub", rule("create patch delete", "jupyterkernels jupyternotebooks grouppolicies"), core)
	_, kinds := h.account("kinds", "elastichub", rule("*", "*"))
	for _, route := range h.portal.Routes() {
		method, path, _ := strings.Cut(route, " ")
		needed, forAccounts := portal.RightsOf(route)
		if isPage(route) {
			assert.False(t, forAccounts, route)
			if allowed[route] != open {
				assert.Equal(t, http.StatusForbidden, h.callRoute(route, "", "Authorization", "Bearer "+kinds).Code, route)
			}
			continue
		}
		require.True(t, forAccounts, "say what an account needs for %s", route)
		documented, err := json.Marshal(document(t).Paths.Value(path).GetOperation(method).Extensions["x-rights"])
		require.NoError(t, err)
		own, err := json.Marshal(needed)
		require.NoError(t, err)
		assert.JSONEq(t, string(own), string(documented), route)
		denied := func(token string) string {
			w := h.callRoute(route, "", "Authorization", "Bearer "+token)
			if kindOf(t, w) != "no-right" {
				return ""
			}
			assert.Equal(t, http.StatusForbidden, w.Code)
			assert.NotContains(t, w.Body.String(), "alice")
			return strings.TrimSuffix(strings.TrimPrefix(decode(t, w)["detail"].(string), "This account of Kubernetes may not "), ".")
		}
		if len(needed) == 0 {
			assert.Empty(t, denied(nothing), route)
			continue
		}
		assert.Equal(t, needed[0], denied(nothing), route)
		switch ofCore := strings.HasSuffix(path, "/log") || strings.HasSuffix(path, "/events"); {
		case ofCore:
			assert.Equal(t, needed[1], denied(kinds), route)
			fallthrough
		case method == http.MethodGet && path != "/api/v1/directory/groups":
			assert.NotEmpty(t, denied(writes), route)
			assert.Equal(t, http.StatusOK, h.callRoute(route, "", "Authorization", "Bearer "+reads).Code, route)
		default:
			assert.NotEmpty(t, denied(reads), route)
			assert.Empty(t, denied(kinds), route)
		}
	}
}

// TestTheAPIAlone: where nobody signs in there are accounts of Kubernetes, and no pages.
func TestTheAPIAlone(t *testing.T) {
	h := newHarnessOfAccounts(t, func(c *portal.Config) { c.APIOnly = true })
	_, token := h.account("ops", "elastichub", rule("create get list patch delete", "jupyternotebooks"))
	for _, route := range h.portal.Routes() {
		assert.False(t, isPage(route), route)
	}
	require.Equal(t, http.StatusCreated, h.as(token, http.MethodPost, "api/v1/notebooks", `{"name": "n"}`).Code)
	assert.EqualValues(t, 2, decode(t, h.as(token, http.MethodGet, "api/v1/notebooks", ""))["total"])
	assert.Equal(t, http.StatusAccepted, h.as(token, http.MethodPost, "api/v1/notebooks/n/stop", `{}`).Code)
	assert.Equal(t, http.StatusOK, h.as(token, http.MethodDelete, "api/v1/notebooks/n", "").Code)
	for _, header := range [][]string{nil, {"Authorization", "token alice-token"}, {"Cookie", "elastichub-session=x"}} {
		assert.Equal(t, "unauthenticated", kindOf(t, h.call("", http.MethodGet, "api/v1/notebooks", "", header...)))
	}
	for _, page := range []string{"", "signin", "signin?next=/", "oauth_callback?code=x&state=y", "cluster", "live", "kernels/k-alice", "static/console.css"} {
		w := h.call("", http.MethodGet, page, "", "Authorization", "Bearer "+token)
		assert.Equal(t, []any{http.StatusNotFound, "no-route", ""}, []any{w.Code, kindOf(t, w), w.Header().Get("Location")}, page)
	}
}

func TestRightsOnOneObject(t *testing.T) {
	h := newHarnessOfAccounts(t)
	h.kernel("k-bob", "bob", "jupyter-bob", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady})
	_, token := h.account("one", "elastichub", rule("get patch", "jupyterkernels", "k-alice"))
	assert.Equal(t, http.StatusOK, h.as(token, http.MethodGet, "api/v1/kernels/k-alice", "").Code)
	for _, other := range []string{"k-bob", "k-none"} {
		assert.Equal(t, "no-right", kindOf(t, h.as(token, http.MethodGet, "api/v1/kernels/"+other, "")), other)
	}
	assert.Equal(t, "no-right", kindOf(t, h.as(token, http.MethodGet, "api/v1/kernels", "")))
	assert.Equal(t, "no-right", kindOf(t, h.as(token, http.MethodPost, "api/v1/kernels/k-bob/release", `{"reason": "x"}`)))
	assert.Equal(t, http.StatusAccepted, h.as(token, http.MethodPost, "api/v1/kernels/k-alice/release", `{"reason": "x"}`).Code)
}

func TestTokensOfKubernetesThatAreRefused(t *testing.T) {
	h := newHarnessOfAccounts(t)
	account, token := h.account("ops", "elastichub", rule("list", "jupyterkernels"))
	code := func(token string) int { return h.as(token, http.MethodGet, "api/v1/kernels", "").Code }
	require.Equal(t, http.StatusOK, code(token))
	assert.Equal(t, http.StatusOK, code(h.resigned(token, nil)), "what the API server's key has signed anew")
	for what, refused := range map[string]string{
		"for the API server":     h.token(account, ""),
		"for another service":    h.token(account, "https://vault.example"),
		"over since an hour":     h.resigned(token, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
		"of another, not signed": token[:strings.LastIndex(token, ".")] + ".c2lnbmF0dXJl",
		"of a former account of the name": h.resigned(token, map[string]any{"kubernetes.io": map[string]any{
			"namespace": h.namespace, "serviceaccount": map[string]any{"name": "ops", "uid": "former"},
		}}),
		"without an end": h.resigned(token, map[string]any{"exp": 0}),
		"that is none":   "eyJhbGciOiJub25lIn0.eyJhdWQiOiJlbGFzdGljaHViIiwiZXhwIjo5OTk5OTk5OTk5fQ.",
	} {
		assert.Equal(t, http.StatusUnauthorized, code(refused), what)
	}
	// Its end counts also where the API server's word is fresh.
	short := h.resigned(token, map[string]any{"exp": h.now.Add(10 * time.Second).Unix()})
	require.Equal(t, http.StatusOK, code(short))
	h.now = h.now.Add(11 * time.Second)
	assert.Equal(t, http.StatusUnauthorized, code(short))

	// Rights that are taken away, and accounts, are gone within 60 s: this replica asks again
	// after 30, and the API server itself believes a token for ten.
	h.now = h.now.Add(time.Minute)
	require.Equal(t, http.StatusOK, code(token))
	require.NoError(t, h.api.Delete(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "ops"}}))
	require.Eventually(t, func() bool {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: "system:serviceaccount:" + h.namespace + ":ops",
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: h.namespace, Verb: "list", Group: v1alpha1.GroupVersion.Group, Resource: "jupyterkernels",
			},
		}}
		return h.api.Create(t.Context(), review) == nil && !review.Status.Allowed
	}, 10*time.Second, 10*time.Millisecond)
	h.now = h.now.Add(29 * time.Second)
	assert.Equal(t, http.StatusOK, code(token), "the API server is not asked at each request")
	h.now = h.now.Add(time.Second)
	assert.Equal(t, http.StatusForbidden, code(token))

	require.NoError(t, h.api.Delete(t.Context(), account))
	require.Eventually(t, func() bool {
		review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{"elastichub"}}}
		return h.api.Create(t.Context(), review) == nil && !review.Status.Authenticated
	}, 20*time.Second, 100*time.Millisecond)
	h.now = h.now.Add(30 * time.Second)
	assert.Equal(t, http.StatusUnauthorized, code(token))
}

// resigned is a token with other claims, signed by the API server's own key.
func (h *harness) resigned(token string, change map[string]any) string {
	h.Helper()
	text, err := os.ReadFile(filepath.Join(certificates, "sa-signer.key"))
	require.NoError(h, err)
	block, _ := pem.Decode(text)
	require.NotNil(h, block)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(h, err)
	former, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(h, err)
	claims := map[string]any{}
	require.NoError(h, json.Unmarshal(former.UnsafePayloadWithoutVerification(), &claims))
	for name, value := range change {
		claims[name] = value
	}
	payload, err := json.Marshal(claims)
	require.NoError(h, err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: former.Signatures[0].Header.KeyID}}, nil)
	require.NoError(h, err)
	signed, err := signer.Sign(payload)
	require.NoError(h, err)
	compact, err := signed.CompactSerialize()
	require.NoError(h, err)
	return compact
}
