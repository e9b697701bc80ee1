package hubapi

import (
	"maps"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// environment is what the server runs with: the policy's variables and, over
// them, the Hub's, which the server cannot work without.
func environment(hub map[string]string, policy []v1alpha1.PolicyEnv) map[string]string {
	env := make(map[string]string, len(hub)+len(policy))
	for _, variable := range policy {
		env[variable.Name] = variable.Value
	}
	maps.Copy(env, hub)
	return env
}
