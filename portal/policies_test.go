package portal_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/portal"
)

// policy makes a small one for some groups.
func (h *harness) policy(name string, names ...string) *v1alpha1.GroupPolicy {
	h.Helper()
	pool := int32(4)
	p := &v1alpha1.GroupPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.Groups, p.Spec.Priority = names, 10
	p.Spec.CPU = v1alpha1.ResourceRange{Min: resource.MustParse("1"), Max: resource.MustParse("4")}
	p.Spec.Memory = v1alpha1.ResourceRange{Min: resource.MustParse("1Gi"), Max: resource.MustParse("8Gi")}
	p.Spec.Images = []v1alpha1.ImageChannel{{ID: "stable", Image: "registry.example.org/lab:1", DisplayName: "Stable"}}
	p.Spec.Kernels = v1alpha1.PolicyKernels{Allowed: []string{"python-gpu"}, GPUsPerKernel: 1, GPUsPerUser: 2, GPUPool: &pool}
	p.Spec.NodeSelector = map[string]string{"example.org/pool": "notebooks"}
	h.create(p)
	return p
}

// entered is the form of a page as a browser has it: everything that would be sent.
func entered(t *testing.T, w *httptest.ResponseRecorder, action string) url.Values {
	t.Helper()
	root, err := html.Parse(strings.NewReader(w.Body.String()))
	require.NoError(t, err)
	for node := range root.Descendants() {
		if node.Data != "form" || !has(node, "action", action) {
			continue
		}
		form := url.Values{}
		for in := range node.Descendants() {
			name := value(in, "name")
			switch {
			case name == "":
			case in.Data == "input" && has(in, "type", "checkbox"):
				for _, a := range in.Attr {
					if a.Key == "checked" {
						form.Add(name, value(in, "value"))
					}
				}
			case in.Data == "input":
				form.Add(name, value(in, "value"))
			case in.Data == "textarea":
				text := ""
				for child := range in.Descendants() {
					text += child.Data
				}
				form.Add(name, text)
			case in.Data == "select":
				for option := range in.Descendants() {
					for _, a := range option.Attr {
						if a.Key == "selected" {
							form.Set(name, value(option, "value"))
						}
					}
				}
			}
		}
		return form
	}
	require.Fail(t, "no such form", "%s in %s", action, w.Body)
	return nil
}

