package demo

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/test/helm"
)

// TestEveryPodIsAdmittedUnderRestricted asks an API server: install.sh has the
// demo's namespace enforce Pod Security "restricted".
func TestEveryPodIsAdmittedUnderRestricted(t *testing.T) {
	t.Parallel()
	service, err := helm.Run(t, "template", "elastichub", "../elastichub", "--kube-version", "1.34", "--values", "elastichub-values.yaml",
		"--set", "image.name=i,notebooks.image=i,kernels.image=i")
	require.NoError(t, err, service)
	environment := &envtest.Environment{}
	config, err := environment.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, environment.Stop()) })
	api, err := client.New(config, client.Options{})
	require.NoError(t, err)
	script, err := os.ReadFile("install.sh")
	require.NoError(t, err)
	label, value, found := strings.Cut("pod-security.kubernetes.io/enforce=restricted", "=")
	require.True(t, found)
	require.Contains(t, string(script), label+"="+value)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "restricted", Labels: map[string]string{label: value}}}
	require.NoError(t, api.Create(t.Context(), ns))
	for _, account := range []string{"elastichub", "default"} {
		require.NoError(t, client.IgnoreAlreadyExists(api.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account, Namespace: ns.Name}})))
	}
	asked := 0
	for text := range strings.SplitSeq(render(t)+"\n---\n"+service, "\n---\n") {
		var d appsv1.Deployment
		require.NoError(t, yaml.Unmarshal([]byte(text), &d.TypeMeta))
		if d.Kind != "Deployment" {
			continue
		}
		require.NoError(t, yaml.UnmarshalStrict([]byte(text), &d))
		asked++
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-", Namespace: ns.Name, Labels: d.Spec.Template.Labels}, Spec: d.Spec.Template.Spec}
		assert.NoError(t, api.Create(t.Context(), pod, client.DryRunAll), d.Name)
	}
	assert.Equal(t, 4, asked)
}
