package portal_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/holdings"
)

func gpus(n string) corev1.ResourceList {
	return corev1.ResourceList{"nvidia.com/gpu": resource.MustParse(n)}
}

func rowsOf[Row any](t *testing.T, body []byte) (all []Row) {
	t.Helper()
	var page struct {
		Items []Row `json:"items"`
	}
	require.NoError(t, json.Unmarshal(body, &page), "%s", body)
	return page.Items
}

func TestOwnThings(t *testing.T) {
	h := newHarnessOfAlice(t)
	h.server("jupyter-bob", "bob", v1alpha1.JupyterNotebookStatus{})
	h.kernel("k-bob", "bob", "jupyter-bob", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelQueued})
	servers := rowsOf[holdings.Server](t, h.call("alice", http.MethodGet, "api/v1/me/servers", "").Body.Bytes())
	require.Len(t, servers, 1)
	assert.Equal(t, "jupyter-alice", servers[0].Name)
	kernels := rowsOf[holdings.Kernel](t, h.call("alice", http.MethodGet, "api/v1/me/kernels", "").Body.Bytes())
	require.Len(t, kernels, 1)
	assert.Equal(t, "k-alice", kernels[0].ID)
	me := decode(t, h.call("alice", http.MethodGet, "api/v1/me", ""))
	assert.Equal(t, map[string]any{"user": "alice", "admin": false}, me)
	assert.Equal(t, true, decode(t, h.call("root", http.MethodGet, "api/v1/me", ""))["admin"])
}

// TestWhatKeepsAServer is told to its owner and to administrators, in the API and on its pages.
func TestWhatKeepsAServer(t *testing.T) {
	h := newHarnessOfAlice(t)
	since := metav1.NewTime(h.now.Add(-time.Hour).Truncate(time.Second))
	h.kernel("k-bob", "bob", "jupyter-bob", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady})
	h.server("jupyter-bob", "bob", v1alpha1.JupyterNotebookStatus{Phase: v1alpha1.NotebookReady, Busy: []v1alpha1.NotebookBusy{
		{Kind: v1alpha1.BusyTerminal, Name: "1 (make)", Since: &since}, {Kind: v1alpha1.BusyKernel, Name: "k-bob"},
	}})
	own := rowsOf[holdings.Server](t, h.call("bob", http.MethodGet, "api/v1/me/servers", "").Body.Bytes())
	require.Len(t, own, 1)
	require.Len(t, own[0].Busy, 2)
	assert.Equal(t, "1 (make)", own[0].Busy[0].Name)
	assert.True(t, own[0].Busy[0].Since.Equal(since.Time))
	assert.Equal(t, holdings.Busy{Kind: v1alpha1.BusyKernel, Name: "k-bob", Title: own[0].Busy[1].Title}, own[0].Busy[1])
	assert.NotEmpty(t, own[0].Busy[1].Title)
	for user, path := range map[string]string{"bob": "", "root": "servers/jupyter-bob"} {
		assert.Contains(t, h.signIn(user).open(path).Body.String(), "Kept by the terminal 1 (make), for 60 minutes.", user)
	}
	for _, s := range rowsOf[holdings.Server](t, h.call("root", http.MethodGet, "api/v1/servers", "").Body.Bytes()) {
		assert.Equal(t, s.Name == "jupyter-bob", len(s.Busy) == 2, s.Name)
	}
}

func TestAServerThatTheHubDoesNotKnowToRun(t *testing.T) {
	h := newHarness(t)
	said := "The server runs, and the Hub says that it is stopped."
	h.server("jupyter-alice", "alice", v1alpha1.JupyterNotebookStatus{Phase: v1alpha1.NotebookReady, Conditions: []metav1.Condition{{
		Type: v1alpha1.ConditionOrphan, Status: metav1.ConditionTrue, Reason: "HubServerStopped", Message: said, LastTransitionTime: metav1.Now(),
	}}})
	rows := rowsOf[holdings.Server](t, h.call("root", http.MethodGet, "api/v1/servers", "").Body.Bytes())
	require.Len(t, rows, 1)
	require.NotNil(t, rows[0].Orphan)
	assert.Equal(t, "HubServerStopped", rows[0].Orphan.Reason)
	root := h.signIn("root")
	assert.Contains(t, root.open("servers").Body.String(), "unknown to the Hub")
	assert.Contains(t, root.open("servers/jupyter-alice").Body.String(), said)
}

