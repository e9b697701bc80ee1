package podrules

import corev1 "k8s.io/api/core/v1"

// IsPullPolicy reports whether Kubernetes knows a pull policy; none at all is its own
// rule, by the tag of the image.
func IsPullPolicy(policy corev1.PullPolicy) bool {
	switch policy {
	case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
		return true
	default:
		return false
	}
}
