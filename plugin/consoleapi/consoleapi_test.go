package consoleapi_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/plugin/consoleapi"
	"github.com/elastichub/elastichub/test/apiserver"
)

const place = "lab"

// site is a real API server and a stand-in for a kubelet, which leads port-forwards to a console
// that the test answers for.
type site struct {
	*testing.T
	config *rest.Config
	api    client.Client

	mu       sync.Mutex
	answer   http.HandlerFunc
	forwards int // streams that the kubelet has connected
}

func newSite(t *testing.T) *site {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS must be set in CI")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set")
	}
	environment := apiserver.Environment()
	config, err := environment.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, environment.Stop()) })
	api, err := client.New(config, client.Options{Scheme: clientgoscheme.Scheme})
	require.NoError(t, err)
	s := &site{T: t, config: config, api: api}
	console := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.answer(w, r)
	}))
	t.Cleanup(console.Close)
	kubelet := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/portForward/lab/elastichub-ready", r.URL.Path)
		s.portForward(w, r, console.Listener.Addr().String())
	}))
	t.Cleanup(kubelet.Close)

	_, port, err := net.SplitHostPort(kubelet.Listener.Addr().String())
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}
	s.create(node)
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(number)
	require.NoError(t, api.Status().Update(t.Context(), node))
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: place}})
	s.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "reporter", Namespace: place}})
	s.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "elastichub", Namespace: place}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "elastichub"},
		Ports:    []corev1.ServicePort{{Name: "metrics", Port: 9090}, {Name: "http", Port: 80, TargetPort: intstr.FromString("http")}},
	}})
	for name, ready := range map[string]corev1.ConditionStatus{"elastichub-ready": corev1.ConditionTrue, "elastichub-broken": corev1.ConditionFalse} {
		s.pod(name, "elastichub", ready)
	}
	return s
}

func (s *site) create(o client.Object) {
	s.Helper()
	require.NoError(s, s.api.Create(s.Context(), o), o.GetName())
}

// waitForRight waits until the API server, which reads roles from a cache, knows of user's first right in rule.
func (s *site) waitForRight(user string, rule rbacv1.PolicyRule) {
	s.Helper()
	require.Eventually(s, func() bool {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: place, Verb: rule.Verbs[0], Group: rule.APIGroups[0], Resource: rule.Resources[0]}}}
		return s.api.Create(s.Context(), review) == nil && review.Status.Allowed
	}, time.Minute, 20*time.Millisecond, "the role of %s", user)
}

func (s *site) pod(name, app string, ready corev1.ConditionStatus) {
	s.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: place, Labels: map[string]string{"app": app}}, Spec: corev1.PodSpec{
		NodeName: "node", Containers: []corev1.Container{{Name: "c", Image: "x", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}},
	}}
	s.create(pod)
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	require.NoError(s, s.api.Status().Update(s.Context(), pod))
}

// portForward is a kubelet's: an error stream and a data stream for each connection.
func (s *site) portForward(w http.ResponseWriter, r *http.Request, to string) {
	_, err := httpstream.Handshake(r, w, []string{"portforward.k8s.io"})
	if !assert.NoError(s, err) {
		return
	}
	streams := make(chan httpstream.Stream, 8)
	connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, _ <-chan struct{}) error {
		streams <- stream
		return nil
	})
	if !assert.NotNil(s, connection) {
		return
	}
	defer connection.Close()
	for {
		select {
		case <-connection.CloseChan():
			return
		case stream := <-streams:
			if stream.Headers().Get("streamType") == "error" {
				_ = stream.Close() // nothing goes wrong
				continue
			}
			assert.Equal(s, "8080", stream.Headers().Get("port"))
			s.mu.Lock()
			s.forwards++
			s.mu.Unlock()
			go func() {
				defer stream.Close()
				target, err := net.Dial("tcp", to)
				if !assert.NoError(s, err) {
					return
				}
				defer target.Close()
				go func() { _, _ = io.Copy(target, stream) }()
				_, _ = io.Copy(stream, target)
			}()
		}
	}
}

func (s *site) answers(how http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = how
}

var target = consoleapi.Target{Namespace: place, Service: "elastichub", BasePath: "/services/elastichub/", Account: "reporter"}

