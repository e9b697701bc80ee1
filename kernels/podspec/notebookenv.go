package podspec

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// notebookVariables are those of its notebook server that a kernel sees, too: where
// that is in the Hub. The others of the same Secret are not for kernels: tokens,
// and addresses that are of no use without.
var notebookVariables = []string{
	"JUPYTERHUB_USER", "JUPYTERHUB_SERVER_NAME", "JUPYTERHUB_SERVICE_PREFIX", "JUPYTERHUB_BASE_URL",
	"JUPYTERHUB_HOST", "JUPYTERHUB_PUBLIC_URL", "JUPYTERHUB_PUBLIC_HUB_URL",
}

// notebookSecret is the Secret with the environment of the kernel's notebook, empty if
// there is none.
func (in Parts) notebookSecret() string {
	if in.Notebook == nil {
		return ""
	}
	return in.Notebook.Spec.EnvSecret
}

// notebookEnv takes the notebook's variables from its Secret. One that is not there
// is not set.
func (in Parts) notebookEnv() []corev1.EnvVar { return in.fromNotebook(notebookVariables) }

// hubEnv is the same for those of the Hub's configuration that kernels are to have.
func (in Parts) hubEnv() []corev1.EnvVar { return in.fromNotebook(in.HubEnvironment) }

func (in Parts) fromNotebook(names []string) []corev1.EnvVar {
	secret := in.notebookSecret()
	if secret == "" {
		return nil
	}
	env := make([]corev1.EnvVar, 0, len(names))
	for _, name := range names {
		env = append(env, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: name, Optional: ptr.To(true),
		}}})
	}
	return env
}

// isHubEnv tells that a variable is one of hubEnv, and nobody else has set it.
func (in Parts) isHubEnv(v corev1.EnvVar) bool {
	return slices.Contains(in.HubEnvironment, v.Name) && v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil &&
		v.ValueFrom.SecretKeyRef.Name == in.notebookSecret()
}
