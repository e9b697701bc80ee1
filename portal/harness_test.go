package portal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/hubclient"
	"github.com/elastichub/elastichub/portal"
	"github.com/elastichub/elastichub/portal/holdings"
	"github.com/elastichub/elastichub/portal/signin"
	"github.com/elastichub/elastichub/test/apiserver"
	"github.com/elastichub/elastichub/usage"
)

var (
	apiServer    *rest.Config // nil without KUBEBUILDER_ASSETS
	certificates string       // the directory of its keys
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctrl.SetLogger(logr.Discard())
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return m.Run()
	}
	environment := apiserver.Environment(filepath.Join("..", "charts", "elastichub", "crds"))
	started, err := environment.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "envtest:", err)
		return 1
	}
	defer func() {
		if err := environment.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "envtest:", err)
		}
	}()
	started.QPS, started.Burst = 500, 1000
	apiServer, certificates = started, environment.ControlPlane.APIServer.CertDir
	return m.Run()
}

// base is where the console of the tests is.
const base = "/services/elastichub/"

// people of the directory; everybody has a token of the Hub, <name>-token.
var directory = map[string][]groups.Group{
	"alice": {{Name: "researchers"}},
	"bob":   {{Name: "researchers"}},
	"root":  {{Name: "admins", DN: "cn=admins,dc=example"}},
	// A Hub user of the name of a gateway's client.
	"batch": nil,
}

// members are a directory that can be down.
type members struct {
	mu    sync.Mutex
	fault error
}

func (m *members) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = err
}

func (m *members) Lookup(ctx context.Context, user string) (groups.Membership, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault != nil {
		return groups.Membership{}, m.fault
	}
	found, known := directory[user]
	if !known {
		return groups.Membership{}, groups.ErrUnknownUser
	}
	return groups.Membership{User: user, Groups: found}, nil
}

// harness is a console in a namespace of its own of a real API server, beside a Hub
// that knows tokens and codes by the names in them.
type harness struct {
	*testing.T
	portal    *portal.Portal
	members   *members
	api       client.Client
	namespace string
	log       *buffer
	now       time.Time
	uncounted bool // nobody can tell what the cluster has
	// returns are what every kernel may return as; choiceless: nobody can tell.
	returns    []holdings.Choice
	choiceless bool
	listing    *listing
	logs       portal.LogReader
	// afterRead happens once, between a read of the API server and what follows it.
	afterRead func()
	// misread changes what is read of the API server.
	misread func(client.Object)
}

// live reads from the API server, and lets something happen then.
type live struct {
	client.Client
	h *harness
}

func (l live) Get(ctx context.Context, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
	err := l.Client.Get(ctx, key, into, options...)
	if l.h.misread != nil {
		l.h.misread(into)
	}
	if happens := l.h.afterRead; happens != nil {
		l.h.afterRead = nil
		happens()
	}
	return err
}

// listing is the directory's list of groups.
type listing struct {
	groups []groups.ListedGroup
	more   bool
	fault  error
}

func (l *listing) Lists() bool { return l != nil }

func (l *listing) ListGroups(_ context.Context, part string, limit int) ([]groups.ListedGroup, bool, error) {
	var found []groups.ListedGroup
	for _, g := range l.groups {
		if strings.Contains(g.Name, part) {
			found = append(found, g)
		}
	}
	found, more := groups.FirstGroups(found, limit)
	return found, more || l.more, l.fault
}

// Refresh makes the directory one that policies are resolved with.
func (m *members) Refresh(ctx context.Context, user string) (groups.Membership, error) {
	return m.Lookup(ctx, user)
}

// Policies are those of the namespace.
func (h *harness) Policies(ctx context.Context) ([]v1alpha1.GroupPolicy, error) {
	var all v1alpha1.GroupPolicyList
	err := h.api.List(ctx, &all, client.InNamespace(h.namespace))
	return all.Items, err
}

