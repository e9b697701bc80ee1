package spawner

import (
	"bytes"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/tokens"
)

func seedOf(n byte) []byte { return bytes.Repeat([]byte{n}, ed25519.SeedSize) }

// TestTokensAreSignedAnewWhileServersRun: with another key every running server's Secret has a
// token of it at once, also if the leader has changed meanwhile; no Pod is replaced, and what
// elastichub itself asks servers with goes on, since those have read it when they began.
func TestTokensAreSignedAnewWhileServersRun(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.gateway("default")
	require.NoError(t, c.issuer.Replace(tokens.Seeds{Current: seedOf(1)}))
	s := c.replica(false)
	stop := c.leader()
	req := testRequest("alice", "", "s1")
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	hub := c.deployment("jupyter-alice", "s1", 1)
	c.ready(c.pod(hub))
	c.notebook("jupyter-alice", inPhase(v1alpha1.NotebookReady))
	nb, plain := c.plain("n1")

	for _, pod := range []corev1.PodSpec{hub.Spec.Template.Spec, plain.Spec.Template.Spec} {
		var file string
		for _, variable := range pod.Containers[0].Env {
			if variable.Name == envTokenFile {
				file = variable.Value
			}
		}
		assert.Equal(t, "/etc/elastichub/gateway/token", file)
		var mounted bool
		for _, volume := range pod.Volumes {
			mounted = mounted || volume.Name == v1alpha1.VolumeGatewayToken && volume.Secret != nil
		}
		assert.True(t, mounted)
	}
	var auth corev1.Secret
	require.NoError(t, c.get("n1"+authSecretSuffix, &auth))
	access := string(auth.Data[accessTokenFile])

	signed := func(seed byte) bool {
		issuer, err := tokens.NewIssuer(seedOf(seed))
		require.NoError(t, err)
		verifier, err := tokens.NewVerifier(issuer.PublicKey())
		require.NoError(t, err)
		for name, key := range map[string]string{"jupyter-alice" + envSecretSuffix: envGatewayToken, "n1" + gatewaySecretSuffix: tokenKey} {
			var secret corev1.Secret
			if c.get(name, &secret) != nil {
				return false
			}
			if _, err := verifier.Verify(string(secret.Data[key])); err != nil {
				return false
			}
		}
		return true
	}
	require.True(t, signed(1))
	require.NoError(t, c.issuer.Replace(tokens.Seeds{Current: seedOf(2), Former: seedOf(1), FormerUntil: time.Now().Add(time.Hour)}))
	c.eventually("signed by another key", func() bool { return signed(2) })

	stop()
	require.NoError(t, c.issuer.Replace(tokens.Seeds{Current: seedOf(3), Former: seedOf(1), FormerUntil: time.Now().Add(time.Hour)}))
	c.leader()
	c.eventually("signed by a key that changed while nobody led", func() bool { return signed(3) })

	require.NoError(t, c.get("n1"+authSecretSuffix, &auth))
	assert.Equal(t, access, string(auth.Data[accessTokenFile]), "the server has read it already")
	ctl := &controller{cfg: c.cfg, client: c.client, live: c.client, issuer: c.issuer}
	_, asked, err := ctl.access(t.Context(), nb)
	require.NoError(t, err)
	assert.Equal(t, access, asked)
	for name, before := range map[string]int64{"jupyter-alice": hub.Generation, "n1": plain.Generation} {
		start := ""
		if name != "n1" {
			start = "s1"
		}
		assert.Equal(t, before, c.deployment(name, start, 1).Generation, "no Pod is replaced")
	}
}
