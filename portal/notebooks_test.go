package portal_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/portal"
	"github.com/elastichub/elastichub/portal/holdings"
)

const allOfNotebooks = "get list create patch delete"

// newHarnessOfNotebooks has a gateway, and an account that may do everything with notebooks.
func newHarnessOfNotebooks(t *testing.T) (h *harness, token string) {
	h = newHarnessOfAccounts(t)
	h.create(&v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	_, token = h.account("maker", "elastichub", rule(allOfNotebooks, "jupyternotebooks"))
	return h, token
}

func (h *harness) notebook(name string) *v1alpha1.JupyterNotebook {
	h.Helper()
	nb := &v1alpha1.JupyterNotebook{}
	h.read(name, nb)
	return nb
}

func notebookOf(t *testing.T, w *httptest.ResponseRecorder) (n holdings.Notebook) {
	t.Helper()
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &n), "%s", w.Body)
	assert.Equal(t, `"`+n.Version+`"`, w.Header().Get("ETag"))
	return n
}

func (h *harness) eventsAbout(name string) (reasons []string) {
	h.Helper()
	var all corev1.EventList
	require.NoError(h, h.api.List(h.Context(), &all, client.InNamespace(h.namespace)))
	for _, e := range all.Items {
		if e.InvolvedObject.Name == name && e.InvolvedObject.Kind == "JupyterNotebook" {
			reasons = append(reasons, e.Reason)
		}
	}
	return reasons
}

func TestLifeOfANotebook(t *testing.T) {
	h, token := newHarnessOfNotebooks(t)
	const path = "api/v1/notebooks/analysis"
	body := `{"name": "analysis", "image": "registry.example.org/lab:1", "cpu": "500m", "memory": "2Gi", "gateway": "default",
		"storage": {"size": "1Gi", "storage_class": "fast", "mount_path": "/home/me"}, "idle_stop_seconds": 1800,
		"auth": {"token_secret": {"name": "keys", "key": "token"}, "password_secret": null}}`
	w := h.as(token, http.MethodPost, "api/v1/notebooks", body)
	require.Equal(t, http.StatusCreated, w.Code, "%s", w.Body)
	assert.Equal(t, base+path, w.Header().Get("Location"))
	made := notebookOf(t, w)
	nb := h.notebook("analysis")
	fast := "fast"
	template := &v1alpha1.PodTemplate{}
	template.Spec.Containers = []corev1.Container{{Name: "notebook", Image: "registry.example.org/lab:1", Resources: corev1.ResourceRequirements{
		Limits: corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("2Gi")},
	}}}
	key := &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}, Key: "token"}
	want, err := json.Marshal(v1alpha1.JupyterNotebookSpec{
		Auth:     &v1alpha1.JupyterAuth{TokenSecretRef: key},
		Template: template, Gateway: &corev1.ObjectReference{Name: "default"}, IdleStop: &v1alpha1.IdleStop{Seconds: ptr.To[int64](1800)},
		Storage: &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: resource.MustParse("1Gi"), StorageClassName: &fast, MountPath: "/home/me"}},
	})
	require.NoError(t, err)
	got, err := json.Marshal(nb.Spec)
	require.NoError(t, err)
	assert.JSONEq(t, string(want), string(got))
	server := holdings.Server{Name: "analysis", Phase: v1alpha1.NotebookPending, Image: "registry.example.org/lab:1", CPU: 0.5, Memory: 2 << 30, Created: made.Server.Created}
	assert.Equal(t, holdings.Notebook{
		Name: "analysis", Version: holdings.Version(nb), URL: "http://analysis." + h.namespace + ".svc:8888", Gateway: "default", IdleStopSeconds: 1800,
		Home: &holdings.Home{Claim: "home-analysis", Size: "1Gi", MountPath: "/home/me"}, Server: server,
		Auth: &holdings.Auth{TokenSecret: &holdings.SecretKey{Name: "keys", Key: "token"}},
	}, made)
	assert.Equal(t, made, notebookOf(t, h.as(token, http.MethodGet, path, "")))
	again := h.as(token, http.MethodPost, "api/v1/notebooks", body)
	assert.Equal(t, []any{http.StatusConflict, "name-taken"}, []any{again.Code, kindOf(t, again)})

	// To ask for what is so already changes nothing, and is no error.
	do := func(what string) (int, holdings.Notebook) {
		w := h.as(token, http.MethodPost, path+"/"+what, `{}`)
		require.Less(t, w.Code, 300, "%s", w.Body)
		return w.Code, notebookOf(t, w)
	}
	for _, step := range []struct {
		what    string
		code    int
		stopped bool
	}{{"start", 200, false}, {"stop", 202, true}, {"stop", 200, true}, {"start", 202, false}, {"start", 200, false}} {
		code, n := do(step.what)
		assert.Equal(t, step.code, code, step)
		assert.Equal(t, step.stopped, n.Server.Stopped, step)
		now := h.notebook("analysis")
		assert.Equal(t, step.stopped, now.Spec.Stopped, step)
		assert.Empty(t, now.Annotations, "nobody's is stopped as by its owner")
		assert.Equal(t, []any{made.URL, made.Home}, []any{n.URL, n.Home})
		now.Spec.Stopped = false
		assert.Equal(t, nb.Spec, now.Spec, "all else stays")
	}

	h.create(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "home-analysis"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}},
	}})
	w = h.as(token, http.MethodDelete, path+"?reason=The+course+is+over", "")
	require.Equal(t, http.StatusOK, w.Code, "%s", w.Body)
	assert.JSONEq(t, `{"name": "analysis", "kept_home": {"claim": "home-analysis", "size": "1Gi", "mount_path": "/home/me"}}`, w.Body.String())
	assert.Equal(t, "not-found", kindOf(t, h.as(token, http.MethodGet, path, "")))
	assert.Equal(t, "not-found", kindOf(t, h.as(token, http.MethodDelete, path, "")))
	h.read("home-analysis", &corev1.PersistentVolumeClaim{})
	assert.ElementsMatch(t, []string{"NotebookCreated", "StopRequested", "StartRequested", "NotebookDeleted"}, h.eventsAbout("analysis"))
	assert.Contains(t, h.log.String(), `"by":"kubernetes:system:serviceaccount:`+h.namespace+`:maker","admin":false,"action":"NotebookDeleted"`)
	assert.Contains(t, h.log.String(), `"reason":"The course is over"`)
}