func newHarness(t *testing.T, change ...func(*portal.Config)) *harness {
	t.Helper()
	if apiServer == nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS must be set in CI")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set")
	}
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	api, err := client.New(apiServer, client.Options{Scheme: scheme})
	require.NoError(t, err)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "portal-"}}
	require.NoError(t, api.Create(t.Context(), ns))

	h := &harness{T: t, members: &members{}, api: api, namespace: ns.Name, log: &buffer{}, now: time.Now()}
	h.listing = &listing{groups: []groups.ListedGroup{
		{Group: groups.Group{Name: "researchers", DN: "cn=researchers,dc=example"}, Members: 2},
		{Group: groups.Group{Name: "analysts", DN: "cn=analysts,dc=example"}, Members: 7},
	}}
	config := portal.DefaultConfig()
	config.ListAge = 0 // tests change objects under its hands
	config.LiveEvery = time.Millisecond
	config.Policies.Edit = true
	config.Namespace, config.BasePath, config.Admins = ns.Name, base, portal.Admins{Groups: []string{"CN=admins, dc=example"}}
	for _, f := range change {
		f(&config)
	}
	accounts, err := signin.NewAccounts(reviewing(apiServer, ns.Name), ns.Name, func() time.Time { return h.now })
	require.NoError(t, err)
	gate := newGateOfNobody
	if !config.APIOnly {
		gate = newGate
	}
	h.portal, err = portal.New(config, portal.Dependencies{
		Gate: gate(t, accounts), Members: h.members, Client: api, Live: live{api, h}, Log: slog.New(slog.NewJSONHandler(h.log, nil)), Metrics: prometheus.NewRegistry(),
		Now: func() time.Time { return h.now },
		Returns: func(context.Context, string) ([]holdings.Choice, error) {
			if h.choiceless {
				return nil, errors.New("the cache is not there yet")
			}
			return h.returns, nil
		},
		Logs:      h.readLog,
		Directory: h.listing, Explain: groups.NewService(h.members, h, groups.MatchPriority).Explain,
		Books: func(ctx context.Context) ([]*usage.Book, error) {
			saved, err := (&usage.Store{Reader: api, Namespace: ns.Name, Name: "hours"}).Read(ctx)
			if err != nil {
				return nil, err
			}
			return saved.All(), nil
		},
		Capacity: func(context.Context) (holdings.Capacity, error) {
			if h.uncounted {
				return holdings.Capacity{}, errors.New("the cache is not there yet")
			}
			return holdings.Capacity{Total: map[string]int64{"nvidia.com/gpu": 4}, Free: map[string]int64{"nvidia.com/gpu": 1}}, nil
		},
	})
	require.NoError(t, err)
	return h
}

// newGateOfNobody knows no Hub, no keys and no pages.
func newGateOfNobody(t testing.TB, accounts *signin.Accounts) *signin.Gate {
	t.Helper()
	config := signin.DefaultConfig()
	config.Provider = signin.ProviderNone
	gate, err := signin.New(config, nil, accounts, time.Now)
	require.NoError(t, err)
	return gate
}

func newGate(t testing.TB, accounts *signin.Accounts) *signin.Gate {
	t.Helper()
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.NotContains(t, r.Header.Get("Authorization"), "token ey", "a token of Kubernetes, at the Hub")
		fakeHub(w, r)
	}))
	t.Cleanup(hub.Close)
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte("0123456789abcdef0123456789abcdef"), 0o600))
	asker, err := hubclient.New(hubclient.Config{APIURL: hub.URL, TokenFile: file, Timeout: 5 * time.Second})
	require.NoError(t, err)
	t.Cleanup(asker.Close)
	config := signin.DefaultConfig()
	config.KeyFile = file
	gate, err := signin.New(config, asker, accounts, time.Now)
	require.NoError(t, err)
	return gate
}

// fakeHub takes alice-code for a code and alice-token for a token of alice's. Those of
// services and with too little scope say so in their names.
func fakeHub(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/oauth2/token" {
		user, is := strings.CutSuffix(r.PostFormValue("code"), "-code")
		if !is {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, `{"access_token": %q}`, user+"-token")
		return
	}
	user, is := strings.CutSuffix(strings.TrimPrefix(r.Header.Get("Authorization"), "token "), "-token")
	kind, scopes, admin := "user", `["access:services!service=elastichub"]`, user == "chief"
	switch {
	case !is:
		w.WriteHeader(http.StatusForbidden)
		return
	case user == "service":
		kind = "service"
	case user == "weak":
		user, scopes = "root", `["access:services!service=other"]`
	}
	fmt.Fprintf(w, `{"kind": %q, "name": %q, "admin": %t, "scopes": %s}`, kind, user, admin, scopes)
}

// browser is one that is signed in.
type browser struct {
	*harness
	cookie *http.Cookie
	csrf   string
}

