package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/spawner/orphans"
)

func TestOrphansAreListed(t *testing.T) {
	t.Parallel()
	of := func(name, user, server string, reason orphans.Reason, conditions ...metav1.Condition) orphans.Orphan {
		nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: name}}
		nb.Spec.User, nb.Spec.Server, nb.Status.Phase, nb.Status.Conditions = user, server, v1alpha1.NotebookReady, conditions
		return orphans.Orphan{Notebook: nb, Reason: reason}
	}
	noted := metav1.Condition{Type: v1alpha1.ConditionOrphan, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))}
	found := []orphans.Orphan{of("jupyter-ann", "ann", "", orphans.UserGone, noted), of("jupyter-bob--gpu", "bob", "gpu", orphans.ServerGone), of("jupyter-cy", "cy", "", orphans.Unclear), of("jupyter-di", "di", "", orphans.ServerStopped, noted)}
	var out bytes.Buffer
	require.NoError(t, writeOrphans(&out, orphans.Remove, 9, found))
	assert.Equal(t, `NAME               USER   SERVER   PHASE   REASON             REMOVED
jupyter-ann        ann             Ready   HubUserGone        noted since 2026-01-02T03:04:05Z
jupyter-bob--gpu   bob    gpu      Ready   HubServerGone      not yet noted
jupyter-cy         cy              Ready   HubUserUnclear     never: decide by hand
jupyter-di         di              Ready   HubServerStopped   stopped only, noted since 2026-01-02T03:04:05Z
4 of 9 notebooks; orphans.mode is remove. Homes stay.
`, out.String())
	out.Reset()
	require.NoError(t, writeOrphans(&out, orphans.Report, 9, found[:1]))
	assert.Contains(t, out.String(), "never: only reported")
	err := listOrphans(t.Context(), defaultServeConfig(), &out)
	assert.ErrorContains(t, err, "hub.apiURL and hub.tokenSecret are not set")
}