func TestTheSmallestNotebooks(t *testing.T) {
	h, token := newHarnessOfNotebooks(t)
	for name, body := range map[string]string{
		"nothing": `{"name": "nothing"}`, "nulls": `{"name": "nulls", "image": null, "storage": null, "gateway": null}`, "elsewhere": `{"name": "elsewhere", "gateway": "default"}`,
	} {
		require.Equal(t, http.StatusCreated, h.as(token, http.MethodPost, "api/v1/notebooks", body).Code, name)
		nb := h.notebook(name)
		assert.Equal(t, name != "elsewhere", nb.Spec.Template != nil, name)
		assert.Nil(t, nb.Spec.Storage)
		w := h.as(token, http.MethodDelete, "api/v1/notebooks/"+name, "")
		assert.JSONEq(t, `{"name": "`+name+`"}`, w.Body.String(), "there is no home to keep")
	}
}

func TestFaultsOfNotebooks(t *testing.T) {
	h, token := newHarnessOfNotebooks(t)
	const quantity = "must be a quantity of more than 0 and of at most 64 characters, such as 500m or 2Gi"
	label := "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
	for body, want := range map[string]map[string]string{
		`{}`:                      {"name": label},
		`{"name": "1st"}`:         {"name": label},
		`{"name": "jupyter-bob"}`: {"name": "must not begin with jupyter-, as the names of the Hub's servers do"},
		`{"name": "a.b"}`:         {"name": label},
		`{"name": "` + strings.Repeat("a", 64) + `"}`: {"name": "must be no more than 63 characters"},
		`{"name": 7}`:                           {"name": "must not be a JSON number"},
		`{"name": "a", "cpu": 2}`:               {"cpu": "must not be a JSON number"},
		`{"name": "a", "storage": "1Gi"}`:       {"storage": "must not be a JSON string"},
		`{"name": "a", "storage": {"size": 1}}`: {"storage.size": "must not be a JSON number"},
		`{"name": "a", "cpu": "-1", "memory": "two", "storage": {"size": "0", "storage_class": "A B", "mount_path": "home"}, "idle_stop_seconds": 0, "user": "", "image": "a b"}`: {
			"cpu": quantity, "memory": quantity, "storage.size": quantity, "idle_stop_seconds": "must be from 1 to 315360000",
			"user": "must have 1 to 256 characters and no control characters", "image": "must be the name of an image, of at most 512 characters",
			"storage.storage_class": "a lowercase RFC 1123 subdomain", "storage.mount_path": `"home" must be absolute and not the root`,
		},
		`{"name": "a", "storage": {"size": "1Gi", "mount_path": "` + v1alpha1.TokenDirectory + `"}}`: {"storage.mount_path": "is where tokens of the service account are"},
		`{"name": "a", "storage": {"size": "1Gi", "mount_path": ""}}`:                                {"storage.mount_path": "must have 1 to 4096 characters"},
		`{"name": "a", "gateway": "none"}`:                                                           {"gateway": "there is no JupyterGateway of this name"},
		`{"name": "a", "gateway": "../x"}`:                                                           {"gateway": "a lowercase RFC 1123 subdomain"},
		`{"name": "a", "template": {"spec": {}}, "auth": {"token": "x", "password": "y"}, "Image": "x", "start": "1"}`: {
			"template": "is no field", "auth.token": "is no field", "auth.password": "is no field", "Image": "is no field", "start": "is no field",
		},
		`{"name": "a", "storage": {"size": "1Gi", "claim": "home-of-bob"}}`: {"storage.claim": "is no field"},
		`{"name": "a", "auth": {"mode": "off", "token_secret": {"name": "A", "key": ""}}}`: {
			"auth.mode": "must be enable or disable", "auth.token_secret.name": "a lowercase RFC 1123 subdomain", "auth.token_secret.key": "a valid config key",
		},
		`{"name": "a", "auth": {"mode": "disable", "password_secret": {"name": "a", "key": "b"}}}`: {"auth.mode": "leave the Secrets out"},
		`{"name": "a", "name": "b"}`: {"name": "is there twice"},
	} {
		w := h.as(token, http.MethodPost, "api/v1/notebooks", body)
		require.Equal(t, "invalid-notebook", kindOf(t, w), "%s: %s", body, w.Body)
		assert.Equal(t, http.StatusUnprocessableEntity, w.Code)
		told := map[string]string{}
		for _, f := range decode(t, w)["faults"].([]any) {
			told[f.(map[string]any)["field"].(string)] = f.(map[string]any)["detail"].(string)
		}
		assert.Len(t, told, len(want), "%s: %v", body, told)
		for field, detail := range want {
			assert.Contains(t, told[field], detail, "%s: %s", body, field)
		}
	}
	for body, kind := range map[string]string{"{": "malformed", "null": "malformed", "[]": "malformed", `"x"`: "malformed", `{"name": "a"} x`: "malformed", "{\"name\": \"\xff\"}": "malformed",
		`{"name": "` + strings.Repeat("x", 70<<10) + `"}`: "too-large"} {
		assert.Equal(t, kind, kindOf(t, h.as(token, http.MethodPost, "api/v1/notebooks", body)), "%.40q", body)
	}
	w := h.call("", http.MethodPost, "api/v1/notebooks", `{"name": "a"}`, "Authorization", "Bearer "+token, "Content-Type", "text/plain")
	assert.Equal(t, "media-type", kindOf(t, w))
	var all v1alpha1.JupyterNotebookList
	require.NoError(t, h.api.List(t.Context(), &all, client.InNamespace(h.namespace)))
	assert.Len(t, all.Items, 1, "nothing was made")

	// What the cluster refuses is told as it says it.
	none := corev1.ResourceList{"count/jupyternotebooks.kubeflow.tkestack.io": resource.MustParse("0")}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: none}}
	h.create(quota)
	quota.Status = corev1.ResourceQuotaStatus{Hard: none, Used: none}
	require.NoError(t, h.api.Status().Update(t.Context(), quota))
	require.Eventually(t, func() bool { // the API server reads quotas from a cache
		w = h.as(token, http.MethodPost, "api/v1/notebooks", `{"name": "too-many"}`)
		return w.Code != http.StatusCreated || h.api.Delete(t.Context(), h.notebook("too-many")) != nil
	}, 10*time.Second, 100*time.Millisecond)
	assert.Equal(t, "invalid-notebook", kindOf(t, w))
	assert.Contains(t, w.Body.String(), "exceeded quota")
}

