package spawner

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// kubectl runs the real one, as an administrator.
func (c *cluster) kubectl(arguments ...string) {
	c.t.Helper()
	user, err := apiServer.env.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, nil)
	require.NoError(c.t, err)
	kubectl, err := user.Kubectl()
	require.NoError(c.t, err)
	_, stderr, err := kubectl.Run(append([]string{"--namespace", c.namespace}, arguments...)...)
	said, _ := io.ReadAll(stderr)
	require.NoError(c.t, err, string(said))
}

// manifest writes a notebook with spec.auth to a file.
func (c *cluster) manifest(auth string) string {
	c.t.Helper()
	if auth != "" {
		auth = "  auth: " + auth
	}
	file := filepath.Join(c.t.TempDir(), "notebook.yaml")
	require.NoError(c.t, os.WriteFile(file, []byte("apiVersion: kubeflow.tkestack.io/v1alpha1\nkind: JupyterNotebook\nmetadata: {name: n1}\n"+
		"spec:\n"+auth+"\n  template: {spec: {containers: [{name: notebook, image: notebook:1}]}}\n"), 0o600))
	return file
}

func (c *cluster) secret(name, key string) string {
	var secret corev1.Secret
	if c.get(name, &secret) != nil {
		return ""
	}
	return string(secret.Data[key])
}

func condition(nb *v1alpha1.JupyterNotebook) (status metav1.ConditionStatus, reason, message string) {
	found := apimeta.FindStatusCondition(nb.Status.Conditions, ConditionCredentials)
	if found == nil {
		return "", "", ""
	}
	return found.Status, found.Reason, found.Message
}

// whole is everything that the API server tells of an object.
func (c *cluster) whole(kind schema.GroupVersionKind, name string) string {
	c.t.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kind)
	require.NoError(c.t, c.get(name, o))
	said, err := json.Marshal(o)
	require.NoError(c.t, err)
	return string(said)
}

var (
	notebookKind   = v1alpha1.GroupVersion.WithKind("JupyterNotebook")
	deploymentKind = appsv1.SchemeGroupVersion.WithKind("Deployment")
)

// TestLiteralsAreMoved: by whichever way a token is written into spec.auth, it is taken out
// of the object, nobody's later apply conflicts with that, and the same again rolls nothing.
func TestLiteralsAreMoved(t *testing.T) {
	for name, apply := range map[string][]string{"client side": {"apply", "-f"}, "server side": {"apply", "--server-side", "-f"}} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.replica(true)
			c.kubectl(append(apply, c.manifest(`{mode: enable, token: s3cret-1, password: s3cret-2}`))...)
			d := c.deployment("n1", "", 1)
			c.ready(c.pod(d))
			moved := func(nb *v1alpha1.JupyterNotebook) bool {
				_, reason, _ := condition(nb)
				return nb.Status.Phase == v1alpha1.NotebookReady && reason == "Moved" && nb.Status.ObservedGeneration == nb.Generation && nb.Spec.Auth.Token == nil
			}
			nb := c.notebook("n1", moved)
			assert.Equal(t, &v1alpha1.JupyterAuth{Mode: "enable"}, nb.Spec.Auth)
			_, _, message := condition(nb)
			assert.Equal(t, "What stood in spec.auth was moved into the Secret n1-credentials.", message)
			assert.NotContains(t, c.whole(notebookKind, "n1"), "s3cret")
			assert.NotContains(t, c.whole(deploymentKind, "n1"), "s3cret")
			assert.NotContains(t, c.whole(deploymentKind, "n1"), "argon2")
			assert.Equal(t, "s3cret-1", c.secret("n1-credentials", "token"))
			assert.Equal(t, "s3cret-2", c.secret("n1-credentials", "password"))
			assert.Contains(t, c.secret("n1-auth", "jupyter_server_config.json"), `"token":"s3cret-1"`)

			// The same manifest again, and once more with another label.
			require.NoError(t, c.get("n1", d))
			spec := *d.Spec.DeepCopy()
			c.kubectl(append(apply, c.manifest(`{mode: enable, token: s3cret-1, password: s3cret-2}`))...)
			before := nb.Generation
			c.notebook("n1", func(nb *v1alpha1.JupyterNotebook) bool { return nb.Generation >= before+2 && moved(nb) })
			require.NoError(t, c.get("n1", d))
			assert.Equal(t, spec, d.Spec, "its Pod stays")
			assert.NotContains(t, c.whole(notebookKind, "n1"), "s3cret")

			// Another token, and no password any more: the manifest counts as a whole.
			c.kubectl(append(apply, c.manifest(`{mode: enable, token: s3cret-3}`))...)
			c.eventually("another token", func() bool {
				return c.secret("n1-credentials", "token") == "s3cret-3" && c.get("n1", d) == nil && d.Spec.Template.Annotations[v1alpha1.AnnotationAuthVersion] != spec.Template.Annotations[v1alpha1.AnnotationAuthVersion]
			})
			assert.Empty(t, c.secret("n1-credentials", "password"))
			assert.NotContains(t, c.whole(notebookKind, "n1"), "s3cret")

			// A Secret instead: what was moved is forgotten.
			require.NoError(t, c.client.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "mine"}, Data: map[string][]byte{"t": []byte("s3cret-4\n")}}))
			c.kubectl(append(apply, c.manifest(`{tokenSecretRef: {name: mine, key: t}}`))...)
			c.eventually("the Secret's", func() bool {
				return c.secret("n1-auth", "jupyter_server_config.json") == `{"IdentityProvider":{"token":"s3cret-4"},"PasswordIdentityProvider":{},"ServerApp":{"token":"s3cret-4"}}` &&
					c.secret("n1-credentials", "token") == ""
			})

			// Without auth there is Jupyter's default.
			c.kubectl(append(apply, c.manifest(""))...)
			c.eventually("Jupyter's own", func() bool { return c.secret("n1-auth", "jupyter_server_config.json") == "" })
			c.notebook("n1", func(nb *v1alpha1.JupyterNotebook) bool { _, reason, _ := condition(nb); return reason == "" })
		})
	}
}

