package admission

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// limits are what the policies of one request come to.
type limits struct {
	// account is the policy that pool and use are booked on; empty without policies.
	account string
	// bounded is false for a request without policies: nothing but the nodes limits it.
	bounded    bool
	missing    bool
	allowed    map[string]bool
	perKernel  Resources
	perUser    Resources
	perUserBy  map[string]string
	kernelsMax int64 // 0 means unlimited
	kernelsBy  string
	refuse     bool
	pool       *int64
	poolOf     string // the resource that the pool counts
}

func limitsOf(names []string, policies map[string]Policy) limits {
	l := limits{
		account: account(names, policies), bounded: len(names) > 0, missing: true, refuse: true,
		allowed: map[string]bool{}, perKernel: Resources{}, perUser: Resources{}, perUserBy: map[string]string{},
	}
	if !l.bounded {
		return limits{}
	}
	unlimited := false
	for _, name := range names {
		p, ok := policies[name]
		if !ok {
			continue
		}
		l.missing = false
		for _, spec := range p.Allowed {
			l.allowed[spec] = true
		}
		l.perKernel[p.GPUResource] = max(l.perKernel[p.GPUResource], p.GPUsPerKernel)
		if _, known := l.perUserBy[p.GPUResource]; !known || p.GPUsPerUser > l.perUser[p.GPUResource] {
			l.perUser[p.GPUResource], l.perUserBy[p.GPUResource] = p.GPUsPerUser, name
		}
		unlimited = unlimited || p.PerUser <= 0
		if p.PerUser > l.kernelsMax {
			l.kernelsMax, l.kernelsBy = p.PerUser, name
		}
		l.refuse = l.refuse && p.Refuse
	}
	if unlimited {
		l.kernelsMax = 0
	}
	if p, ok := policies[l.account]; ok {
		l.pool, l.poolOf = p.GPUPool, p.GPUResource
	}
	return l
}

// never says why a request can never be admitted under these limits; empty if it can.
func (l limits) never(r *Request) string {
	if !l.bounded || l.missing {
		return ""
	}
	by := "policy " + strings.Join(r.Policies, ", ")
	if r.KernelSpec != "" && !l.allowed[r.KernelSpec] {
		return fmt.Sprintf("The kernel %q is not among spec.kernels.allowed of %s.", r.KernelSpec, by)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Wants)) {
		want := r.Wants[name]
		field := fmt.Sprintf("resources.limits[%s] of the kernel is %d", name, want)
		if want > l.perKernel[name] {
			return fmt.Sprintf("%s, but spec.kernels.gpusPerKernel of %s allows %d.", field, by, l.perKernel[name])
		}
		if want > l.perUser[name] {
			return fmt.Sprintf("%s, but spec.kernels.gpusPerUser of %s allows %d.", field, by, l.perUser[name])
		}
		if l.pool != nil && name == l.poolOf && want > *l.pool {
			return fmt.Sprintf("%s, but spec.kernels.gpuPool of policy %s is %d.", field, l.account, *l.pool)
		}
	}
	return ""
}
