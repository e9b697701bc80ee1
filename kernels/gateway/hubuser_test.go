package gateway

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/tokens"
)

// A name that was freed by a rename does not open what its former holder left.
func TestWhoeverGetsANameGetsNobodysKernels(t *testing.T) {
	w := newWorld(t)
	note := func(notebook, hubUser string) {
		nb := &v1alpha1.JupyterNotebook{}
		require.NoError(t, w.api.Get(context.Background(), types.NamespacedName{Namespace: testNS, Name: notebook}, nb))
		metav1.SetMetaDataLabel(&nb.ObjectMeta, v1alpha1.LabelHubUserID, hubUser)
		require.NoError(t, w.api.Update(context.Background(), nb))
	}
	before := w.start("nb-alice", "python-cpu")
	note("nb-alice", "17")
	noted := w.start("nb-alice", "python-cpu")
	assert.Equal(t, "17", w.kernel(noted).Labels[v1alpha1.LabelHubUserID])
	for _, id := range []string{before, noted} {
		assert.Equal(t, http.StatusOK, w.call("nb-alice", "GET", "/api/kernels/"+id, "").status)
	}

	// Renamed, and started again under the new name: the same notebook has them still.
	nb := &v1alpha1.JupyterNotebook{}
	require.NoError(t, w.api.Get(context.Background(), types.NamespacedName{Namespace: testNS, Name: "nb-alice"}, nb))
	nb.Spec.User = "alicia"
	require.NoError(t, w.api.Update(context.Background(), nb))
	renamed := "Bearer " + w.issue(tokens.Notebook{Namespace: testNS, Name: nb.Name, UID: string(nb.UID), Start: nb.Spec.Start, User: "alicia"})
	assert.Contains(t, string(w.call(renamed, "GET", "/api/kernels", "").body), noted)
	assert.Equal(t, http.StatusOK, w.call(renamed, "GET", "/api/kernels/"+noted, "").status)

	nb = &v1alpha1.JupyterNotebook{}
	require.NoError(t, w.api.Get(context.Background(), types.NamespacedName{Namespace: testNS, Name: "nb-bob"}, nb))
	nb.Spec.User = "alice"
	metav1.SetMetaDataLabel(&nb.ObjectMeta, v1alpha1.LabelHubUserID, "42")
	require.NoError(t, w.api.Update(context.Background(), nb))
	newcomer := "Bearer " + w.issue(tokens.Notebook{Namespace: testNS, Name: nb.Name, UID: string(nb.UID), Start: nb.Spec.Start, User: "alice"})
	assert.Equal(t, "[]", string(w.call(newcomer, "GET", "/api/kernels", "").body))
	for _, id := range []string{before, noted} {
		for _, route := range [][2]string{{"GET", ""}, {"DELETE", ""}, {"POST", "/interrupt"}} {
			assert.Equal(t, http.StatusNotFound, w.call(newcomer, route[0], "/api/kernels/"+id+route[1], "{}").status, route)
		}
	}
}