// textOf is what a page says, without marks.
func textOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(w.Body.String()))
	require.NoError(t, err)
	var b strings.Builder
	for node := range root.Descendants() {
		if node.Type == html.TextNode {
			b.WriteString(node.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

const editPath, editAction = "policies/research/edit", base + "policies/research/edit"

// TestAnAdministratorChangesAPolicy: from the form to the saved quota, without script.
func TestAnAdministratorChangesAPolicy(t *testing.T) {
	h := newHarnessOfAlice(t)
	root := h.signIn("root")
	form := entered(t, root.open(editPath), editAction)
	assert.Equal(t, "2", form.Get("kernels.gpusPerUser"))
	assert.Equal(t, "researchers", form.Get("groups"))
	assert.Contains(t, form.Get("rest"), "example.org/pool: notebooks")
	assert.NotContains(t, form.Get("rest"), "gpusPerUser")

	nothing := root.submit(editPath, form)
	require.Equal(t, http.StatusOK, nothing.Code, "%s", nothing.Body)
	assert.Contains(t, textOf(t, nothing), "Nothing changes.")
	assert.NotContains(t, nothing.Body.String(), `value="save"`)

	form.Set("kernels.gpusPerUser", "3")
	form.Set("act", "review")
	review := root.submit(editPath, form)
	require.Equal(t, http.StatusOK, review.Code, "%s", review.Body)
	assert.Contains(t, textOf(t, review), "kernels.gpusPerUser 2 3")
	assert.Equal(t, 1, strings.Count(review.Body.String(), `<td class="lines">2</td>`), "nothing else changes")
	var now v1alpha1.GroupPolicy
	h.read("research", &now)
	assert.EqualValues(t, 2, now.Spec.Kernels.GPUsPerUser, "nothing is written yet")

	form = entered(t, review, editAction)
	form.Set("act", "save")
	refused := root.submit(editPath, form)
	assert.Equal(t, http.StatusUnprocessableEntity, refused.Code)
	assert.Contains(t, refused.Body.String(), "Say why.")
	form.Set("reason", "Analysts need\none more")
	// The controllers write into the status meanwhile, which is no conflict.
	require.NoError(t, h.api.Status().Patch(t.Context(), &now, client.RawPatch(types.MergePatchType, []byte(`{"status": {"servers": 5}}`))))
	saved := root.submit(editPath, form)
	require.Equal(t, http.StatusSeeOther, saved.Code, "%s", saved.Body)
	assert.Equal(t, base+"policies/research?done=policy-saved", saved.Header().Get("Location"))
	assert.Contains(t, root.open("policies/research?done=policy-saved").Body.String(), "It counts from the next form")

	before := now.DeepCopy()
	h.read("research", &now)
	before.Spec.Kernels.GPUsPerUser = 3
	assert.Equal(t, before.Spec, now.Spec, "and nothing else")
	require.NotEmpty(t, now.ManagedFields)
	var writers []string
	for _, entry := range now.ManagedFields {
		writers = append(writers, entry.Manager)
	}
	assert.Contains(t, writers, "elastichub-console")
	var events corev1.EventList
	require.NoError(t, h.api.List(t.Context(), &events, client.InNamespace(h.namespace)))
	require.Len(t, events.Items, 1)
	assert.Equal(t, "PolicyChanged", events.Items[0].Reason)
	assert.Equal(t, "GroupPolicy", events.Items[0].InvolvedObject.Kind)
	assert.Equal(t, "Asked for by root: Analysts need one more", events.Items[0].Message)
	for _, part := range []string{`"msg":"audit"`, `"action":"PolicyChanged"`, `"kind":"GroupPolicy"`, `"reason":"Analysts need one more"`, `"changes":["kernels.gpusPerUser"]`, `"outcome":"written"`} {
		assert.Contains(t, h.log.String(), part)
	}
}

func TestFaultsStandAtTheirFields(t *testing.T) {
	h := newHarnessOfAlice(t)
	root := h.signIn("root")
	for name, row := range map[string]struct{ field, value, at, words string }{
		"no number":              {"priority", "high", "p-priority-fault", "Not a whole number."},
		"the API's rule":         {"kernels.gpuPool", "1", "p-kernels-gpusPerUser-fault", "must not be more than gpuPool"},
		"the API's schema":       {"rest", "snoozeMaxSeconds: -1\nimages: [{id: a, image: b}]", "p-rest-fault", "snoozeMaxSeconds: Invalid value"},
		"rules of groups":        {"groups", "cn=x,,", "p-groups-fault", "groups[0]"},
		"no quantity":            {"cpu.max", "four", "p-cpu-max-fault", "cpu.max"},
		"least above most":       {"memory.min", "9Gi", "p-memory-max-fault", "must not be less than min"},
		"no YAML":                {"rest", "images: [", "p-rest-fault", "Cannot be read"},
		"no object":              {"rest", "[]", "p-rest-fault", "Cannot be read"},
		"a field of its own":     {"rest", "priority: 3", "p-rest-fault", "priority has an input"},
		"an unknown field":       {"rest", "imagez: []\nimages: [{id: a, image: b}]", "p-rest-fault", `strict decoding error: unknown field "spec.imagez"`},
		"an image without an id": {"rest", "images: [{image: b}]", "p-rest-fault", "images"},
	} {
		t.Run(name, func(t *testing.T) {
			form := entered(t, root.open(editPath), editAction)
			form.Set(row.field, row.value)
			form.Set("act", "save")
			form.Set("reason", "a test")
			w := root.submit(editPath, form)
			require.Equal(t, http.StatusUnprocessableEntity, w.Code, "%s", w.Body)
			node := byID(t, w, row.at)
			require.NotNil(t, node, "%s", textOf(t, w))
			assert.Contains(t, words(node), row.words)
			assert.Contains(t, w.Body.String(), `aria-describedby="`+row.at+`"`)
			assert.Equal(t, row.value, entered(t, w, editAction).Get(row.field), "what was entered stays")
		})
	}
	var p v1alpha1.GroupPolicy
	h.read("research", &p)
	assert.EqualValues(t, 1, p.Generation)
}

func byID(t *testing.T, w *httptest.ResponseRecorder, id string) *html.Node {
	t.Helper()
	root, err := html.Parse(strings.NewReader(w.Body.String()))
	require.NoError(t, err)
	for node := range root.Descendants() {
		if has(node, "id", id) {
			return node
		}
	}
	return nil
}

func words(node *html.Node) string {
	text := ""
	for child := range node.Descendants() {
		if child.Type == html.TextNode {
			text += child.Data
		}
	}
	return text
}

func TestSomebodyElseSavedFirst(t *testing.T) {
	h := newHarnessOfAlice(t)
	root := h.signIn("root")
	form := entered(t, root.open(editPath), editAction)
	form.Set("kernels.gpusPerUser", "3")
	form.Set("act", "save")
	form.Set("reason", "more")
	p := &v1alpha1.GroupPolicy{ObjectMeta: metav1.ObjectMeta{Name: "research", Namespace: h.namespace}}
	require.NoError(t, h.api.Patch(t.Context(), p, client.RawPatch(types.MergePatchType, []byte(`{"spec": {"priority": 99}}`))))

	w := root.submit(editPath, form)
	require.Equal(t, http.StatusConflict, w.Code, "%s", w.Body)
	text := textOf(t, w)
	assert.Contains(t, text, "Somebody else has saved first")
	assert.Contains(t, text, "priority 10 99", "theirs")
	assert.Contains(t, text, "kernels.gpusPerUser 2 3", "mine")
	h.read("research", p)
	assert.EqualValues(t, 2, p.Spec.Kernels.GPUsPerUser)

	form = entered(t, w, editAction)
	form.Set("act", "save")
	require.Equal(t, http.StatusSeeOther, root.submit(editPath, form).Code, "it was shown")
	h.read("research", p)
	assert.EqualValues(t, 3, p.Spec.Kernels.GPUsPerUser)
	assert.EqualValues(t, 99, p.Spec.Priority, "theirs stays")

	require.NoError(t, h.api.Delete(t.Context(), p))
	assert.Equal(t, http.StatusNotFound, root.submit(editPath, form).Code)
}

func TestANewPolicyAndACopy(t *testing.T) {
	h := newHarnessOfAlice(t)
	root := h.signIn("root")
	action := base + "newpolicy"
	form := entered(t, root.open("newpolicy"), action)
	for name, text := range map[string]string{"name": "analysts", "cpu.min": "500m", "cpu.max": "2", "memory.min": "1Gi", "memory.max": "2Gi", "act": "find", "find": "ana"} {
		form.Set(name, text)
	}
	found := root.submit("newpolicy", form)
	require.Equal(t, http.StatusOK, found.Code, "%s", found.Body)
	assert.Contains(t, textOf(t, found), "analysts 7 members cn=analysts,dc=example")
	form = entered(t, found, action)
	assert.Equal(t, "500m", form.Get("cpu.min"), "nothing is lost by a search")
	form.Set("pick", "analysts")
	form.Set("act", "review")
	review := root.submit("newpolicy", form)
	require.Equal(t, http.StatusOK, review.Code, "%s", review.Body)
	assert.Contains(t, textOf(t, review), "groups — analysts")
	form = entered(t, review, action)
	form.Set("act", "save")
	form.Set("reason", "a new group")
	require.Equal(t, http.StatusSeeOther, root.submit("newpolicy", form).Code)
	var p v1alpha1.GroupPolicy
	h.read("analysts", &p)
	assert.Equal(t, []string{"analysts"}, p.Spec.Groups)
	assert.Equal(t, resource.MustParse("500m"), p.Spec.CPU.Min)

	again := root.submit("newpolicy", form)
	assert.Equal(t, http.StatusUnprocessableEntity, again.Code)
	assert.Contains(t, words(byID(t, again, "p-name-fault")), "There is a policy of this name.")
	form.Set("name", "Not a name")
	assert.NotNil(t, byID(t, root.submit("newpolicy", form), "p-name-fault"))

	copied := entered(t, root.open("newpolicy?copy=research"), action)
	assert.Equal(t, "researchers", copied.Get("groups"))
	assert.Empty(t, copied.Get("name"))
	assert.Equal(t, http.StatusNotFound, root.open("newpolicy?copy=nothing").Code)
}

// TestWhatToolsManageIsReadOnly, by whatever sign they leave.
func TestWhatToolsManageIsReadOnly(t *testing.T) {
	h := newHarness(t)
	root := h.signIn("root")
	for i, row := range []struct {
		tool                string
		labels, annotations map[string]string
		writer              string
	}{
		{"Helm", map[string]string{"app.kubernetes.io/managed-by": "Helm"}, nil, ""},
		{"Helm", nil, map[string]string{"meta.helm.sh/release-name": "demo"}, ""},
		{"Argo CD", nil, map[string]string{"argocd.argoproj.io/tracking-id": "x"}, ""},
		{"Flux", map[string]string{"kustomize.toolkit.fluxcd.io/name": "x"}, nil, ""},
		{"kapp", map[string]string{"app.kubernetes.io/managed-by": "kapp"}, nil, ""},
		{"Argo CD", nil, nil, "argocd-controller"},
		{"", nil, nil, "kubectl-client-side-apply"},
	} {
		name := fmt.Sprint("p-", i)
		p := h.policy(name, "researchers")
		p.Labels, p.Annotations = row.labels, row.annotations
		p.Spec.Priority = 11
		require.NoError(t, h.api.Update(t.Context(), p, client.FieldOwner(row.writer)))
		page := root.open("policies/" + name)
		action := base + "policies/" + name + "/edit"
		form := entered(t, root.open("policies/"+name+"/edit"), action)
		form.Set("priority", "12")
		review := root.submit("policies/"+name+"/edit", form)
		require.Equal(t, http.StatusOK, review.Code)
		assert.Contains(t, textOf(t, review), "priority: 12", "the YAML to commit")
		form = entered(t, review, action)
		form.Set("act", "save")
		form.Set("reason", "a test")
		saved := root.submit("policies/"+name+"/edit", form)
		version := decode(t, h.call("root", http.MethodGet, "api/v1/policies/"+name, ""))["version"]
		wish := fmt.Sprintf(`{"version": %q, "reason": "a test", "spec": {"priority": 13}}`, version)
		tried := h.call("root", http.MethodPatch, "api/v1/policies/"+name, wish[:len(wish)-1]+`, "dry_run": true}`)
		assert.Equal(t, http.StatusOK, tried.Code, "%s", tried.Body)
		changed := h.call("root", http.MethodPatch, "api/v1/policies/"+name, wish)
		if row.tool == "" {
			assert.Equal(t, http.StatusSeeOther, saved.Code, name)
			assert.NotContains(t, textOf(t, page), "manages this policy")
			continue
		}
		assert.Contains(t, textOf(t, page), row.tool+" manages this policy")
		assert.NotContains(t, page.Body.String(), "/delete", "no way there")
		assert.NotContains(t, review.Body.String(), `value="save"`)
		assert.Equal(t, http.StatusConflict, saved.Code)
		assert.Equal(t, "managed", kindOf(t, changed))
		assert.Equal(t, "managed", kindOf(t, h.call("root", http.MethodPost, "api/v1/policies/"+name+"/delete", fmt.Sprintf(`{"version": %q, "reason": "a test"}`, version))))
		h.read(name, p)
		assert.EqualValues(t, 11, p.Spec.Priority, name)
	}
}

func TestDeletingAPolicy(t *testing.T) {
	h := newHarnessOfAlice(t)
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "jupyter-bob"}}
	nb.Spec.User, nb.Spec.Gateway = "bob", &corev1.ObjectReference{Name: "default"}
	nb.Spec.KernelOptions = &v1alpha1.KernelOptions{Policies: []string{"research"}}
	h.create(nb)
	h.policy("other", "researchers", "nobody")
	root := h.signIn("root")
	page := root.open("policies/research/delete")
	text := textOf(t, page)
	assert.Contains(t, text, "Servers: 1, kernels: 0, of bob.")
	assert.Contains(t, text, "researchers 2 other", "the group's members, and who else names it")
	assert.Contains(t, text, "Whom no other policy names gets no server.")
	form := entered(t, page, base+"policies/research/delete")
	assert.Equal(t, http.StatusUnprocessableEntity, root.submit("policies/research/delete", form).Code)
	form.Set("reason", "not needed")
	p := &v1alpha1.GroupPolicy{ObjectMeta: metav1.ObjectMeta{Name: "research", Namespace: h.namespace}}
	require.NoError(t, h.api.Patch(t.Context(), p, client.RawPatch(types.MergePatchType, []byte(`{"spec": {"priority": 99}}`))))
	assert.Equal(t, http.StatusConflict, root.submit("policies/research/delete", form).Code, "it is another by now")
	form = entered(t, root.open("policies/research/delete"), base+"policies/research/delete")
	form.Set("reason", "not needed")
	require.NoError(t, h.api.Status().Patch(t.Context(), p, client.RawPatch(types.MergePatchType, []byte(`{"status": {"servers": 5}}`))))
	done := root.submit("policies/research/delete", form)
	require.Equal(t, http.StatusSeeOther, done.Code, "%s", done.Body)
	assert.True(t, strings.HasSuffix(done.Header().Get("Location"), "policies?done=policy-deleted"))
	assert.Error(t, h.api.Get(t.Context(), client.ObjectKeyFromObject(p), p))
	assert.Contains(t, h.log.String(), `"action":"PolicyDeleted"`)

	version := decode(t, h.call("root", http.MethodGet, "api/v1/policies/other", ""))["version"]
	body := fmt.Sprintf(`{"version": %q, "reason": "x"}`, version)
	assert.Equal(t, "conflict", kindOf(t, h.call("root", http.MethodPost, "api/v1/policies/other/delete", `{"version": "x", "reason": "x"}`)))
	assert.Equal(t, http.StatusNoContent, h.call("root", http.MethodPost, "api/v1/policies/other/delete", body).Code)
	assert.Equal(t, "not-found", kindOf(t, h.call("root", http.MethodPost, "api/v1/policies/other/delete", body)))
}

func TestThePoliciesOfTheAPI(t *testing.T) {
	h := newHarnessOfAlice(t)
	whole := decode(t, h.call("root", http.MethodGet, "api/v1/policies/research", ""))
	version := whole["version"].(string)
	patch := func(body string) *httptest.ResponseRecorder {
		return h.call("root", http.MethodPatch, "api/v1/policies/research", body)
	}
	tried := patch(fmt.Sprintf(`{"version": %q, "reason": "r", "spec": {"helpText": "Hello", "nodeSelector": null}, "dry_run": true}`, version))
	require.Equal(t, http.StatusOK, tried.Code, "%s", tried.Body)
	var answer struct {
		Changes []map[string]string `json:"changes"`
	}
	require.NoError(t, json.Unmarshal(tried.Body.Bytes(), &answer))
	assert.Equal(t, []map[string]string{{"field": "helpText", "new": "Hello"}, {"field": `nodeSelector."example.org/pool"`, "old": "notebooks"}}, answer.Changes)
	assert.Equal(t, "reason-required", kindOf(t, patch(fmt.Sprintf(`{"version": %q, "reason": " ", "spec": {}}`, version))))
	assert.Equal(t, "conflict", kindOf(t, patch(`{"version": "other", "reason": "r", "spec": {"priority": 3}}`)))
	assert.Equal(t, "malformed", kindOf(t, patch(fmt.Sprintf(`{"version": %q, "reason": "r", "spec": null}`, version))))
	invalid := patch(fmt.Sprintf(`{"version": %q, "reason": "r", "spec": {"kernels": {"gpuPool": 1}}}`, version))
	assert.Equal(t, http.StatusUnprocessableEntity, invalid.Code)
	assert.Equal(t, "invalid-policy", kindOf(t, invalid))
	assert.Contains(t, invalid.Body.String(), `"field":"spec.kernels.gpusPerUser"`)
	done := patch(fmt.Sprintf(`{"version": %q, "reason": "r", "spec": {"priority": 3}}`, version))
	require.Equal(t, http.StatusOK, done.Code, "%s", done.Body)
	assert.Equal(t, "conflict", kindOf(t, patch(fmt.Sprintf(`{"version": %q, "reason": "r", "spec": {"priority": 4}}`, version))), "that version is over")

	spec, err := json.Marshal(whole["spec"])
	require.NoError(t, err)
	made := h.call("root", http.MethodPost, "api/v1/policies", fmt.Sprintf(`{"name": "copy", "reason": "r", "spec": %s}`, spec))
	require.Equal(t, http.StatusOK, made.Code, "%s", made.Body)
	twice := h.call("root", http.MethodPost, "api/v1/policies", fmt.Sprintf(`{"name": "copy", "reason": "r", "spec": %s}`, spec))
	assert.Equal(t, "invalid-policy", kindOf(t, twice))
	assert.Contains(t, twice.Body.String(), `"field":"metadata.name"`)
	affected := decode(t, h.call("root", http.MethodGet, "api/v1/policies/copy/affected", ""))
	assert.Equal(t, []any{map[string]any{"group": "researchers", "members": 2.0, "others": []any{"research"}}}, affected["groups"])

	for _, name := range []string{"a%25b", "a%2Fb", "x", "%27%C2%AA%25"} {
		for _, path := range []string{"policies/", "servers/", "kernels/"} {
			assert.Equal(t, "not-found", kindOf(t, h.call("root", http.MethodGet, "api/v1/"+path+name, "")), path+name)
		}
	}

	closed := newHarnessOfAlice(t, func(c *portal.Config) { c.Policies.Edit = false })
	root := closed.signIn("root")
	assert.NotContains(t, root.open("policies").Body.String(), "newpolicy")
	assert.NotContains(t, root.open("policies/research").Body.String(), "/edit")
	for _, path := range []string{"newpolicy", editPath, "policies/research/delete"} {
		assert.Equal(t, http.StatusForbidden, root.open(path).Code, path)
		assert.Equal(t, http.StatusForbidden, root.submit(path, url.Values{"csrf": {root.csrf}}).Code, path)
	}
	assert.Equal(t, "read-only", kindOf(t, closed.call("root", http.MethodPost, "api/v1/policies", `{"name": "x", "reason": "r", "spec": {}}`)))
	assert.Equal(t, "read-only", kindOf(t, closed.call("root", http.MethodPatch, "api/v1/policies/research", `{"version": "x", "reason": "r", "spec": {}}`)))
	assert.Equal(t, "read-only", kindOf(t, closed.call("root", http.MethodPost, "api/v1/policies/research/delete", `{"version": "x", "reason": "r"}`)))
}

// TestFieldsOfALaterRelease are neither shown wrongly nor lost.
func TestFieldsOfALaterRelease(t *testing.T) {
	h := newHarnessOfAlice(t)
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("GroupPolicy"))
	o.SetName("research")
	o.SetNamespace(h.namespace)
	// Affinity has fields that this release's Go types may lack; annotations and others' fields stay, too.
	require.NoError(t, h.api.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(
		`{"metadata": {"annotations": {"example.org/note": "stays"}, "finalizers": ["example.org/stays"]}, "spec": {"snoozeMaxSeconds": 60, "cpu": {"min": 1}}}`))))
	root := h.signIn("root")
	form := entered(t, root.open(editPath), editAction)
	assert.Contains(t, form.Get("rest"), "snoozeMaxSeconds: 60")
	form.Set("displayName", "Research")
	form.Set("act", "save")
	form.Set("reason", "a name")
	require.Equal(t, http.StatusSeeOther, root.submit(editPath, form).Code)
	require.NoError(t, h.api.Get(t.Context(), client.ObjectKeyFromObject(o), o))
	least, _, err := unstructured.NestedFieldNoCopy(o.Object, "spec", "cpu", "min")
	require.NoError(t, err)
	assert.EqualValues(t, int64(1), least, "a number stays one")
	assert.Equal(t, "stays", o.GetAnnotations()["example.org/note"])
	assert.Equal(t, []string{"example.org/stays"}, o.GetFinalizers())
}

