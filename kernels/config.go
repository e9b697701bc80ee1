package kernels

import (
	"errors"
	"fmt"

	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/queue"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/tokens"
	"github.com/elastichub/elastichub/tracing"
)

// Config is what the controllers of this package need to know.
type Config struct {
	// Namespace is the release's, where policies and the ledger are.
	Namespace string
	// Scope is the namespaces whose kinds are looked after; nil: the release's alone.
	Scope *namespaces.Scope
	// Owner keeps other releases away from them; nil: there are none.
	Owner *namespaces.Owner
	Pods  podspec.Config
	// KeepSeeds are what the keys of kernels' states follow from, keys.Size bytes. Without
	// it no state is kept.
	KeepSeeds keys.KeepSeeds
	// Tokens tells by which keys tokens of notebooks count.
	Tokens *tokens.Issuer
	// MetricsToken names a Secret whose key token whoever reads a gateway's metrics
	// has to show. Empty: nothing.
	MetricsToken string
	// PullSecrets names the Secrets with which the image of gateways is pulled.
	PullSecrets []string
	// ClusterCapacity lets admission read Nodes and Pods of all namespaces.
	// Without it only the policies limit, and the scheduler decides the rest.
	ClusterCapacity bool
	// NodePools are those that autoscalers add nodes to; they need ClusterCapacity.
	NodePools []queue.NodePool
	// Allowances is asked for a user's policies before a kernel is admitted. nil:
	// nobody can be asked, and those count that the server started with.
	Allowances queue.Allowances
	// Ledger names the ledger of hours; empty: none is kept.
	Ledger string
	// Tracer is told how runs of kernels begin; nil: nothing is recorded.
	Tracer *tracing.Tracer
	// Tracing is where gateways send what they record.
	Tracing tracing.Config
}

// Validate returns all faults at once.
func (c Config) Validate() error {
	var faults []error
	for _, required := range []struct{ path, value string }{
		{"kernels.namespace", c.Namespace}, {"kernels.image", c.Pods.Image}, {"kernels.kernelImage", c.Pods.KernelImage},
	} {
		if required.value == "" {
			faults = append(faults, fmt.Errorf("%s: must be set", required.path))
		}
	}
	if !podrules.IsPullPolicy(c.Pods.ImagePullPolicy) {
		faults = append(faults, fmt.Errorf("kernels.imagePullPolicy: %q is none of Always, IfNotPresent, Never, and not empty", c.Pods.ImagePullPolicy))
	}
	if c.Tokens == nil {
		faults = append(faults, errors.New("kernels.tokens: must be set"))
	}
	if err := queue.ValidatePools("kernels.nodePools", c.NodePools); err != nil {
		faults = append(faults, err)
	}
	if c.KeepSeeds != nil {
		for _, seed := range c.KeepSeeds() {
			if n := len(seed); n != keys.Size {
				faults = append(faults, fmt.Errorf("kernels.keepSeeds: %d bytes, want %d", n, keys.Size))
			}
		}
	}
	return errors.Join(faults...)
}
