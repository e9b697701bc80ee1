package groups

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// defaultGPUResource is what GPUs are counted in unless a policy says otherwise.
const defaultGPUResource = "nvidia.com/gpu"

// Resolve turns a membership into an allowance: the matching policy of the
// highest priority, the first by name among equals. A policy that is declared
// as default is taken only when none matches. The errors are ErrNoPolicy and,
// when the policy that decides has faults, ErrInvalidPolicy.
func Resolve(m Membership, policies []v1alpha1.GroupPolicy) (Allowance, error) {
	ranked := rank(m, policies)
	if len(ranked) == 0 || !ranked[0].applies() {
		return Allowance{}, ErrNoPolicy
	}
	decisive := ranked[0]
	if faults := ValidatePolicy(*decisive.policy); len(faults) > 0 {
		return Allowance{}, fmt.Errorf("%w %q: %w", ErrInvalidPolicy, decisive.policy.Name, faults.ToAggregate())
	}
	return allow(m, *decisive.policy), nil
}

// match is a policy seen from one user.
type match struct {
	policy *v1alpha1.GroupPolicy
	// groups of the user that the policy names.
	groups []Group
}

func (m match) applies() bool { return len(m.groups) > 0 || m.policy.Spec.Default }

// rank orders policies by how strongly they claim the user: matching ones by
// priority and name, then defaults likewise, then the others.
func rank(m Membership, policies []v1alpha1.GroupPolicy) []match {
	names, dns := index(m.Groups)
	ranked := make([]match, 0, len(policies))
	for i := range policies {
		ranked = append(ranked, match{policy: &policies[i], groups: matching(policies[i].Spec.Groups, names, dns)})
	}
	class := func(m match) int {
		switch {
		case len(m.groups) > 0:
			return 0
		case m.policy.Spec.Default:
			return 1
		default:
			return 2
		}
	}
	slices.SortFunc(ranked, func(a, b match) int {
		return cmp.Or(
			cmp.Compare(class(a), class(b)),
			cmp.Compare(b.policy.Spec.Priority, a.policy.Spec.Priority),
			cmp.Compare(a.policy.Name, b.policy.Name),
		)
	})
	return ranked
}

// index keys a user's groups by folded name and by canonical DN.
func index(all []Group) (names, dns map[string][]Group) {
	names, dns = map[string][]Group{}, map[string][]Group{}
	for _, g := range all {
		names[foldName(g.Name)] = append(names[foldName(g.Name)], g)
		if g.DN == "" {
			continue
		}
		if key, err := canonicalDN(g.DN); err == nil {
			dns[key] = append(dns[key], g)
		}
	}
	return names, dns
}

// matching returns the groups that a policy's entries name. An entry with an
// equals sign is a DN and never matches a group's name, so that nobody gains
// by naming a group like another's DN.
func matching(entries []string, names, dns map[string][]Group) []Group {
	var found []Group
	for _, entry := range entries {
		if !looksLikeDN(entry) {
			found = append(found, names[foldName(entry)]...)
			continue
		}
		if key, err := canonicalDN(entry); err == nil {
			found = append(found, dns[key]...)
		}
	}
	slices.SortFunc(found, func(a, b Group) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.DN, b.DN)) })
	return slices.Compact(found)
}

// allow fills in every default of a policy that has no faults.
func allow(m Membership, policy v1alpha1.GroupPolicy) Allowance {
	spec := policy.Spec.DeepCopy()
	a := Allowance{
		Policies:          []string{policy.Name},
		DisplayName:       cmp.Or(spec.DisplayName, policy.Name),
		HelpText:          spec.HelpText,
		Groups:            slices.Clone(m.Groups),
		Source:            m.Source,
		AsOf:              m.AsOf,
		Stale:             m.Stale,
		CPU:               cpuUnit.fill(spec.CPU),
		Memory:            memoryUnit.fill(spec.Memory),
		Images:            spec.Images,
		Presets:           spec.Presets,
		NodeSelector:      spec.NodeSelector,
		Tolerations:       spec.Tolerations,
		PriorityClassName: spec.PriorityClassName,
		Storage:           spec.Storage,
		Env:               spec.Env,
		Kernels:           spec.Kernels,
		ServersPerUser:    cmp.Or(spec.ServersPerUser, 1),
		ServerIdleSeconds: spec.ServerIdleSeconds,
		MaxRunSeconds:     spec.MaxRunSeconds,
	}
	for i := range a.Images {
		a.Images[i].DisplayName = cmp.Or(a.Images[i].DisplayName, a.Images[i].ID)
	}
	a.Kernels.GPUResource = cmp.Or(a.Kernels.GPUResource, defaultGPUResource)
	a.Kernels.AtLimit = cmp.Or(a.Kernels.AtLimit, v1alpha1.AtLimitQueue)
	a.Kernels.Weight = cmp.Or(a.Kernels.Weight, 1)
	return a
}