func TestGroupsOfTheDirectory(t *testing.T) {
	h := newHarnessOfAlice(t)
	root := h.signIn("root")
	all := textOf(t, root.open("directory"))
	assert.Contains(t, all, "analysts cn=analysts,dc=example 7 members no policy")
	assert.Contains(t, all, "researchers cn=researchers,dc=example 2 members research")
	without := textOf(t, root.open("directory?of=unnamed"))
	assert.Contains(t, without, "analysts")
	assert.NotContains(t, without, "cn=researchers")
	items := decode(t, h.call("root", http.MethodGet, "api/v1/directory/groups?q=ana", ""))["items"].([]any)
	require.Len(t, items, 1)
	assert.Equal(t, map[string]any{"name": "analysts", "dn": "cn=analysts,dc=example", "members": 7.0, "entry": "analysts", "policies": []any{}}, items[0])
	h.listing.more = true
	assert.Contains(t, root.open("directory").Body.String(), "There are more.")
	assert.Contains(t, root.open("directory/pick?q=ana").Body.String(), `value="cn=analysts,dc=example"`, "there may be another of the name")
	h.listing.fault = groups.ErrUnavailable
	assert.Contains(t, root.open("directory").Body.String(), "does not answer")
	assert.Equal(t, http.StatusOK, root.open("policies/research").Code, "members are not counted, that is all")
	assert.Equal(t, "directory-unavailable", kindOf(t, h.call("root", http.MethodGet, "api/v1/directory/groups", "")))
	for _, query := range []string{"?x=1", "?q=a&q=b", "?q=" + strings.Repeat("x", 257), "?q=%ff", "?q=%00"} {
		assert.Equal(t, "malformed", kindOf(t, h.call("root", http.MethodGet, "api/v1/directory/groups"+query, "")), query)
	}
}

