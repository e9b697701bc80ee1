package spawner

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const hashOfPasswd = "argon2:$argon2id$v=19$m=10240,t=10,p=8$c2FsdA$aGFzaA"

func text(s string) *string { return &s }

func TestAuthSecret(t *testing.T) {
	for name, row := range map[string]struct {
		found           credentials
		server, classic string
	}{
		"disabled": {credentials{token: text(""), password: text("")},
			`{"IdentityProvider":{"token":""},"PasswordIdentityProvider":{"hashed_password":""},"ServerApp":{"password":"","token":""}}`,
			`{"NotebookApp":{"password":"","token":""}}`},
		"token": {credentials{token: text("t")},
			`{"IdentityProvider":{"token":"t"},"PasswordIdentityProvider":{},"ServerApp":{"token":"t"}}`,
			`{"NotebookApp":{"token":"t"}}`},
		"hashed password": {credentials{password: text(hashOfPasswd)},
			`{"IdentityProvider":{"token":""},"PasswordIdentityProvider":{"hashed_password":"` + hashOfPasswd + `"},"ServerApp":{"password":"` + hashOfPasswd + `","token":""}}`,
			`{"NotebookApp":{"password":"` + hashOfPasswd + `","token":""}}`},
	} {
		t.Run(name, func(t *testing.T) {
			nb := requested(testRequest("alice", "", "s1"))
			secret := authSecret(nb, row.found, "")
			require.NotNil(t, secret)
			assert.JSONEq(t, row.server, string(secret.Data["jupyter_server_config.json"]))
			assert.JSONEq(t, row.classic, string(secret.Data["jupyter_notebook_config.json"]))
			assert.Len(t, secret.Data, 2, "the Hub has given it a token")
			assert.Equal(t, nb.UID, secret.OwnerReferences[0].UID)
			// Nothing of it is where anyone who may read Pods could see it.
			pod, err := yaml.Marshal(deployment(testConfig(), nb, "5", tokenAlone(nb)))
			require.NoError(t, err)
			assert.NotContains(t, string(pod), "argon2")
		})
	}
	plain := sample(t, "ejo-template.yaml")
	assert.Nil(t, authSecret(plain, credentials{}, ""))
	data := authSecret(plain, credentials{}, "own").Data
	assert.Equal(t, "own", string(data["access-token"]))
	assert.NotContains(t, data, "jupyter_server_config.json", "Jupyter makes up a token")
}

func TestPasswordsAreHashedAsJupyterDoes(t *testing.T) {
	hash := hashPassword("plain", "uid")
	assert.Regexp(t, `^argon2:\$argon2id\$v=19\$m=10240,t=10,p=8\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`, hash)
	assert.Equal(t, hash, hashPassword("plain", "uid"), "a pass must not change a Secret")
	assert.NotEqual(t, hash, hashPassword("plain", "other"))
	for _, hashed := range []string{"", hash, hashOfPasswd, "sha1:0a1b2c:5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8"} {
		assert.Equal(t, hashed, hashPassword(hashed, "uid"))
	}
}

func TestTemplateKeepsItsConfigPath(t *testing.T) {
	nb := sample(t, "ejo-template.yaml")
	env := func(own corev1.EnvVar) []corev1.EnvVar {
		c := &corev1.Container{Env: []corev1.EnvVar{own}}
		mountAuth(nb, &corev1.PodSpec{}, c)
		return c.Env
	}
	assert.Equal(t, []corev1.EnvVar{{Name: "JUPYTER_CONFIG_PATH", Value: "/etc/elastichub/auth:/opt/a:/opt/b"}}, env(corev1.EnvVar{Name: "JUPYTER_CONFIG_PATH", Value: "/opt/a:/opt/b"}))
	assert.Equal(t, []corev1.EnvVar{{Name: "JUPYTER_CONFIG_PATH", Value: "/etc/elastichub/auth"}}, env(corev1.EnvVar{Name: "JUPYTER_CONFIG_PATH"}))
	from := &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{Key: "path"}}
	assert.Equal(t, []corev1.EnvVar{
		{Name: "ELASTICHUB_JUPYTER_CONFIG_PATH", ValueFrom: from}, {Name: "JUPYTER_CONFIG_PATH", Value: "/etc/elastichub/auth:$(ELASTICHUB_JUPYTER_CONFIG_PATH)"},
	}, env(corev1.EnvVar{Name: "JUPYTER_CONFIG_PATH", ValueFrom: from}))
}

func TestManifestWithoutLiterals(t *testing.T) {
	const manifest = `{"apiVersion":"kubeflow.tkestack.io/v1alpha1","kind":"JupyterNotebook","metadata":{"name":"n"},"spec":{"auth":{"mode":"enable","password":"p<&","token":"t"},"idleStop":{"seconds":9007199254740993}}}`
	assert.JSONEq(t, `{"apiVersion":"kubeflow.tkestack.io/v1alpha1","kind":"JupyterNotebook","metadata":{"name":"n"},"spec":{"auth":{"mode":"enable"},"idleStop":{"seconds":9007199254740993}}}`, withoutLiterals(manifest))
	assert.Contains(t, withoutLiterals(manifest), "9007199254740993", "numbers stay what they are")
	assert.Equal(t, `{"spec":{"auth":{"token":""}}}`+"\n", withoutLiterals(`{"spec":{"auth":{"token":""}}}`))
	assert.Equal(t, "{}\n", withoutLiterals(`{}`))
	assert.Empty(t, withoutLiterals("token"))
}