// TestCredentialsAreWaitedFor: a server starts once what its references name is there, and a
// change of that reaches one that runs.
func TestCredentialsAreWaitedFor(t *testing.T) {
	c := newCluster(t)
	c.replica(true)
	c.kubectl("apply", "-f", c.manifest(`{tokenSecretRef: {name: mine, key: t}, passwordSecretRef: {name: mine, key: p, optional: true}}`))
	waits := func(reason, message string) {
		t.Helper()
		nb := c.notebook("n1", func(nb *v1alpha1.JupyterNotebook) bool { _, is, _ := condition(nb); return is == reason })
		status, _, said := condition(nb)
		assert.Equal(t, metav1.ConditionFalse, status)
		assert.Equal(t, message, said)
		assert.Equal(t, v1alpha1.NotebookPending, nb.Status.Phase)
		assert.Equal(t, "WaitingForCredentials", nb.Status.Reason)
		assert.Error(t, c.get("n1", &appsv1.Deployment{}))
	}
	waits("SecretMissing", "spec.auth.tokenSecretRef: There is no Secret mine.")
	mine := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "mine"}, Data: map[string][]byte{"other": []byte("x")}}
	require.NoError(t, c.client.Create(t.Context(), mine))
	waits("KeyMissing", "spec.auth.tokenSecretRef: The Secret mine has no key t.")
	change(c, "mine", mine, func(s *corev1.Secret) { s.Data = map[string][]byte{"t": []byte("\n")} })
	c.eventually("empty", func() bool {
		nb := &v1alpha1.JupyterNotebook{}
		require.NoError(t, c.get("n1", nb))
		_, _, said := condition(nb)
		return said == "spec.auth.tokenSecretRef: The key t of the Secret mine is empty."
	})
	change(c, "mine", mine, func(s *corev1.Secret) { s.Data = map[string][]byte{"t": []byte("first")} })
	d := c.deployment("n1", "", 1)
	c.ready(c.pod(d))
	c.notebook("n1", func(nb *v1alpha1.JupyterNotebook) bool {
		_, reason, _ := condition(nb)
		return nb.Status.Phase == v1alpha1.NotebookReady && reason == "Found"
	})
	assert.Contains(t, c.secret("n1-auth", "jupyter_server_config.json"), `"token":"first"`)
	require.NoError(t, c.get("n1", d))
	version := d.Spec.Template.Annotations[v1alpha1.AnnotationAuthVersion]

	look := func() { // what a minute does, too
		t.Helper()
		nb := &v1alpha1.JupyterNotebook{}
		change(c, "n1", nb, func(nb *v1alpha1.JupyterNotebook) {
			nb.Annotations = merged(nb.Annotations, map[string]string{"looked": time.Now().String()})
		})
	}
	change(c, "mine", mine, func(s *corev1.Secret) { s.Data = map[string][]byte{"t": []byte("second"), "p": []byte("word")} })
	look()
	c.eventually("a new Pod", func() bool {
		return c.get("n1", d) == nil && d.Spec.Template.Annotations[v1alpha1.AnnotationAuthVersion] != version
	})
	assert.Contains(t, c.secret("n1-auth", "jupyter_server_config.json"), `"token":"second"`)
	assert.Contains(t, c.secret("n1-auth", "jupyter_server_config.json"), `argon2`)

	// What is taken away from a server that runs is told; it keeps what it has.
	generation := d.Generation
	require.NoError(t, c.client.Delete(t.Context(), mine))
	look()
	nb := c.notebook("n1", func(nb *v1alpha1.JupyterNotebook) bool {
		_, reason, _ := condition(nb)
		return reason == "SecretMissing"
	})
	assert.Equal(t, v1alpha1.NotebookReady, nb.Status.Phase)
	require.NoError(t, c.get("n1", d))
	assert.Equal(t, generation, d.Generation)
}

