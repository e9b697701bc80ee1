package support_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/support"
	"github.com/elastichub/elastichub/test/apiserver"
)

const namespace = "jupyterhub"

// planted must not be in an archive, in no spelling.
var planted = []string{"planted.user", "planted-user", "SecretInASecret", "secret-in-a-variable", "who@planted.example", "thesis-of-planted"}

func TestArchive(t *testing.T) {
	config, api := apiserver.Start(t)
	meta := func(name string, more map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: more}
	}
	user := map[string]string{v1alpha1.LabelHubUsername: "planted.user"}
	secret := []corev1.EnvVar{{Name: "PASSWORD", Value: "secret-in-a-variable"}}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&corev1.Secret{ObjectMeta: meta("jupyter-planted-user-env", user), StringData: map[string]string{"TOKEN": "SecretInASecret"}},
		&v1alpha1.JupyterNotebook{ObjectMeta: meta("jupyter-planted-user", user), Spec: v1alpha1.JupyterNotebookSpec{User: "planted.user", Template: &v1alpha1.PodTemplate{}}},
		&v1alpha1.JupyterKernel{ObjectMeta: meta("k1", nil), Spec: v1alpha1.JupyterKernelCRDSpec{
			User: "planted.user", Notebook: "jupyter-planted-user", WorkingDir: "/home/thesis-of-planted", Env: []corev1.EnvVar{{Name: "SAID", Value: "secret-in-a-variable"}},
			Session: &v1alpha1.KernelSession{Path: "thesis-of-planted.ipynb"}}},
		&v1alpha1.GroupPolicy{ObjectMeta: meta("team", nil), Spec: v1alpha1.GroupPolicySpec{
			Groups: []string{"team"}, CPU: upTo("2"), Memory: upTo("2Gi"), Images: []v1alpha1.ImageChannel{{ID: "one", Image: "notebook:1"}}}},
		&corev1.Pod{
			ObjectMeta: meta("elastichub-0", map[string]string{v1alpha1.LabelComponent: "service"}),
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "service", Image: "elastichub:1", Env: secret}}},
		},
		&corev1.ConfigMap{ObjectMeta: meta("ledger", nil), Data: map[string]string{"day": "planted.user 1h"}},
		&corev1.Event{ObjectMeta: meta("e1", nil), InvolvedObject: corev1.ObjectReference{Namespace: namespace, Name: "jupyter-planted-user"}, Message: "Server of planted.user, who@planted.example, started."},
	} {
		require.NoError(t, api.Create(t.Context(), o), "%T", o)
	}

	var archive bytes.Buffer
	made, err := support.Collect(t.Context(), config, support.Options{Release: "elastichub", Namespace: namespace, Version: "test", Since: time.Hour, LogBytes: 1 << 20}, &archive)
	require.NoError(t, err)
	files := unpack(t, &archive)
	assert.Len(t, files, made.Files)
	all := &strings.Builder{}
	for name, text := range files {
		all.WriteString(name + "\n" + text + "\n")
	}
	for _, word := range planted {
		assert.NotRegexp(t, "(?i)"+regexp.QuoteMeta(word), all.String())
	}
	assert.Contains(t, files["doctor.txt"], "elastichub test, Kubernetes v1.")
	assert.Contains(t, files["objects/jupyternotebooks.yaml"], "name: jupyter-user-1\n")
	assert.Contains(t, files["objects/jupyterkernels.yaml"], "user: user-1\n")
	assert.Contains(t, files["objects/secrets.yaml"], "name: jupyter-user-1-env")
	assert.Contains(t, files["objects/grouppolicies.yaml"], "name: team", "what is nobody's stays")
	assert.Contains(t, files["objects/events.yaml"], "Server of user-1, (hidden), started.")
	assert.Equal(t, map[string]string{"planted.user": "user-1"}, made.Names)
	for _, o := range []string{"jupytergateways", "nodes"} {
		assert.NotContains(t, files, "objects/"+o+".yaml", "there is none")
	}
}

func upTo(most string) v1alpha1.ResourceRange {
	return v1alpha1.ResourceRange{Min: resource.MustParse("1"), Max: resource.MustParse(most)}
}

func unpack(t *testing.T, archive io.Reader) map[string]string {
	t.Helper()
	unzipped, err := gzip.NewReader(archive)
	require.NoError(t, err)
	files := map[string]string{}
	for read := tar.NewReader(unzipped); ; {
		header, err := read.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		assert.EqualValues(t, 0o600, header.Mode)
		text, err := io.ReadAll(read)
		require.NoError(t, err)
		files[strings.TrimPrefix(header.Name, "elastichub-support/")] = string(text)
	}
}
