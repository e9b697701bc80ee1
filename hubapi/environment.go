package hubapi

import (
	"maps"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/forms"
)

// environment is what the server runs with: the policy's variables, over
// them the Hub's, which the server cannot work without, and over both the
// limits that jupyter-resource-usage reads.
func environment(hub map[string]string, policy []v1alpha1.PolicyEnv, o forms.Options, cpuRequest, memoryRequest resource.Quantity) map[string]string {
	env := make(map[string]string, len(hub)+len(policy)+4)
	for _, variable := range policy {
		env[variable.Name] = variable.Value
	}
	maps.Copy(env, hub)
	env["CPU_LIMIT"] = strconv.FormatFloat(o.CPU.AsApproximateFloat64(), 'g', -1, 64)
	env["CPU_GUARANTEE"] = strconv.FormatFloat(cpuRequest.AsApproximateFloat64(), 'g', -1, 64)
	env["MEM_LIMIT"] = strconv.FormatInt(o.Memory.Value(), 10)
	env["MEM_GUARANTEE"] = strconv.FormatInt(memoryRequest.Value(), 10)
	return env
}