func TestExplainingAUser(t *testing.T) {
	h := newHarnessOfAlice(t)
	h.policy("lower", "researchers")
	root := h.signIn("root")
	text := textOf(t, root.open("explain?user=bob"))
	for _, part := range []string{"researchers", "counts: it has the highest priority", "does not count: lower comes first", "cpu.max 4 lower", "The form as bob sees it"} {
		assert.Contains(t, text, part)
	}
	assert.Contains(t, root.open("explain?user=bob").Body.String(), `<fieldset class="preview" disabled>`)
	assert.Contains(t, root.open("explain?user=bob", "Accept-Language", "ru").Body.String(), "действует: у неё наивысший приоритет")
	assert.Contains(t, textOf(t, root.open("explain?user=nobody")), "nobody cannot start a server: The directory does not know this user.")
	assert.Contains(t, textOf(t, root.open("explain?user=batch")), "batch cannot start a server: No policy allows")
	e := decode(t, h.call("root", http.MethodGet, "api/v1/users/bob/explanation", ""))
	assert.NotContains(t, e, "fault")
	assert.Len(t, e["policies"], 2)
	assert.Contains(t, e["values"], map[string]any{"field": "cpu.max", "value": "4", "from": []any{"lower"}})
	assert.Equal(t, "unknown-user", decode(t, h.call("root", http.MethodGet, "api/v1/users/nobody/explanation", ""))["fault"])
}

