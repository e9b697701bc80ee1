package prepull

import (
	"fmt"
	"testing"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// BenchmarkPlan is of 20 policies that all allow 20 kernelspecs.
func BenchmarkPlan(b *testing.B) {
	var from Sources
	var kernels []string
	for i := range 20 {
		kernels = append(kernels, fmt.Sprintf("k%d", i))
		from.Specs = append(from.Specs, kernelSpec(kernels[i], kernels[i]+":1", 0))
	}
	for i := range 20 {
		from.Policies = append(from.Policies, policy(fmt.Sprintf("p%d", i), "lab:4", kernels...))
	}
	from.Gateways = []v1alpha1.JupyterGateway{gateway(kernels...)}
	for b.Loop() {
		PlanOf(testConfig(), from)
	}
}
