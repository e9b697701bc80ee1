//go:build e2e

package faults

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/test/client"
)

// signsIn is what a server answers to a token.
func (s *server) signsIn(token string) int {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.URL+"/api/contents", nil)
	require.NoError(s.t, err)
	if token != "" {
		req.Header.Set("Authorization", "token "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

// applyAuth applies the notebook with another spec.auth, as kubectl's users do.
func (s *server) applyAuth(image string, fields map[string]any) {
	s.t.Helper()
	spec := map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{
		"name": "notebook", "image": image, "command": []string{"jupyter", "server", "--ServerApp.ip=0.0.0.0", "--no-browser"},
		"resources": map[string]any{"requests": map[string]string{"cpu": "50m", "memory": "128Mi"}, "limits": map[string]string{"memory": "512Mi"}},
	}}}}}
	for name, value := range fields {
		spec[name] = value
	}
	object, err := json.Marshal(map[string]any{
		"apiVersion": "kubeflow.tkestack.io/v1alpha1", "kind": "JupyterNotebook", "metadata": map[string]any{"name": s.notebook}, "spec": spec,
	})
	require.NoError(s.t, err)
	s.apply(s.t, string(object))
}

// TestSigningInToANotebook: by a token from a Secret, by one that was written into the object
// and is moved, and by a password; nobody reads them in Pod or object, and a server that only
// its users can sign in to is stopped when it is idle.
func TestSigningInToANotebook(t *testing.T) {
	d := demo(t)
	image := d.must(t, "get", "grouppolicy", "ml-research", "-o", "jsonpath={.spec.images[0].image}")
	s := &server{Demo: d, t: t, notebook: "faults-auth", Gateway: client.Gateway{}}
	remove := func() {
		d.must(t, "delete", "jupyternotebook/faults-auth", "secret/faults-auth-own", "--ignore-not-found", "--wait=true")
	}
	remove()
	t.Cleanup(remove)
	secretly := func() {
		t.Helper()
		for _, kind := range []string{"jupyternotebook", "deployment"} {
			assert.NotContains(t, d.must(t, "get", kind, s.notebook, "-o", "yaml"), "s3cret", kind)
		}
		for _, text := range []string{"s3cret", "argon2"} {
			assert.NotContains(t, d.must(t, "get", "pods", "-l", s.selector(), "-o", "yaml"), text)
		}
	}
	letsIn := func(token string) {
		t.Helper()
		require.Eventually(t, func() bool { return s.signsIn(token) == http.StatusOK }, 2*time.Minute, 200*time.Millisecond)
		assert.Equal(t, http.StatusForbidden, s.signsIn(""))
		assert.Equal(t, http.StatusForbidden, s.signsIn("wrong"))
		secretly()
	}

	s.applyAuth(image, map[string]any{"auth": map[string]any{"tokenSecretRef": map[string]any{"name": "faults-auth-own", "key": "token"}}})
	d.must(t, "wait", "--for=condition=CredentialsFound=false", "jupyternotebook/faults-auth", "--timeout=60s")
	assert.Equal(t, "SecretMissing", d.must(t, "get", "jupyternotebook", "faults-auth", "-o", `jsonpath={.status.conditions[?(@.type=="CredentialsFound")].reason}`))
	d.must(t, "create", "secret", "generic", "faults-auth-own", "--from-literal=token=s3cret-first", "--from-literal=password=s3cret word")
	pod := s.ready()
	s.URL = "http://" + d.must(t, "get", "service", s.notebook, "-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}")
	letsIn("s3cret-first")

	s.applyAuth(image, map[string]any{"auth": map[string]any{"token": "s3cret-second"}})
	pod = s.ready(pod)
	letsIn("s3cret-second")
	assert.Equal(t, http.StatusForbidden, s.signsIn("s3cret-first"))
	s.applyAuth(image, map[string]any{"auth": map[string]any{"token": "s3cret-second"}})
	require.Eventually(t, func() bool {
		return d.must(t, "get", "jupyternotebook", s.notebook, "-o", "jsonpath={.spec.auth.token}") == ""
	}, time.Minute, 100*time.Millisecond)
	assert.Equal(t, pod.Metadata.UID, s.ready().Metadata.UID, "the same once more rolls nothing")
	secretly()

	s.applyAuth(image, map[string]any{"auth": map[string]any{"passwordSecretRef": map[string]any{"name": "faults-auth-own", "key": "password"}}})
	s.ready(pod)
	require.Eventually(t, func() bool { return s.signsIn("s3cret-second") == http.StatusForbidden }, 2*time.Minute, 200*time.Millisecond)
	d.must(t, "patch", "jupyternotebook", s.notebook, "--type=merge", "-p", `{"spec": {"idleStop": {"seconds": 5}}}`)
	d.must(t, "wait", "--for=jsonpath={.spec.stopped}=true", "jupyternotebook/faults-auth", "--timeout=120s")
	assert.Equal(t, "Idle", d.must(t, "get", "jupyternotebook", s.notebook, "-o", `jsonpath={.metadata.annotations.elastichub\.io/stop-cause}`))
}
