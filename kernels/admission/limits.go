package admission

import (
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
	pools      map[string]share // by resource
}

// share is what all members of a policy may hold of one resource together.
type share struct {
	policy string
	size   int64
}

func limitsOf(names []string, policies map[string]Policy) limits {
	l := limits{
		account: account(names, policies), bounded: len(names) > 0, missing: true, refuse: true,
		allowed: map[string]bool{}, perKernel: Resources{}, perUser: Resources{}, perUserBy: map[string]string{},
		pools: map[string]share{},
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
		if !p.allowsKernels() && slices.ContainsFunc(names, func(other string) bool { return policies[other].allowsKernels() }) {
			continue // its absent limits are no permission
		}
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
	for name := range l.perKernel {
		if giver := Giver(name, names, policies); policies[giver].GPUPool != nil {
			l.pools[name] = share{policy: giver, size: *policies[giver].GPUPool}
		}
	}
	return l
}

func (p Policy) allowsKernels() bool { return len(p.Allowed) > 0 }

// Giver is the policy whose pool a resource comes from: the first that gives
// any of it, or the account where none does.
func Giver(resource string, names []string, policies map[string]Policy) string {
	for _, name := range names {
		if p := policies[name]; p.allowsKernels() && p.GPUResource == resource && p.GPUsPerKernel > 0 {
			return name
		}
	}
	if name := account(names, policies); policies[name].GPUResource == resource {
		return name
	}
	return ""
}

// never says why a request can never be admitted under these limits; the zero
// Reason if it can.
func (l limits) never(r *Request) Reason {
	if !l.bounded || l.missing {
		return Reason{}
	}
	policies := strings.Join(r.Policies, ", ")
	if r.KernelSpec != "" && !l.allowed[r.KernelSpec] {
		return Reason{Code: KernelSpecNotAllowed, KernelSpec: r.KernelSpec, Policy: policies}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Wants)) {
		want := r.Wants[name]
		if limit := l.perKernel[name]; want > limit {
			return Reason{Code: OverGPUsPerKernel, Resource: name, Wants: want, Limit: limit, Policy: policies}
		}
		if limit := l.perUser[name]; want > limit {
			return Reason{Code: OverGPUsPerUser, Resource: name, Wants: want, Limit: limit, Policy: policies}
		}
		if p, ok := l.pools[name]; ok && want > p.size {
			return Reason{Code: OverGPUPool, Resource: name, Wants: want, Limit: p.size, Policy: p.policy}
		}
	}
	return Reason{}
}