// TestNotebooksOfTheHub are made and deleted by the Hub alone, which is asked to start them.
func TestNotebooksOfTheHub(t *testing.T) {
	h, token := newHarnessOfNotebooks(t)
	before := h.notebook("jupyter-alice")
	ofHub := before.DeepCopy()
	ofHub.Spec.Start = "1"
	require.NoError(t, h.api.Patch(t.Context(), ofHub, client.MergeFrom(before)))
	const path = "api/v1/notebooks/jupyter-alice"
	assert.True(t, notebookOf(t, h.call("alice", http.MethodGet, path, "")).OfHub)
	refused := func() {
		t.Helper()
		for _, user := range []string{"alice", "root"} {
			w := h.call(user, http.MethodDelete, path+"?reason=x", "")
			assert.Equal(t, []any{http.StatusConflict, "of-hub"}, []any{w.Code, kindOf(t, w)})
		}
		assert.Equal(t, "of-hub", kindOf(t, h.as(token, http.MethodDelete, path+"?reason=x", "")))
	}
	refused()
	// It is stopped as a server is: an account's stop has a reason, and leaves kernels alone.
	assert.Equal(t, "reason-required", kindOf(t, h.as(token, http.MethodPost, path+"/stop", `{}`)))
	for _, code := range []int{202, 200} {
		assert.Equal(t, code, h.as(token, http.MethodPost, path+"/stop", `{"reason": "The node is needed"}`).Code)
	}
	assert.Equal(t, string(v1alpha1.StopAdmin), h.notebook("jupyter-alice").Annotations[v1alpha1.AnnotationStopCause])
	refused()
	// The leader has the Hub start it: here it stays stopped until then.
	assert.Equal(t, http.StatusAccepted, h.call("alice", http.MethodPost, path+"/start", `{}`).Code)
	assert.True(t, h.notebook("jupyter-alice").Spec.Stopped)
	assert.Equal(t, h.now.UTC().Format(time.RFC3339), h.notebook("jupyter-alice").Annotations[v1alpha1.AnnotationStartAsked])

	// Of what cannot be read nobody knows whose it is.
	h.misread = func(into client.Object) {
		if nb, is := into.(*v1alpha1.JupyterNotebook); is {
			require.NoError(t, json.Unmarshal([]byte(`{"metadata": {"name": "jupyter-alice", "uid": "x"}, "spec": []}`), nb))
		}
	}
	assert.Equal(t, "not-found", kindOf(t, h.call("alice", http.MethodDelete, path, "")))
	for _, w := range []*httptest.ResponseRecorder{h.as(token, http.MethodDelete, path, ""), h.as(token, http.MethodPost, path+"/start", `{}`), h.as(token, http.MethodPost, path+"/stop", `{}`)} {
		assert.Equal(t, []any{http.StatusConflict, "unreadable"}, []any{w.Code, kindOf(t, w)})
	}
	h.misread = nil
	assert.Equal(t, "1", h.notebook("jupyter-alice").Spec.Start, "it is there")
}

