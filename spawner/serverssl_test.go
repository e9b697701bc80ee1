package spawner

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/internalssl/internalssltest"
)

func TestPodOfAHubWithInternalSSL(t *testing.T) {
	pair := internalssltest.New(t).Pair(t, "jupyter-alice.hub.svc")
	req := testRequest("alice", "", "s1")
	req.SSL = &pair
	req.SecretEnv = []corev1.EnvVar{{Name: envSSLKey, Value: "/elsewhere"}, {Name: "THEIRS", Value: "stays"}}
	nb := requested(req)
	require.Equal(t, "jupyter-alice-ssl", nb.Spec.SSLSecret)
	assert.Equal(t, "https://jupyter-alice.hub.svc:8888", nb.Address())
	assert.Equal(t, "https", service(nb).Spec.Ports[0].Name)
	pod := podTemplate(testConfig(), nb, "", corev1.SecretKeySelector{}).Spec
	env := map[string]string{}
	for _, variable := range pod.Containers[0].Env {
		_, twice := env[variable.Name]
		assert.False(t, twice, variable.Name)
		env[variable.Name] = variable.Value
	}
	assert.Equal(t, "/etc/elastichub/ssl/tls.key", env["JUPYTERHUB_SSL_KEYFILE"])
	assert.Equal(t, "/etc/elastichub/ssl/tls.crt", env["JUPYTERHUB_SSL_CERTFILE"])
	assert.Equal(t, "/etc/elastichub/ssl/ca.crt", env["JUPYTERHUB_SSL_CLIENT_CA"])
	assert.Equal(t, "stays", env["THEIRS"])
	var files []string
	for _, volume := range pod.Volumes {
		if volume.Name == v1alpha1.VolumeSSL {
			assert.Equal(t, "jupyter-alice-ssl", volume.Secret.SecretName)
			for _, item := range volume.Secret.Items {
				files = append(files, item.Path)
			}
		}
	}
	assert.ElementsMatch(t, []string{"tls.key", "tls.crt", "ca.crt"}, files, "elastichub's own key is not for the server")
	assert.Contains(t, pod.Containers[0].VolumeMounts, corev1.VolumeMount{Name: v1alpha1.VolumeSSL, MountPath: "/etc/elastichub/ssl", ReadOnly: true})

	plain := requested(testRequest("alice", "", "s1"))
	assert.Empty(t, plain.Spec.SSLSecret)
	assert.Equal(t, "http://jupyter-alice.hub.svc:8888", plain.Address())
	assert.Equal(t, "http", service(plain).Spec.Ports[0].Name)
}

func TestCertificatesOfAStart(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	s := c.replica(true)
	hub := internalssltest.New(t)
	req := testRequest("alice", "", "s1")
	host, err := s.Host(t.Context(), req.Key, nil)
	require.NoError(t, err, "before there is the server")
	require.Equal(t, "jupyter-alice."+c.namespace+".svc", host)
	other, pair := hub.Pair(t, "jupyter-bob."+c.namespace+".svc"), hub.Pair(t, host)
	req.SSL = &other
	_, err = s.Start(t.Context(), req)
	require.ErrorIs(t, err, ErrOtherHost)
	require.True(t, apierrors.IsNotFound(c.get("jupyter-alice-env", &corev1.Secret{})), "nothing is made")

	req.SSL = &pair
	_, err = s.Start(t.Context(), req)
	require.NoError(t, err)
	pod := c.pod(c.deployment("jupyter-alice", "s1", 1))
	var nb v1alpha1.JupyterNotebook
	require.NoError(t, c.get("jupyter-alice", &nb))
	var secret corev1.Secret
	require.NoError(t, c.get("jupyter-alice-ssl", &secret))
	assert.True(t, metav1.IsControlledBy(&secret, &nb))
	assert.Equal(t, pair.Key, string(secret.Data["tls.key"]))
	assert.Equal(t, pair.Certificate, string(secret.Data["tls.crt"]))
	assert.Equal(t, pair.Authorities+string(secret.Data["client.crt"]), string(secret.Data["ca.crt"]))
	again := hub.Pair(t, host)
	req.SSL = &again
	_, err = s.Start(t.Context(), req)
	require.NoError(t, err)
	var same corev1.Secret
	require.NoError(t, c.get("jupyter-alice-ssl", &same))
	assert.Equal(t, secret.Data, same.Data, "the same start has what its Pod has")
	c.ready(pod)
	state := c.phase(s, req.Key, v1alpha1.NotebookReady)
	assert.Equal(t, "https://"+host+":8888", state.URL)

	require.NoError(t, s.Stop(t.Context(), req.Key))
	c.deployment("jupyter-alice", "s1", 0)
	c.end(pod)
	c.eventually("its keys are gone", func() bool { return apierrors.IsNotFound(c.get("jupyter-alice-ssl", &secret)) })

	// Of a Hub that has switched it off.
	req.Start, req.SSL = "s2", &again
	_, err = s.Start(t.Context(), req)
	require.NoError(t, err)
	require.NoError(t, c.get("jupyter-alice-ssl", &secret))
	assert.Equal(t, again.Key, string(secret.Data["tls.key"]))
	req.Start, req.SSL = "s3", nil
	_, err = s.Start(t.Context(), req)
	require.NoError(t, err)
	require.True(t, apierrors.IsNotFound(c.get("jupyter-alice-ssl", &secret)))
	require.NoError(t, c.get("jupyter-alice", &nb))
	assert.Empty(t, nb.Spec.SSLSecret)
	require.NoError(t, s.Remove(t.Context(), req.Key))
}

// TestHowAServerOfInternalSSLIsAsked: with what is in its Secret, over https.
func TestHowAServerOfInternalSSLIsAsked(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	s := c.replica(true)
	req := testRequest("alice", "", "s1")
	pair := internalssltest.New(t).Pair(t, "jupyter-alice."+c.namespace+".svc")
	req.SSL, req.ServerIdleSeconds = &pair, 60
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	c.deployment("jupyter-alice", "s1", 1)
	var nb v1alpha1.JupyterNotebook
	require.NoError(t, c.get("jupyter-alice", &nb))
	reading := &controller{cfg: testConfig(), client: c.client, live: c.client, issuer: c.issuer}
	server, err := reading.accessOf(t.Context(), &nb)
	require.NoError(t, err)
	assert.Equal(t, "https://jupyter-alice."+c.namespace+".svc:8888/user/alice/", server.Address)
	assert.Equal(t, "secret-of-s1", server.Token)
	require.NotNil(t, server.TLS)
	assert.Len(t, server.TLS.Certificates, 1)
	kept, err := reading.accessOf(t.Context(), &nb)
	require.NoError(t, err)
	assert.Same(t, server.TLS, kept.TLS, "read once")
}
