package queue

import (
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/namespaces"
)

// Config is what admission needs to know.
type Config struct {
	// Scope is where kernels and gateways are; the policies are in its own namespace.
	Scope *namespaces.Scope
	Pods  *podspec.Builder
	// ClusterCapacity lets admission read Nodes and Pods of all namespaces.
	// Without it only the policies limit, and the scheduler decides the rest.
	ClusterCapacity bool
	// NodePools are those that autoscalers add nodes to; they need ClusterCapacity.
	NodePools []NodePool
	// Allowances is asked for a user's policies before a kernel is admitted. nil:
	// nobody can be asked, and those count that the server started with.
	Allowances Allowances
	// Standings tells how budgets stand. nil: nobody keeps the hours, and kernels that a
	// budget bounds wait.
	Standings Standings
}
