package spawner

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Servers with elastichub's extension show Jupyter's metrics to who has a token that is
// nobody's login. Their Pods have its hash, in a volume, which follows the Secret while they
// run, and say in an annotation where the metrics are: that depends on the Hub's prefix.

const (
	metricsVolume = "elastichub-metrics"
	metricsPath   = "/etc/elastichub/metrics"
	// metricsHashKey is the Secret's key and the name of the file.
	metricsHashKey = "sha256"
	// envMetricsHash is what the extension looks for (python/elastichub/notebook/metrics.py).
	envMetricsHash = "ELASTICHUB_METRICS_HASH_FILE"
)

// mountMetricsHash completes the template of the Pod of a server whose API has that path.
func mountMetricsHash(secret, prefix string, template *corev1.PodTemplateSpec) {
	if template.Annotations[v1alpha1.AnnotationMetricsPath] == "" { // a template may know better
		template.Annotations = merged(template.Annotations, map[string]string{v1alpha1.AnnotationMetricsPath: strings.TrimSuffix(prefix, "/") + "/metrics"})
	}
	absent := true // the server runs without it, and shows no metrics
	pod := &template.Spec
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: metricsVolume, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
		SecretName: secret, Optional: &absent,
		// The token itself, which the Secret has, too, is Prometheus' alone.
		Items: []corev1.KeyToPath{{Key: metricsHashKey, Path: metricsHashKey}},
	}}})
	container := notebookContainer(pod)
	container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: metricsVolume, MountPath: metricsPath, ReadOnly: true})
	addEnv(container, corev1.EnvVar{Name: envMetricsHash, Value: metricsPath + "/" + metricsHashKey})
}
