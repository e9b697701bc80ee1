package podrules_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/podrules/podrulestest"
	"github.com/elastichub/elastichub/test/apiserver"
)

// TestPodSecurityAgrees asks the API server itself: what is refused is what
// Pod Security "restricted" refuses of a hardened Pod, and the rest it admits.
func TestPodSecurityAgrees(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS must be set in CI")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set")
	}
	environment := apiserver.Environment()
	config, err := environment.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, environment.Stop()) })
	config.QPS, config.Burst = 500, 1000
	api, err := client.New(config, client.Options{})
	require.NoError(t, err)
	require.NoError(t, api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "restricted", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}))

	asked := 0
	for name, row := range podrulestest.Templates() {
		if row.Unasked {
			continue
		}
		asked++
		template := podrulestest.Plain()
		if row.Path == "" {
			template = podrulestest.Template(row)
			podrules.Harden(&template.Spec)
		} else {
			// Changed last: Harden overwrites some of what is refused.
			podrules.Harden(&template.Spec)
			row.Change(&template)
		}
		pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
		pod.Namespace, pod.GenerateName = "restricted", "pod-"
		err := api.Create(t.Context(), pod, client.DryRunAll)
		if row.Path == "" || row.Ours {
			assert.NoError(t, err, name)
			continue
		}
		if assert.True(t, apierrors.IsForbidden(err), "%s: %v", name, err) {
			assert.ErrorContains(t, err, "PodSecurity", name)
		}
	}
	assert.Greater(t, asked, 80)
}
