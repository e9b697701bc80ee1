package holdings

import (
	"cmp"
	"slices"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Policy is a GroupPolicy with what is used under it.
type Policy struct {
	Name        string   `json:"name"`
	DisplayName string   `json:"display_name"`
	Groups      []string `json:"groups"`
	Default     bool     `json:"default,omitempty"`
	Priority    int32    `json:"priority"`

	// Largest size of a server, in cores and bytes.
	CPU            float64 `json:"cpu"`
	Memory         int64   `json:"memory"`
	ServersPerUser int32   `json:"servers_per_user"`
	// Servers and Kernels run, Waiting kernels are in the queue, Users have servers, and
	// UsersAtLimit as many as they may.
	Servers      int32 `json:"servers"`
	Kernels      int32 `json:"kernels"`
	Waiting      int32 `json:"waiting"`
	Users        int32 `json:"users"`
	UsersAtLimit int32 `json:"users_at_limit"`
	// GPUs are absent where the policy gives none.
	GPUs *PolicyGPUs `json:"gpus,omitempty"`
	// Fault is why its members get nothing, empty if they do.
	Fault string `json:"fault,omitempty"`
}

// PolicyGPUs are the GPUs of a policy.
type PolicyGPUs struct {
	Resource  string `json:"resource"`
	Held      int32  `json:"held"`
	PerKernel int32  `json:"per_kernel"`
	PerUser   int32  `json:"per_user"`
	// Pool is for all members together, absent if nothing bounds it.
	Pool *int32 `json:"pool,omitempty"`
}

// PoliciesOf lists policies by priority, the highest first.
func PoliciesOf(policies []v1alpha1.GroupPolicy) []Policy {
	all := make([]Policy, 0, len(policies))
	for i := range policies {
		all = append(all, policyOf(&policies[i]))
	}
	slices.SortFunc(all, func(a, b Policy) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Name, b.Name))
	})
	return all
}

func policyOf(p *v1alpha1.GroupPolicy) Policy {
	v := Policy{
		Name: p.Name, DisplayName: cmp.Or(p.Spec.DisplayName, p.Name), Groups: p.Spec.Groups, Default: p.Spec.Default, Priority: p.Spec.Priority,
		CPU: p.Spec.CPU.Max.AsApproximateFloat64(), Memory: p.Spec.Memory.Max.Value(), ServersPerUser: cmp.Or(p.Spec.ServersPerUser, 1),
		Servers: p.Status.Servers, Kernels: p.Status.Kernels, Waiting: p.Status.Queued, Users: p.Status.Users, UsersAtLimit: p.Status.UsersAtLimit,
	}
	if v.Groups == nil {
		v.Groups = []string{}
	}
	if k := p.Spec.Kernels; k.GPUsPerKernel > 0 {
		v.GPUs = &PolicyGPUs{
			Resource: cmp.Or(k.GPUResource, v1alpha1.DefaultGPUResource), Held: p.Status.GPUs,
			PerKernel: k.GPUsPerKernel, PerUser: k.GPUsPerUser, Pool: k.GPUPool,
		}
	}
	if valid := apimeta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionPolicyValid); valid != nil && valid.Status == "False" {
		v.Fault = valid.Message
	}
	return v
}