func TestRelease(t *testing.T) {
	h := newHarnessOfAlice(t)
	w := h.call("alice", http.MethodPost, "api/v1/kernels/k-alice/release", `{}`)
	require.Equal(t, http.StatusAccepted, w.Code, "%s", w.Body)
	var k v1alpha1.JupyterKernel
	h.read("k-alice", &k)
	assert.Equal(t, &v1alpha1.KernelPark{Run: 1, By: "alice"}, k.Spec.Park)
	assert.True(t, rowsOf[holdings.Kernel](t, h.call("alice", http.MethodGet, "api/v1/me/kernels", "").Body.Bytes())[0].Releasing)

	w = h.call("root", http.MethodPost, "api/v1/kernels/k-alice/release", `{"force": true}`)
	assert.Equal(t, "reason-required", kindOf(t, w))
	w = h.call("root", http.MethodPost, "api/v1/kernels/k-alice/release", `{"force": true, "reason": " The node is needed <b> "}`)
	require.Equal(t, http.StatusAccepted, w.Code, "%s", w.Body)
	h.read("k-alice", &k)
	assert.Equal(t, &v1alpha1.KernelPark{Run: 1, Force: true, By: "root", Reason: "The node is needed <b>"}, k.Spec.Park)
	require.Equal(t, http.StatusAccepted, h.call("alice", http.MethodPost, "api/v1/kernels/k-alice/release", `{}`).Code)
	h.read("k-alice", &k)
	assert.Equal(t, &v1alpha1.KernelPark{Run: 1, By: "alice"}, k.Spec.Park, "nothing of an earlier wish is left")

	require.Equal(t, http.StatusAccepted, h.call("alice", http.MethodPost, "api/v1/kernels/k-alice/release", `{"reason": "two\nlines, a \u001b[2J bell and \u202eback"}`).Code)
	h.read("k-alice", &k)
	assert.Equal(t, "two lines, a  [2J bell and  back", k.Spec.Park.Reason, "one line of what can be read")

	h.kernel("k-parked", "alice", "jupyter-alice", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelParked})
	assert.Equal(t, "not-running", kindOf(t, h.call("alice", http.MethodPost, "api/v1/kernels/k-parked/release", `{}`)))
}

// TestReturn: a kernel of one's own that has no Pod comes back as what it may return as, in one
// change of kernelspec and run.
func TestReturn(t *testing.T) {
	h := newHarnessOfAlice(t)
	h.returns = []holdings.Choice{{Name: "python-gpu", Title: "Python (GPU)", Devices: map[string]int64{"nvidia.com/gpu": 1}}, {Name: "python-cpu", Title: "Python (CPU)"}}
	ask := func(user, body string) string {
		w := h.call(user, http.MethodPost, "api/v1/kernels/k-alice/return", body)
		if w.Code == http.StatusAccepted {
			return ""
		}
		return kindOf(t, w)
	}
	assert.Equal(t, "running", ask("alice", `{"kernelspec": "python-cpu"}`))
	var k v1alpha1.JupyterKernel
	h.read("k-alice", &k)
	k.Status.Phase, k.Status.Kept = v1alpha1.KernelParked, &v1alpha1.KeptState{Outcome: "whole", Run: 1, Variables: 3}
	require.NoError(t, h.api.Status().Update(t.Context(), &k))

	assert.Equal(t, "not-owner", ask("root", `{"kernelspec": "python-cpu"}`))
	assert.Equal(t, "not-found", ask("bob", `{"kernelspec": "python-cpu"}`))
	assert.Equal(t, "not-offered", ask("alice", `{"kernelspec": "r"}`))
	for _, body := range []string{`{}`, `null`, `{"kernelspec": ""}`, `{"kernelspec": null}`, `{"kernelspec": 7}`, `{"kernelspec": "python-cpu", "force": true}`} {
		assert.Equal(t, "malformed", ask("alice", body), body)
	}
	h.read("k-alice", &k)
	assert.Equal(t, []any{"python-gpu", int64(1)}, []any{k.Spec.KernelSpec, k.Spec.Run}, "nothing was asked for")
	own := rowsOf[holdings.Kernel](t, h.call("alice", http.MethodGet, "api/v1/me/kernels", "").Body.Bytes())
	assert.Equal(t, h.returns, own[0].Returns)
	assert.Contains(t, decode(t, h.call("alice", http.MethodGet, "api/v1/kernels/k-alice", "")), "returns")
	assert.NotContains(t, decode(t, h.call("root", http.MethodGet, "api/v1/kernels/k-alice", "")), "returns")

	alice := h.signIn("alice")
	form := formOf(t, alice.open(""), base+"kernels/k-alice/return")
	form.Set("kernelspec", "python-cpu")
	done := alice.submit("kernels/k-alice/return", form)
	assert.Equal(t, base+"?done=return", done.Header().Get("Location"), "%s", done.Body)
	assert.Contains(t, alice.open("?done=return").Body.String(), "The kernel returns")
	h.read("k-alice", &k)
	assert.Equal(t, []any{"python-cpu", int64(2)}, []any{k.Spec.KernelSpec, k.Spec.Run})
	assert.Equal(t, "running", ask("alice", `{"kernelspec": "python-gpu"}`), "it is on its way")
	assert.Contains(t, h.log.String(), `"action":"ReturnRequested"`)

	h.choiceless = true
	k.Status.Run = 2
	require.NoError(t, h.api.Status().Update(t.Context(), &k))
	assert.Equal(t, http.StatusOK, alice.open("").Code, "what is known is told")
	assert.Equal(t, "internal", ask("alice", `{"kernelspec": "python-gpu"}`))
}

