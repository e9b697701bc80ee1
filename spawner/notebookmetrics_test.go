package spawner

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// TestServersShowTheirMetrics where the Hub has put them, and have the hash of the token alone.
func TestServersShowTheirMetrics(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	c.cfg.MetricsSecret = "notebook-metrics"
	s := c.replica(true)
	_, err := s.Start(t.Context(), testRequest("alice", "", "s1"))
	require.NoError(t, err)
	template := c.deployment("jupyter-alice", "s1", 1).Spec.Template
	assert.Equal(t, "/user/alice/metrics", template.Annotations[v1alpha1.AnnotationMetricsPath])
	found := 0
	for _, volume := range template.Spec.Volumes {
		if volume.Secret != nil && volume.Secret.SecretName == "notebook-metrics" {
			assert.Equal(t, []corev1.KeyToPath{{Key: "sha256", Path: "sha256"}}, volume.Secret.Items)
			assert.True(t, *volume.Secret.Optional)
			found++
		}
	}
	assert.Equal(t, 1, found)
	container := notebookContainer(&template.Spec)
	assert.Contains(t, container.Env, corev1.EnvVar{Name: "ELASTICHUB_METRICS_HASH_FILE", Value: "/etc/elastichub/metrics/sha256"})
	assert.Contains(t, container.VolumeMounts, corev1.VolumeMount{Name: metricsVolume, MountPath: "/etc/elastichub/metrics", ReadOnly: true})
}

func TestWhereMetricsAre(t *testing.T) {
	for prefix, want := range map[string]string{"/": "/metrics", "/user/alice/": "/user/alice/metrics", "/user/alice": "/user/alice/metrics"} {
		template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: v1alpha1.NotebookContainer}}}}
		mountMetricsHash("any", prefix, &template)
		assert.Equal(t, want, template.Annotations[v1alpha1.AnnotationMetricsPath])
	}
	template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: v1alpha1.NotebookContainer}}}}
	template.Annotations = map[string]string{v1alpha1.AnnotationMetricsPath: "/elsewhere"}
	mountMetricsHash("any", "/", &template)
	assert.Equal(t, "/elsewhere", template.Annotations[v1alpha1.AnnotationMetricsPath], "a template knows better")
}
