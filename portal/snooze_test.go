package portal_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// until is what an object's annotation asks for.
func until(t *testing.T, o client.Object) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, o.GetAnnotations()[v1alpha1.AnnotationSnoozeUntil])
	require.NoError(t, err)
	return at
}

// TestKeepAnotherHour: what is idle is kept for an hour each time, up to the bound of its
// policies, which the refusal names.
func TestKeepAnotherHour(t *testing.T) {
	h := newHarness(t)
	idle := metav1.NewTime(time.Now().Add(-time.Minute).Truncate(time.Second))
	soon := metav1.NewTime(time.Now().Add(time.Minute).Truncate(time.Second))
	ask := func(user, what, body string) string {
		w := h.call(user, http.MethodPost, "api/v1/"+what+"/snooze", body)
		if w.Code == http.StatusAccepted {
			return ""
		}
		return kindOf(t, w)
	}
	policy := &v1alpha1.GroupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "short"}}
	one := v1alpha1.ResourceRange{Min: resource.MustParse("1"), Max: resource.MustParse("1")}
	policy.Spec = v1alpha1.GroupPolicySpec{CPU: one, Memory: one, Groups: []string{"g"}, Images: []v1alpha1.ImageChannel{{ID: "a", Image: "b"}}, SnoozeMaxSeconds: ptr.To[int64](5400)}
	require.NoError(t, h.api.Create(t.Context(), policy))
	k := h.kernel("k", "alice", "jupyter-alice", v1alpha1.JupyterKernelStatus{
		Phase: v1alpha1.KernelReady, Run: 1, IdleSince: &idle, ParkAt: &soon, Policies: []string{"short", "gone"},
	})
	assert.Equal(t, "not-found", ask("bob", "kernels/k", `{}`))
	assert.Equal(t, "reason-required", ask("root", "kernels/k", `{}`))
	require.Empty(t, ask("alice", "kernels/k", `{}`))
	h.read("k", k)
	assert.WithinDuration(t, time.Now().Add(time.Hour), until(t, k), 10*time.Second)
	// As the leader grants it.
	k.Status.SnoozedUntil, k.Status.SnoozedSeconds = &metav1.Time{Time: until(t, k)}, 3600
	k.Status.ParkAt = k.Status.SnoozedUntil
	require.NoError(t, h.api.Status().Update(t.Context(), k))
	require.Empty(t, ask("root", "kernels/k", `{"reason": "It is needed for the talk"}`))
	h.read("k", k)
	assert.Equal(t, 30*time.Minute, until(t, k).Sub(k.Status.SnoozedUntil.Time), "what is left")
	k.Status.SnoozedUntil, k.Status.SnoozedSeconds = &metav1.Time{Time: until(t, k)}, 5400
	require.NoError(t, h.api.Status().Update(t.Context(), k))
	w := h.call("alice", http.MethodPost, "api/v1/kernels/k/snooze", `{}`)
	assert.Equal(t, "snooze-used-up", kindOf(t, w))
	assert.Contains(t, w.Body.String(), "for 1h30m0s of a run")
	assert.Contains(t, h.log.String(), `"action":"SnoozeRequested"`)

	alice := h.signIn("alice")
	page := alice.open("kernels/k")
	assert.Contains(t, page.Body.String(), "Kept by hand for another 89")
	refused := alice.submit("kernels/k/snooze", formOf(t, page, base+"kernels/k/snooze"))
	assert.Equal(t, http.StatusConflict, refused.Code)
	assert.Contains(t, refused.Body.String(), "kept by hand for 90")

	nb := h.server("jupyter-alice", "alice", v1alpha1.JupyterNotebookStatus{Phase: v1alpha1.NotebookReady, StopEligibleAt: &soon, StopCause: v1alpha1.StopIdle})
	assert.Equal(t, "nothing-to-keep", ask("alice", "servers/jupyter-alice", `{}`), "nothing stops it")
	before := nb.DeepCopy()
	nb.Spec.IdleStop = &v1alpha1.IdleStop{Seconds: new(int64(60))}
	require.NoError(t, h.api.Patch(t.Context(), nb, client.MergeFrom(before)))
	done := alice.submit("servers/jupyter-alice/snooze", formOf(t, alice.open(""), base+"servers/jupyter-alice/snooze"))
	assert.Equal(t, base+"?done=snooze", done.Header().Get("Location"), "%s", done.Body)
	assert.Contains(t, alice.open("?done=snooze").Body.String(), "It is kept for another hour")
	h.read("jupyter-alice", nb)
	assert.WithinDuration(t, time.Now().Add(time.Hour), until(t, nb), 10*time.Second)

	h.kernel("parked", "alice", "jupyter-alice", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelParked})
	assert.Equal(t, "nothing-to-keep", ask("alice", "kernels/parked", `{}`))
}

// TestStartLeadsToTheHub: what a server is to be is asked for there, under its own name.
func TestStartLeadsToTheHub(t *testing.T) {
	h := newHarness(t)
	for name, server := range map[string]string{"jupyter-alice": "", "jupyter-alice--a-b": "a b"} {
		nb := h.server(name, "alice", v1alpha1.JupyterNotebookStatus{Phase: v1alpha1.NotebookStopped})
		before := nb.DeepCopy()
		nb.Spec.Stopped = true
		require.NoError(t, h.api.Patch(t.Context(), nb, client.MergeFrom(before)))
		before = nb.DeepCopy()
		nb.Spec.Server = server // as it may be once it is stopped
		require.NoError(t, h.api.Patch(t.Context(), nb, client.MergeFrom(before)))
	}
	page := h.signIn("alice").open("").Body.String()
	for _, address := range []string{"/hub/spawn/alice", "/hub/spawn/alice/a%20b"} {
		assert.Contains(t, page, `href="`+address+`">Start</a>`)
	}
}
