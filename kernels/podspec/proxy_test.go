package podspec

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// TestKernelsBehindAProxy do not ask it for the cluster's own, whoever has named it.
func TestKernelsBehindAProxy(t *testing.T) {
	t.Parallel()
	const direct = "localhost,127.0.0.1,::1,.svc,.cluster.local"
	build := func(change func(*Parts)) map[string]string {
		in := sample()
		change(&in)
		pod, err := Build(testPods, in)
		require.NoError(t, err)
		env := map[string]string{}
		for _, v := range KernelContainerOf(pod).Env {
			env[v.Name] = v.Value
		}
		for _, c := range pod.Spec.Containers {
			if c.Name != v1alpha1.KernelContainer {
				for _, v := range c.Env {
					assert.NotContains(t, v.Name, "_PROXY", "%s asks nobody outside", c.Name)
				}
			}
		}
		return env
	}
	assert.NotContains(t, build(func(*Parts) {}), "NO_PROXY")
	env := build(func(in *Parts) {
		in.Proxy = podrules.Proxy{HTTP: "http://proxy:3128", HTTPS: "http://proxy:3128", NoProxy: []string{".example.org"}}
	})
	assert.Equal(t, []string{"http://proxy:3128", "http://proxy:3128", ".example.org," + direct}, []string{env["http_proxy"], env["HTTPS_PROXY"], env["no_proxy"]})
	env = build(func(in *Parts) {
		in.Spec.Spec.Env = append(in.Spec.Spec.Env, corev1.EnvVar{Name: "https_proxy", Value: "http://theirs"})
	})
	assert.Equal(t, []string{"", "http://theirs", direct}, []string{env["HTTPS_PROXY"], env["https_proxy"], env["NO_PROXY"]})
}
