package spawner

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// TestTokenOfAFormerRelease: what it has built finds its token where it looks for it, until the
// next start, which has it elsewhere.
func TestTokenOfAFormerRelease(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	s := c.replica(false)
	req := testRequest("alice", "", "s1")
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	const name, apart = "jupyter-alice", "jupyter-alice-gateway"
	nb := &v1alpha1.JupyterNotebook{}
	require.NoError(t, c.get(name, nb))
	former := deployment(c.cfg, nb, "", tokenAlone(nb))
	require.NoError(t, c.client.Create(t.Context(), former))
	require.NoError(t, c.client.Create(t.Context(), gatewaySecret(nb, "signed")))
	pod := c.pod(former)
	lead := c.replica(true)
	verifies := func() bool {
		var secret corev1.Secret
		if c.get(apart, &secret) != nil {
			return false
		}
		identity, err := publicVerifier(t, c.issuer).Verify(string(secret.Data[tokenKey]))
		return err == nil && identity.Start == "s1"
	}
	c.eventually("its Pod has not begun", verifies)
	c.ready(pod)
	c.phase(lead, req.Key, v1alpha1.NotebookReady)
	require.NoError(t, c.client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: apart}}))
	c.end(pod)
	c.eventually("its next Pod finds it", verifies)

	req.Start = "s2"
	_, err = s.Start(t.Context(), req)
	require.NoError(t, err)
	d := c.deployment(name, "s2", 1)
	c.eventually("nothing is left of it", func() bool { return apierrors.IsNotFound(c.get(apart, &corev1.Secret{})) })
	require.NoError(t, c.get(name, nb))
	assert.Equal(t, secretKey(name+envSecretSuffix, envGatewayToken), tokenOf(d, nb))
	var env corev1.Secret
	require.NoError(t, c.get(name+envSecretSuffix, &env))
	identity, err := publicVerifier(t, c.issuer).Verify(string(env.Data[envGatewayToken]))
	require.NoError(t, err)
	assert.Equal(t, "s2", identity.Start)

	// Somebody's own Secret is given no token.
	own := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "own"}, Data: map[string][]byte{"A": []byte("b")}}
	require.NoError(t, c.client.Create(t.Context(), own))
	theirs := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "n1"}}
	theirs.Spec.Gateway, theirs.Spec.EnvSecret = &corev1.ObjectReference{Name: "default"}, "own"
	theirs.Spec.Template = &v1alpha1.PodTemplate{}
	theirs.Spec.Template.Spec.Containers = []corev1.Container{{Name: "notebook", Image: "notebook:1"}}
	require.NoError(t, c.client.Create(t.Context(), theirs))
	assert.Equal(t, tokenAlone(theirs), tokenOf(c.deployment("n1", "", 1), theirs))
	require.NoError(t, c.get("own", own))
	assert.Equal(t, map[string][]byte{"A": []byte("b")}, own.Data)
	require.NoError(t, c.get("n1"+gatewaySecretSuffix, &corev1.Secret{}))
}