func TestNotebooksOfPeople(t *testing.T) {
	h, token := newHarnessOfNotebooks(t)
	require.Equal(t, http.StatusCreated, h.as(token, http.MethodPost, "api/v1/notebooks", `{"name": "of-bob", "user": "bob"}`).Code)
	require.Equal(t, http.StatusCreated, h.as(token, http.MethodPost, "api/v1/notebooks", `{"name": "nobodys"}`).Code)
	list := func(user, query string) (names []string, page map[string]any) {
		w := h.call(user, http.MethodGet, "api/v1/notebooks"+query, "")
		require.Equal(t, http.StatusOK, w.Code, "%s", w.Body)
		for _, n := range rowsOf[holdings.Notebook](t, w.Body.Bytes()) {
			names = append(names, n.Name)
		}
		return names, decode(t, w)
	}
	names, page := list("bob", "")
	assert.Equal(t, []any{[]string{"of-bob"}, "own", 1.0}, []any{names, page["scope"], page["total"]})
	names, _ = list("bob", "?user=alice")
	assert.Empty(t, names)
	names, page = list("root", "?limit=2")
	assert.Equal(t, []any{[]string{"nobodys", "jupyter-alice"}, "all", 3.0}, []any{names, page["scope"], page["total"]})
	names, _ = list("root", "?limit=2&after="+page["next"].(string))
	assert.Equal(t, []string{"of-bob"}, names)
	names, _ = list("root", "?q=BOB&sort=-phase")
	assert.Equal(t, []string{"of-bob"}, names)
	assert.EqualValues(t, 3, decode(t, h.as(token, http.MethodGet, "api/v1/notebooks", ""))["total"])
	for _, query := range []string{"?of_hub=yes", "?of_hub=", "?secret=1", "?limit=0"} {
		assert.Equal(t, "malformed", kindOf(t, h.call("root", http.MethodGet, "api/v1/notebooks"+query, "")), query)
	}
	assert.Equal(t, "malformed", kindOf(t, h.call("root", http.MethodGet, "api/v1/servers?of_hub=true", "")))
	before := h.notebook("jupyter-alice")
	ofHub := before.DeepCopy()
	ofHub.Spec.Start = "1"
	require.NoError(t, h.api.Patch(t.Context(), ofHub, client.MergeFrom(before)))
	names, _ = list("root", "?of_hub=true")
	assert.Equal(t, []string{"jupyter-alice"}, names)
	names, _ = list("root", "?of_hub=false")
	assert.Equal(t, []string{"nobodys", "of-bob"}, names)

	// While nobody can tell who is an administrator, everybody has their own.
	h.members.fail(groups.ErrUnavailable)
	names, page = list("bob", "")
	assert.Equal(t, []any{[]string{"of-bob"}, "own"}, []any{names, page["scope"]})
	h.members.fail(nil)

	// A person's own is started, stopped and deleted without a reason, another's with one.
	const path = "api/v1/notebooks/of-bob"
	assert.Equal(t, "not-found", kindOf(t, h.call("alice", http.MethodPost, path+"/stop", `{}`)))
	assert.Equal(t, "reason-required", kindOf(t, h.call("root", http.MethodPost, path+"/stop", `{}`)))
	assert.Equal(t, 202, h.call("root", http.MethodPost, path+"/stop", `{"reason": "Repair"}`).Code)
	assert.Equal(t, string(v1alpha1.StopAdmin), h.notebook("of-bob").Annotations[v1alpha1.AnnotationStopCause])
	assert.Equal(t, 202, h.call("bob", http.MethodPost, path+"/start", `{}`).Code)
	assert.Empty(t, h.notebook("of-bob").Annotations[v1alpha1.AnnotationStopCause])
	assert.Equal(t, 202, h.call("bob", http.MethodPost, path+"/stop", `{}`).Code)
	assert.Empty(t, h.notebook("of-bob").Annotations[v1alpha1.AnnotationStopCause])
	for _, w := range []*httptest.ResponseRecorder{h.call("root", http.MethodDelete, path, ""), h.as(token, http.MethodDelete, path, ""), h.as(token, http.MethodDelete, path+"?reason=%20", "")} {
		assert.Equal(t, "reason-required", kindOf(t, w))
	}
	for _, query := range []string{"?home=delete", "?reason=a&reason=b", "?reason=" + strings.Repeat("x", 501)} {
		assert.Equal(t, "malformed", kindOf(t, h.call("bob", http.MethodDelete, path+query, "")), query)
	}
	assert.Equal(t, http.StatusOK, h.call("bob", http.MethodDelete, path, "").Code)
	err := h.api.Get(t.Context(), client.ObjectKey{Namespace: h.namespace, Name: "of-bob"}, &v1alpha1.JupyterNotebook{})
	assert.True(t, apierrors.IsNotFound(err))
}