// TestHostileNamesOfPolicies: what others have named is text here, too.
func TestHostileNamesOfPolicies(t *testing.T) {
	h := newHarness(t)
	const evil = `</textarea><script>alert(1)</script>`
	p := h.policy("evil", "x"+evil)
	before := p.DeepCopy()
	p.Spec.DisplayName, p.Spec.HelpText, p.Spec.Images[0].DisplayName = evil, evil, evil
	p.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": evil}
	require.NoError(t, h.api.Patch(t.Context(), p, client.MergeFrom(before)))
	h.listing.groups = []groups.ListedGroup{{Group: groups.Group{Name: evil, DN: "cn=" + evil}, Members: 1}}
	root := h.signIn("root")
	pages := map[string]*httptest.ResponseRecorder{"explain": root.open("explain?user=" + url.QueryEscape(evil))}
	for _, path := range []string{"policies", "policies/evil", "policies/evil/edit", "policies/evil/delete", "newpolicy?copy=evil", "directory", "directory/pick?q=s", "directory?q=" + url.QueryEscape(evil)} {
		pages[path] = root.open(path)
	}
	form := entered(t, pages["policies/evil/edit"], base+"policies/evil/edit")
	assert.Equal(t, evil, form.Get("helpText"))
	form.Set("helpText", "two"+evil)
	form.Set("find", evil)
	form.Set("reason", evil)
	pages["review"] = root.submit("policies/evil/edit", form)
	form.Set("act", "find")
	pages["find"] = root.submit("policies/evil/edit", form)
	form.Set("act", "")
	form.Set("cpu.max", evil)
	pages["fault"] = root.submit("policies/evil/edit", form)
	for name, w := range pages {
		assert.Less(t, w.Code, 500, name)
		assert.NotContains(t, w.Body.String(), evil, name)
		assert.Contains(t, w.Body.String(), "&lt;script&gt;", name)
	}
}