func TestShutdown(t *testing.T) {
	h := newHarness(t)
	// By is not to be taken for the notebook server's own request.
	h.kernel("k", "notebook", "jupyter-notebook", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelParked})
	w := h.call("notebook", http.MethodPost, "api/v1/kernels/k/shutdown", `{}`)
	require.Equal(t, http.StatusAccepted, w.Code, "%s", w.Body)
	var k v1alpha1.JupyterKernel
	h.read("k", &k)
	require.NotNil(t, k.Spec.Shutdown)
	assert.NotEqual(t, v1alpha1.ShutdownByNotebook, k.Spec.Shutdown.By)
	assert.Contains(t, k.Spec.Shutdown.By, "notebook")
	assert.WithinDuration(t, h.now, k.Spec.Shutdown.At.Time, time.Second)
	assert.Equal(t, "reason-required", kindOf(t, h.call("root", http.MethodPost, "api/v1/kernels/k/shutdown", `{}`)))
}

func TestStop(t *testing.T) {
	h := newHarness(t)
	for _, row := range []struct{ user, cause string }{{"alice", ""}, {"root", "Admin"}} {
		nb := h.server("jupyter-"+row.user, "alice", v1alpha1.JupyterNotebookStatus{Phase: v1alpha1.NotebookReady})
		before := nb.DeepCopy()
		nb.Annotations = map[string]string{v1alpha1.AnnotationStopCause: "Idle", v1alpha1.AnnotationStopTime: "2020-01-01T00:00:00Z", "other": "stays"}
		require.NoError(t, h.api.Patch(t.Context(), nb, client.MergeFrom(before)))
		w := h.call(row.user, http.MethodPost, "api/v1/servers/"+nb.Name+"/stop", `{"reason": "Maintenance at noon"}`)
		require.Equal(t, http.StatusAccepted, w.Code, "%s", w.Body)
		h.read(nb.Name, nb)
		assert.True(t, nb.Spec.Stopped)
		assert.Equal(t, row.cause, nb.Annotations[v1alpha1.AnnotationStopCause], "an owner's stop has none")
		assert.Equal(t, row.cause != "", nb.Annotations[v1alpha1.AnnotationStopTime] != "")
		assert.Equal(t, "stays", nb.Annotations["other"])
		w = h.call(row.user, http.MethodPost, "api/v1/servers/"+nb.Name+"/stop", `{"reason": "again"}`)
		assert.Equal(t, "not-running", kindOf(t, w))
	}

	// Who, what and why stands in the log and in an Event.
	var events corev1.EventList
	require.NoError(t, h.api.List(t.Context(), &events, client.InNamespace(h.namespace)))
	require.Len(t, events.Items, 2)
	for _, e := range events.Items {
		assert.Equal(t, "StopRequested", e.Reason)
		assert.Equal(t, "JupyterNotebook", e.InvolvedObject.Kind)
		by := strings.TrimPrefix(e.InvolvedObject.Name, "jupyter-")
		assert.Equal(t, "Asked for by "+by+": Maintenance at noon", e.Message)
		assert.Equal(t, "elastichub-console", e.Source.Component)
	}
	for _, part := range []string{`"msg":"audit"`, `"by":"root"`, `"admin":true`, `"action":"StopRequested"`, `"reason":"Maintenance at noon"`, `"outcome":"written"`} {
		assert.Contains(t, h.log.String(), part)
	}
}

