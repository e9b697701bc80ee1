package hubapi

import (
	"maps"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// environment is what a user's server runs with: the policy's variables and, over
// them, the Hub's, which the server cannot work without. The values of the
// second part are in Secrets that the policy names.
func environment(hub map[string]string, policy []v1alpha1.PolicyEnv, user string) (map[string]string, []corev1.EnvVar) {
	env := make(map[string]string, len(hub)+len(policy))
	var fromSecrets []corev1.EnvVar
	for _, variable := range policy {
		if from := variable.ValueFrom; from == nil {
			env[variable.Name] = variable.For(user)
		} else if _, ours := hub[variable.Name]; !ours {
			fromSecrets = append(fromSecrets, corev1.EnvVar{Name: variable.Name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: from.SecretKeyRef.DeepCopy()}})
		}
	}
	maps.Copy(env, hub)
	return env, fromSecrets
}
