package spawner

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// TestAServerRunsAsTheAccountOfItsPolicy, if its owner has named that, and never with
// a token of it.
func TestAServerRunsAsTheAccountOfItsPolicy(t *testing.T) {
	c, s := people(t)
	start := func(id string) {
		req := testRequest("alice", "", id)
		req.ServiceAccountName, req.ServersPerUser = "bucket", 1
		_, err := s.Start(t.Context(), req)
		require.NoError(t, err)
	}
	refused := func(id, says string) {
		c.notebook("jupyter-alice", func(nb *v1alpha1.JupyterNotebook) bool { // the status of the former start is there for a moment
			return nb.Spec.Start == id && nb.Status.Phase == v1alpha1.NotebookFailed &&
				nb.Status.Reason == string(ReasonAccountRefused) && strings.Contains(nb.Status.Message, says)
		})
	}
	start("s1")
	refused("s1", "bucket, which the policy ml names, does not exist")

	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "bucket", Annotations: map[string]string{v1alpha1.AnnotationForPolicies: "staff, ml-other"}}}
	require.NoError(t, c.client.Create(t.Context(), account))
	start("s2")
	refused("s2", "is not for the policy ml")

	change(c, "bucket", account, func(a *corev1.ServiceAccount) { a.Annotations[v1alpha1.AnnotationForPolicies] = "staff, ml" })
	start("s3")
	pod := c.deployment("jupyter-alice", "s3", 1).Spec.Template.Spec
	assert.Equal(t, "bucket", pod.ServiceAccountName)
	assert.False(t, *pod.AutomountServiceAccountToken)

	// Nobody but a policy gives an account: not a template by itself.
	nb := requested(testRequest("bob", "", "s1"))
	nb.Spec.Template.Spec.ServiceAccountName, nb.Spec.KernelOptions = "bucket", nil
	require.NotNil(t, refuse(nb))
	assert.Empty(t, podTemplate(c.cfg, nb, "").Spec.ServiceAccountName)
}