func TestClusterOfAdministrators(t *testing.T) {
	h := newHarnessOfAlice(t)
	spec := &v1alpha1.JupyterKernelSpec{ObjectMeta: metav1.ObjectMeta{Name: "python-gpu"}}
	spec.Spec.DisplayName, spec.Spec.Resources = "Python (GPU)", &corev1.ResourceRequirements{Limits: gpus("1")}
	h.create(spec)
	for i, position := range []int32{2, 1} {
		h.kernel(fmt.Sprint("k-waits-", i), "bob", "jupyter-bob", v1alpha1.JupyterKernelStatus{
			Phase: v1alpha1.KernelQueued, Queue: &v1alpha1.QueueStatus{Position: position, Length: 2, Reason: "all 4 are in use"},
		})
	}
	h.kernel("k-holds", "alice", "jupyter-alice", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady, Held: gpus("2"), IdleSince: &metav1.Time{Time: h.now}})

	var o holdings.Overview
	require.NoError(t, json.Unmarshal(h.call("root", http.MethodGet, "api/v1/overview", "").Body.Bytes(), &o))
	four, one := int64(4), int64(1)
	assert.Equal(t, []holdings.Device{{Resource: "nvidia.com/gpu", Total: &four, Free: &one, Held: 2, Idle: 2, Waiting: 2}}, o.Devices)
	h.uncounted = true
	o = holdings.Overview{}
	require.NoError(t, json.Unmarshal(h.call("root", http.MethodGet, "api/v1/overview", "").Body.Bytes(), &o))
	assert.Equal(t, []holdings.Device{{Resource: "nvidia.com/gpu", Held: 2, Idle: 2, Waiting: 2}}, o.Devices, "what is known is told")
	queue := rowsOf[holdings.Kernel](t, h.call("root", http.MethodGet, "api/v1/queue", "").Body.Bytes())
	require.Len(t, queue, 2)
	assert.Equal(t, "k-waits-1", queue[0].ID)
	assert.Equal(t, "all 4 are in use", queue[0].Queue.Reason)

	found := rowsOf[holdings.Kernel](t, h.call("root", http.MethodGet, "api/v1/kernels?user=bob&sort=-phase&limit=1", "").Body.Bytes())
	require.Len(t, found, 1)
	page := decode(t, h.call("root", http.MethodGet, "api/v1/kernels?limit=3", ""))
	assert.Equal(t, 4.0, page["total"])
	rest := decode(t, h.call("root", http.MethodGet, "api/v1/kernels?limit=3&after="+page["next"].(string), ""))
	assert.Len(t, rest["items"], 1)
	assert.NotContains(t, rest, "next")
	assert.Len(t, rowsOf[holdings.Server](t, h.call("root", http.MethodGet, "api/v1/servers?q=ALI", "").Body.Bytes()), 1)
	assert.Len(t, rowsOf[holdings.Policy](t, h.call("root", http.MethodGet, "api/v1/policies", "").Body.Bytes()), 1)
}

func TestWhatHappened(t *testing.T) {
	h := newHarnessOfAlice(t)
	h.call("alice", http.MethodPost, "api/v1/kernels/k-alice/release", `{"reason": "Lunch"}`)
	other := h.kernel("k-other", "bob", "jupyter-bob", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady, PodName: "k-other-1"})
	for i, about := range []corev1.ObjectReference{
		{Kind: "Pod", Namespace: h.namespace, Name: "k-other-1"}, {Kind: "JupyterKernel", Namespace: h.namespace, Name: "k-other", UID: other.UID},
		{Kind: "JupyterKernel", Namespace: h.namespace, Name: "k-other", UID: "of-a-former-one"},
	} {
		h.create(&corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("event-", i)}, InvolvedObject: about, Reason: "Told", Message: fmt.Sprint("told ", i), LastTimestamp: metav1.NewTime(h.now)})
	}
	events := rowsOf[holdings.Event](t, h.call("alice", http.MethodGet, "api/v1/kernels/k-alice/events", "").Body.Bytes())
	require.Len(t, events, 1)
	assert.Equal(t, "Asked for by alice: Lunch", events[0].Message)
	events = rowsOf[holdings.Event](t, h.call("bob", http.MethodGet, "api/v1/kernels/k-other/events", "").Body.Bytes())
	require.Len(t, events, 2)
	for _, e := range events {
		assert.NotEqual(t, "told 2", e.Message)
	}
	assert.Contains(t, h.signIn("alice").open("kernels/k-alice").Body.String(), "Asked for by alice: Lunch")

	nb := h.server("jupyter-bob", "bob", v1alpha1.JupyterNotebookStatus{Progress: []v1alpha1.NotebookProgress{{ID: 1, Message: "The image is pulled.", Time: metav1.NewMicroTime(h.now)}}})
	events = rowsOf[holdings.Event](t, h.call("bob", http.MethodGet, "api/v1/servers/"+nb.Name+"/events", "").Body.Bytes())
	require.Len(t, events, 1)
	assert.Equal(t, "The image is pulled.", events[0].Message)
}