// signIn signs in as a browser does.
func (h *harness) signIn(user string) *browser {
	h.Helper()
	begun := h.send(httptest.NewRequest(http.MethodGet, "http://hub"+base+"signin", nil))
	require.Equal(h, http.StatusFound, begun.Code)
	address, err := begun.Result().Location()
	require.NoError(h, err)
	back := httptest.NewRequest(http.MethodGet, "http://hub"+base+"oauth_callback?code="+url.QueryEscape(user)+"-code&state="+address.Query().Get("state"), nil)
	back.AddCookie(begun.Result().Cookies()[0])
	done := h.send(back)
	require.Equal(h, http.StatusFound, done.Code, "%s", done.Body)
	for _, cookie := range done.Result().Cookies() {
		if cookie.Name == "elastichub-session" {
			return &browser{harness: h, cookie: cookie, csrf: h.csrfOf(cookie)}
		}
	}
	require.Fail(h, "no session")
	return nil
}

// csrfOf is the CSRF token of a session.
func (h *harness) csrfOf(cookie *http.Cookie) string {
	h.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://hub"+base+"api/v1/me", nil)
	r.AddCookie(cookie)
	csrf, _ := decode(h.T, h.send(r))["csrf"].(string)
	require.NotEmpty(h, csrf)
	return csrf
}

// call makes a request of the API in a browser's session, as a script of ours does.
func (b *browser) call(method, path, body string, header ...string) *httptest.ResponseRecorder {
	return b.harness.call("", method, path, body, append([]string{"Cookie", b.cookie.Name + "=" + b.cookie.Value, "X-CSRF-Token", b.csrf}, header...)...)
}

// submit sends a form of a page.
func (b *browser) submit(path string, form url.Values, header ...string) *httptest.ResponseRecorder {
	return b.harness.call("", http.MethodPost, path, form.Encode(), append([]string{
		"Cookie", b.cookie.Name + "=" + b.cookie.Value, "Content-Type", "application/x-www-form-urlencoded",
	}, header...)...)
}

// open reads a page.
func (b *browser) open(path string, header ...string) *httptest.ResponseRecorder {
	return b.harness.call("", http.MethodGet, path, "", append([]string{"Cookie", b.cookie.Name + "=" + b.cookie.Value}, header...)...)
}

func (h *harness) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	ctx, hangUp := context.WithCancel(r.Context())
	defer hangUp()
	h.portal.ServeHTTP(untilBreath{w, hangUp}, r.WithContext(ctx))
	hold(h.T, r, w)
	return w
}

// call makes a request of the API by a person's token of the Hub.
func (h *harness) call(user, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://hub"+base+strings.TrimPrefix(path, "/"), strings.NewReader(body))
	if user != "" {
		r.Header.Set("Authorization", "token "+user+"-token")
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return h.send(r)
}

// untilBreath hangs up when a stream says that it is there though nothing has changed.
type untilBreath struct {
	*httptest.ResponseRecorder
	hangUp func()
}

func (w untilBreath) WriteString(text string) (int, error) {
	if text == ":\n\n" {
		defer w.hangUp()
	}
	return w.ResponseRecorder.WriteString(text)
}

func (h *harness) create(o client.Object) {
	h.Helper()
	o.SetNamespace(h.namespace)
	require.NoError(h, h.api.Create(h.Context(), o), o.GetName())
}

// kernel makes one whose status is as it should be.
func (h *harness) kernel(name, user, notebook string, status v1alpha1.JupyterKernelStatus) *v1alpha1.JupyterKernel {
	h.Helper()
	k := &v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Name: name}}
	k.Spec = v1alpha1.JupyterKernelCRDSpec{Gateway: "default", KernelSpec: "python-gpu", User: user, Notebook: notebook, Run: 1}
	h.create(k)
	status.Run = 1
	k.Status = status
	require.NoError(h, h.api.Status().Update(h.Context(), k))
	return k
}

func (h *harness) server(name, user string, status v1alpha1.JupyterNotebookStatus) *v1alpha1.JupyterNotebook {
	h.Helper()
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: name}}
	nb.Spec.User, nb.Spec.Gateway = user, &corev1.ObjectReference{Name: "default"}
	h.create(nb)
	nb.Status = status
	require.NoError(h, h.api.Status().Update(h.Context(), nb))
	return nb
}

func (h *harness) read(name string, into client.Object) {
	h.Helper()
	require.NoError(h, h.api.Get(h.Context(), client.ObjectKey{Namespace: h.namespace, Name: name}, into))
}

func decode(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &v), "%s", w.Body)
	return v
}

// kindOf is the kind of the problem that was answered, or empty.
func kindOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	if w.Header().Get("Content-Type") != "application/problem+json" {
		return ""
	}
	kind, _ := decode(t, w)["type"].(string)
	return strings.TrimPrefix(kind, "urn:elastichub:problem:")
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
