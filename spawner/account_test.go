package spawner

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
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

	// Tokens are for whom the owner names besides, and never for the Kubernetes API.
	tokens := func(user, id, account, audience string) {
		req := testRequest(user, "", id)
		req.ServiceAccountName, req.ServersPerUser = account, 1
		req.ServiceAccountTokens = []v1alpha1.ServiceAccountToken{{Audience: audience, Path: "cloud"}}
		_, err := s.Start(t.Context(), req)
		require.NoError(t, err)
	}
	tokens("alice", "s4", "bucket", "sts.amazonaws.com")
	refused("s4", "bucket gives no token for the audience sts.amazonaws.com: its owner has not named that in the annotation elastichub.io/token-audiences")
	change(c, "bucket", account, func(a *corev1.ServiceAccount) {
		a.Annotations[v1alpha1.AnnotationTokenAudiences] = "vault, sts.amazonaws.com, https://issuer.test"
	})
	tokens("alice", "s5", "bucket", "https://issuer.test")
	refused("s5", "spec.serviceAccountTokens[0].audience: is the Kubernetes API itself")
	tokens("alice", "s6", "bucket", "sts.amazonaws.com")
	pod = c.deployment("jupyter-alice", "s6", 1).Spec.Template.Spec
	assert.False(t, *pod.AutomountServiceAccountToken)
	i := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == podrules.AccountTokenVolume })
	require.GreaterOrEqual(t, i, 0)
	assert.Equal(t, "sts.amazonaws.com", pod.Volumes[i].Projected.Sources[0].ServiceAccountToken.Audience)

	// That of the name default is no exception.
	tokens("alice", "s7", "default", "sts.amazonaws.com")
	refused("s7", "default, which the policy ml names, does not exist") // no controller makes it here

	// Nobody but a policy gives an account: not a template by itself.
	nb := requested(testRequest("bob", "", "s1"))
	nb.Spec.Template.Spec.ServiceAccountName, nb.Spec.KernelOptions = "bucket", nil
	require.NotNil(t, refuse(nb))
	assert.Empty(t, podTemplate(c.cfg, nb, "", tokenAlone(nb)).Spec.ServiceAccountName)
	nb.Spec.Template.Spec.ServiceAccountName, nb.Spec.ServiceAccountTokens = "", []v1alpha1.ServiceAccountToken{{Audience: "vault", Path: "vault"}}
	why, err := accountRefusal(t.Context(), c.cfg, c.client, nb)
	require.NoError(t, err)
	require.NotNil(t, why)
	assert.Contains(t, why.message, "no policy gives an account")
}