// TestMovedCredentialsAreNotReplacedByNone: who deletes the Secret does not open a server.
func TestMovedCredentialsAreNotReplacedByNone(t *testing.T) {
	c := newCluster(t)
	c.replica(true)
	c.kubectl("apply", "-f", c.manifest(`{token: s3cret}`))
	c.ready(c.pod(c.deployment("n1", "", 1)))
	nb := c.notebook("n1", inPhase(v1alpha1.NotebookReady))
	require.NoError(t, c.client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "n1-credentials"}}))
	change(c, "n1", nb, func(nb *v1alpha1.JupyterNotebook) { nb.Spec.MaxRunSeconds = 3600 })
	nb = c.notebook("n1", func(nb *v1alpha1.JupyterNotebook) bool {
		_, reason, _ := condition(nb)
		return reason == "MovedSecretMissing"
	})
	assert.Equal(t, v1alpha1.NotebookPending, nb.Status.Phase)
	assert.Equal(t, "The Secret n1-credentials, into which the credentials of spec.auth were moved, is gone: apply them again, or remove spec.auth.", nb.Status.Message)
	c.kubectl("apply", "-f", c.manifest(`{token: s3cret}`))
	c.notebook("n1", inPhase(v1alpha1.NotebookReady))
	assert.Equal(t, "s3cret", c.secret("n1-credentials", "token"))
}

// TestLiteralsOfAFormerRelease: the Pod that it has built stays when they are moved.
func TestLiteralsOfAFormerRelease(t *testing.T) {
	c := newCluster(t)
	c.kubectl("apply", "-f", c.manifest(`{token: s3cret}`))
	nb := &v1alpha1.JupyterNotebook{}
	require.NoError(t, c.get("n1", nb))
	former := deployment(c.cfg, nb, "17", tokenAlone(nb))
	require.NoError(t, c.client.Create(t.Context(), former))
	c.ready(c.pod(former))
	require.NoError(t, c.get("n1", former))
	template := former.Spec.Template
	c.asker.set(func(string) (Activity, error) { return Activity{Last: time.Now()}, nil })
	c.replica(true)
	c.notebook("n1", func(nb *v1alpha1.JupyterNotebook) bool {
		_, reason, _ := condition(nb)
		return nb.Status.Phase == v1alpha1.NotebookReady && reason == "Moved" && nb.Status.ObservedGeneration == nb.Generation
	})
	assert.NotContains(t, c.whole(notebookKind, "n1"), "s3cret")
	require.NoError(t, c.get("n1", former))
	assert.Equal(t, template, former.Spec.Template)
}

// TestServersAreAskedWithATokenOfOurs: a server with a password, or with a token that Jupyter
// has made up, is asked and stopped as any other.
func TestServersAreAskedWithATokenOfOurs(t *testing.T) {
	c := newCluster(t)
	c.asker.set(func(string) (Activity, error) { return Activity{Last: time.Now().Add(-time.Hour)}, nil })
	c.replica(true)
	for name, auth := range map[string]*v1alpha1.JupyterAuth{"n1": {Password: text("s3cret")}, "n2": nil} {
		nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: name}}
		nb.Spec = v1alpha1.JupyterNotebookSpec{Auth: auth, Template: &v1alpha1.PodTemplate{}, IdleStop: &v1alpha1.IdleStop{Seconds: ptr.To[int64](1)}}
		nb.Spec.Template.Spec.Containers = []corev1.Container{{Name: "notebook", Image: "notebook:1"}}
		require.NoError(t, c.client.Create(t.Context(), nb))
		d := c.deployment(name, "", 1)
		c.ready(c.pod(d))
		own := c.secret(name+"-auth", "access-token")
		require.Len(t, own, 64)
		c.notebook(name, func(nb *v1alpha1.JupyterNotebook) bool { return nb.Spec.Stopped })
		assert.Contains(t, c.asker.all(), "http://"+name+"."+c.namespace+".svc:8888/ "+own)
		assert.NotContains(t, c.whole(deploymentKind, name), own)
	}
	assert.NotEqual(t, c.secret("n1-auth", "access-token"), c.secret("n2-auth", "access-token"))
}