func TestTheConsoleIsAskedThroughAPortForward(t *testing.T) {
	s := newSite(t)
	var token, asked string
	long := `{"items": [` + strings.Repeat("1,", 1<<17) + `1]}`
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		token, asked = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), r.URL.String()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, long)
	})
	answer, err := consoleapi.Get(t.Context(), s.config, target, "users/ann b/explanation", url.Values{"by": {"user"}})
	require.NoError(t, err)
	assert.True(t, long == string(answer), "the whole answer, of %d bytes", len(answer))
	assert.Equal(t, "/services/elastichub/api/v1/users/ann%20b/explanation?by=user", asked)
	assert.Equal(t, 1, s.forwards)

	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{"elastichub"}}}
	require.NoError(t, s.api.Create(t.Context(), review))
	assert.Equal(t, "system:serviceaccount:lab:reporter", review.Status.User.Username)
	review = &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	require.NoError(t, s.api.Create(t.Context(), review))
	assert.False(t, review.Status.Authenticated, "the API server itself does not take it")

	// Who may not, and what is not there, is said in a sentence.
	said := func(config *rest.Config, change func(*consoleapi.Target)) string {
		to := target
		change(&to)
		_, err := consoleapi.Get(t.Context(), config, to, "usage", nil)
		require.Error(t, err)
		return err.Error()
	}
	as := func(user string, rules ...rbacv1.PolicyRule) *rest.Config {
		if len(rules) > 0 {
			s.create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: user, Namespace: place}, Rules: rules})
			s.create(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: user, Namespace: place}, RoleRef: rbacv1.RoleRef{Kind: "Role", Name: user},
				Subjects: []rbacv1.Subject{{Kind: "User", Name: user}}})
			s.waitForRight(user, rules[0])
		}
		config := rest.CopyConfig(s.config)
		config.Impersonate.UserName = user
		return config
	}
	none := func(*consoleapi.Target) {}
	reads := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"services", "pods"}, Verbs: []string{"get", "list"}}}
	tokens := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, Verbs: []string{"create"}, ResourceNames: []string{"reporter"}}
	forwards := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods/portforward"}, Verbs: []string{"create", "get"}}
	assert.Contains(t, said(s.config, func(to *consoleapi.Target) { to.Account = "" }), "--service-account")
	assert.Contains(t, said(s.config, func(to *consoleapi.Target) { to.Account = "nobody" }), `there is no ServiceAccount "nobody" in the namespace lab`)
	assert.Contains(t, said(s.config, func(to *consoleapi.Target) { to.Namespace = "" }), "-n")
	assert.Contains(t, said(s.config, func(to *consoleapi.Target) { to.Service = "other" }), `there is no Service "other"`)
	assert.Contains(t, said(s.config, func(to *consoleapi.Target) { to.BasePath = "services" }), "--base-path")
	assert.Contains(t, said(as("nobody"), none), "You may not get services in the namespace lab")
	assert.Contains(t, said(as("reads", reads...), none), "You may not create serviceaccounts/token")
	assert.Contains(t, said(as("tokens", append(reads, tokens)...), none), "the right to create pods/portforward")
	_, err = consoleapi.Get(t.Context(), as("all", append(reads, tokens, forwards)...), target, "usage", nil)
	require.NoError(t, err, "these rights suffice")

	for sentence, how := range map[string]http.HandlerFunc{
		"the ServiceAccount reporter lacks a right: This account of Kubernetes may not list jupyterkernels": problem(403, "no-right", "This account of Kubernetes may not list jupyterkernels."),
		"takes no tokens of Kubernetes":                   problem(401, "unauthenticated", "Sign in."),
		"the console refuses it: It is malformed (urn:x)": problem(400, "malformed", "It is malformed."),
		"there is no console at /services/elastichub/":    http.NotFound,
		"no console at /services/elastichub/ (it answers 30": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		},
	} {
		s.answers(how)
		assert.Contains(t, said(s.config, none), sentence)
	}

	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "elastichub-ready", Namespace: place}}
	require.NoError(t, s.api.Delete(t.Context(), pod, client.GracePeriodSeconds(0)))
	begin := time.Now()
	assert.Contains(t, said(s.config, none), "no Pod of the Service elastichub in the namespace lab is ready")
	assert.Less(t, time.Since(begin), 10*time.Second)
}

func problem(code int, kind, detail string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, `{"type": "urn:elastichub:problem:`+kind+`", "title": "x", "status": 1, "detail": "`+detail+`", "instance": "urn:x"}`)
	}
}
