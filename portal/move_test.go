package portal_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/holdings"
)

// TestMoveInTheQueue: administrators move what waits, with a reason that its owner reads.
func TestMoveInTheQueue(t *testing.T) {
	h := newHarness(t)
	for i, name := range []string{"k-1", "k-2"} {
		h.kernel(name, "bob", "jupyter-bob", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelQueued, Queue: &v1alpha1.QueueStatus{Position: int32(i + 1), Length: 2}})
	}
	h.kernel("k-runs", "bob", "jupyter-bob", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady})
	ask := func(user, name, body string) string {
		w := h.call(user, http.MethodPost, "api/v1/kernels/"+name+"/move", body)
		if w.Code == http.StatusAccepted {
			return ""
		}
		return kindOf(t, w)
	}
	const first = `{"to": "first", "reason": "a <b>talk</b> at noon"}`
	assert.Equal(t, "no-administrator", ask("bob", "k-2", first))
	assert.Equal(t, "not-found", ask("root", "k-none", first))
	assert.Equal(t, "not-waiting", ask("root", "k-runs", first))
	assert.Equal(t, "reason-required", ask("root", "k-2", `{"to": "first", "reason": " "}`))
	for _, body := range []string{`{"to": "second", "reason": "x"}`, `{"reason": "x"}`, `{"to": 1, "reason": "x"}`, `{"to": "first", "reason": "x", "force": true}`} {
		assert.Equal(t, "malformed", ask("root", "k-2", body), body)
	}
	require.Empty(t, ask("root", "k-2", first))
	var k v1alpha1.JupyterKernel
	h.read("k-2", &k)
	assert.EqualValues(t, 1, k.Spec.QueuePriority)
	assert.Equal(t, &v1alpha1.KernelQueueMove{Run: 1, By: "root", Reason: "a <b>talk</b> at noon"}, k.Spec.QueueMove)
	own := rowsOf[holdings.Kernel](t, h.call("bob", http.MethodGet, "api/v1/me/kernels", "").Body.Bytes())
	assert.Equal(t, &holdings.Moved{To: "first", By: "root", Reason: "a <b>talk</b> at noon"}, own[1].Moved)
	page := h.signIn("bob").open("").Body.String()
	assert.Contains(t, page, "moved it to the front of the queue")
	assert.Contains(t, page, "root: a &lt;b&gt;talk&lt;/b&gt; at noon")
	assert.NotContains(t, page, "/move", "it is not for him to move")
	assert.Contains(t, h.log.String(), `"action":"MoveRequested"`)
	assert.Contains(t, h.log.String(), `"to":"first"`)
	var events corev1.EventList
	require.NoError(t, h.api.List(t.Context(), &events, client.InNamespace(h.namespace)))
	require.Len(t, events.Items, 1)
	assert.Equal(t, "Asked for by root: a <b>talk</b> at noon", events.Items[0].Message)

	root := h.signIn("root")
	form := formOf(t, root.open("cluster"), base+"kernels/k-1/move")
	form.Set("to", "first")
	form.Set("reason", "no, this one")
	done := root.submit("kernels/k-1/move", form)
	assert.Equal(t, base+"cluster?done=move", done.Header().Get("Location"), "%s", done.Body)
	h.read("k-1", &k)
	assert.EqualValues(t, 2, k.Spec.QueuePriority, "ahead of who was moved before")
	form = formOf(t, root.open("kernels/k-1"), base+"kernels/k-1/move")
	form.Set("to", "turn")
	form.Set("reason", "after all not")
	require.Equal(t, http.StatusSeeOther, root.submit("kernels/k-1/move", form).Code)
	k = v1alpha1.JupyterKernel{}
	h.read("k-1", &k)
	assert.Zero(t, k.Spec.QueuePriority)
	assert.Nil(t, k.Spec.QueueMove)
}
