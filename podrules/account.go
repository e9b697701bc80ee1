package podrules

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// IsForPolicy reports whether the owner of an account lets Pods of a policy run as
// it. Accounts that nobody has marked are for nobody: one may have rights.
func IsForPolicy(account *corev1.ServiceAccount, policy string) bool {
	for name := range strings.SplitSeq(account.Annotations[v1alpha1.AnnotationForPolicies], ",") {
		if name = strings.TrimSpace(name); name == "*" || name != "" && name == policy {
			return true
		}
	}
	return false
}

// RunAs gives a hardened Pod its account, empty for none, and no token of it for the
// Kubernetes API: what the cluster's cloud adds by itself, and what MountAccountTokens
// mounts, is for others.
func RunAs(spec *corev1.PodSpec, account string) { spec.ServiceAccountName = account }