// TestVersionsOfNotebooks: what names a version is done over that alone, whatever the status does.
func TestVersionsOfNotebooks(t *testing.T) {
	h, token := newHarnessOfNotebooks(t)
	made := notebookOf(t, h.as(token, http.MethodPost, "api/v1/notebooks", `{"name": "n"}`))
	do := func(method, what, version string) *httptest.ResponseRecorder {
		body := "{}"
		if method == http.MethodDelete {
			body = ""
		}
		return h.call("", method, "api/v1/notebooks/n"+what, body, "Authorization", "Bearer "+token, "If-Match", version)
	}
	for _, other := range []string{"x", `"x`, `""`, `"x", "y"`, made.Version, `W/"` + made.Version + `"`} {
		assert.Equal(t, "other-version", kindOf(t, do(http.MethodPost, "/stop", other)), other)
	}
	for _, same := range []string{"*", `"` + made.Version + `"`, `"x", "` + made.Version + `"`} {
		assert.Equal(t, 200, do(http.MethodPost, "/start", same).Code, same)
	}
	status := func() {
		nb := h.notebook("n")
		nb.Status.Message += "x"
		require.NoError(t, h.api.Status().Update(t.Context(), nb))
	}
	h.afterRead = status
	w := do(http.MethodPost, "/stop", `"`+made.Version+`"`)
	require.Equal(t, 202, w.Code, "%s", w.Body)
	stopped := notebookOf(t, w)
	assert.NotEqual(t, made.Version, stopped.Version)
	for _, w := range []*httptest.ResponseRecorder{do(http.MethodPost, "/start", `"`+made.Version+`"`), do(http.MethodDelete, "", `"`+made.Version+`"`)} {
		assert.Equal(t, []any{http.StatusPreconditionFailed, "other-version"}, []any{w.Code, kindOf(t, w)})
	}
	require.True(t, h.notebook("n").Spec.Stopped)
	// Somebody is faster.
	h.afterRead = func() {
		nb := h.notebook("n")
		nb.Spec.IdleStop = &v1alpha1.IdleStop{Seconds: ptr.To[int64](60)}
		require.NoError(t, h.api.Update(t.Context(), nb))
	}
	assert.Equal(t, "other-version", kindOf(t, do(http.MethodDelete, "", `"`+stopped.Version+`"`)))
	h.afterRead = status
	assert.Equal(t, 200, do(http.MethodDelete, "", `"`+holdings.Version(h.notebook("n"))+`"`).Code)

	// Without a version it is for whatever is there, but for no other object of the name.
	require.Equal(t, 201, h.as(token, http.MethodPost, "api/v1/notebooks", `{"name": "n"}`).Code)
	h.afterRead = func() {
		nb := h.notebook("n")
		require.NoError(t, h.api.Delete(t.Context(), nb))
		h.server("n", "bob", v1alpha1.JupyterNotebookStatus{})
	}
	assert.Equal(t, "conflict", kindOf(t, h.as(token, http.MethodDelete, "api/v1/notebooks/n", "")))
	assert.Equal(t, "bob", h.notebook("n").Spec.User)
}

// TestNobodyOfTheHubMakesNotebooks: a Hub's administrators have no rights in Kubernetes.
func TestNobodyOfTheHubMakesNotebooks(t *testing.T) {
	h := newHarness(t, func(c *portal.Config) { c.Admins.Hub = true })
	for _, user := range []string{"alice", "root", "chief"} {
		w := h.call(user, http.MethodPost, "api/v1/notebooks", `{"name": "mine"}`)
		assert.Equal(t, []any{http.StatusForbidden, "accounts-only"}, []any{w.Code, kindOf(t, w)}, user)
	}
	assert.Equal(t, "accounts-only", kindOf(t, h.signIn("chief").call(http.MethodPost, "api/v1/notebooks", `{"name": "mine"}`)))
	var all v1alpha1.JupyterNotebookList
	require.NoError(t, h.api.List(t.Context(), &all, client.InNamespace(h.namespace)))
	assert.Empty(t, all.Items)
}