// TestWritesBesideTheControllers: what they write into the status between our read and
// our write is no conflict; what somebody writes into the spec is one.
func TestWritesBesideTheControllers(t *testing.T) {
	h := newHarnessOfAlice(t)
	p := &v1alpha1.GroupPolicy{ObjectMeta: metav1.ObjectMeta{Name: "research", Namespace: h.namespace}}
	version := func() any {
		return decode(t, h.call("root", http.MethodGet, "api/v1/policies/research", ""))["version"]
	}
	servers := 0
	status := func() {
		servers++
		body := fmt.Sprintf(`{"status": {"servers": %d}}`, servers)
		require.NoError(t, h.api.Status().Patch(t.Context(), p, client.RawPatch(types.MergePatchType, []byte(body))))
	}
	spec := func() {
		require.NoError(t, h.api.Patch(t.Context(), p, client.RawPatch(types.MergePatchType, []byte(`{"spec": {"helpText": "theirs"}}`))))
	}
	change := func() *httptest.ResponseRecorder {
		return h.call("root", http.MethodPatch, "api/v1/policies/research", fmt.Sprintf(`{"version": %q, "reason": "r", "spec": {"priority": %d}}`, version(), 20+servers))
	}
	remove := func() *httptest.ResponseRecorder {
		return h.call("root", http.MethodPost, "api/v1/policies/research/delete", fmt.Sprintf(`{"version": %q, "reason": "r"}`, version()))
	}
	during := func(of func() *httptest.ResponseRecorder, happens func()) *httptest.ResponseRecorder {
		h.afterRead = func() { h.afterRead = happens } // after the read of the version
		w := of()
		require.Nil(t, h.afterRead, "it happened")
		return w
	}
	require.Equal(t, http.StatusOK, during(change, status).Code)
	assert.Equal(t, "conflict", kindOf(t, during(change, spec)))
	assert.Equal(t, "conflict", kindOf(t, during(remove, func() {
		require.NoError(t, h.api.Patch(t.Context(), p, client.RawPatch(types.MergePatchType, []byte(`{"spec": {"helpText": "theirs again"}}`))))
	})))
	require.Equal(t, http.StatusNoContent, during(remove, status).Code)
}
