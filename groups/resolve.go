package groups

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups/naming"
)

// Matching says what happens when several policies match a user.
type Matching string

// What happens when several policies match a user.
const (
	// MatchPriority: the policy of the highest priority decides alone, the
	// first by name among equals.
	MatchPriority Matching = "priority"
	// MatchUnion: all of them together, see union.
	MatchUnion Matching = "union"
)

// Validate refuses anything but the two.
func (m Matching) Validate() error {
	if m != MatchPriority && m != MatchUnion {
		return fmt.Errorf("%q is not one of %s, %s", string(m), MatchPriority, MatchUnion)
	}
	return nil
}

// Resolve turns a membership into an allowance. Policies that are declared as
// default count only when none names a group of the user. The errors are
// ErrNoPolicy and, when a policy that decides has faults or contradicts another,
// ErrInvalidPolicy: what a broken policy gave, and what it was meant to give, nobody knows.
func Resolve(m Membership, policies []v1alpha1.GroupPolicy, matching Matching) (Allowance, error) {
	decisive := deciding(rank(m, policies), matching)
	if len(decisive) == 0 {
		return Allowance{}, ErrNoPolicy
	}
	var faults []error
	single := make([]Allowance, 0, len(decisive))
	for _, d := range decisive {
		if found := ValidatePolicy(*d.policy); len(found) > 0 {
			faults = append(faults, fmt.Errorf("%w %q: %w", ErrInvalidPolicy, d.policy.Name, found.ToAggregate()))
			continue
		}
		single = append(single, allow(m, *d.policy))
	}
	if len(faults) > 0 {
		return Allowance{}, errors.Join(faults...)
	}
	together := union(single)
	if err := podContradiction(single, together); err != nil {
		return Allowance{}, err
	}
	return together, nil
}

// deciding are the first of those ranked, as many as count.
func deciding(ranked []match, matching Matching) []match {
	n := 0
	for n < len(ranked) && ranked[n].class() == ranked[0].class() && ranked[n].applies() {
		n++
	}
	if matching != MatchUnion {
		n = min(n, 1)
	}
	return ranked[:n]
}

// match is a policy seen from one user.
type match struct {
	policy *v1alpha1.GroupPolicy
	// groups of the user that the policy names.
	groups []Group
}

// class is how strongly the policy claims the user, the least strongest.
func (m match) class() int {
	switch {
	case len(m.groups) > 0:
		return 0
	case m.policy.Spec.Default:
		return 1
	default:
		return 2
	}
}

func (m match) applies() bool { return m.class() < 2 }

// rank orders policies by how strongly they claim the user: matching ones by
// priority and name, then defaults likewise, then the others.
func rank(m Membership, policies []v1alpha1.GroupPolicy) []match {
	names, dns := index(m.Groups)
	ranked := make([]match, 0, len(policies))
	for i := range policies {
		ranked = append(ranked, match{policy: &policies[i], groups: matching(policies[i].Spec.Groups, names, dns)})
	}
	slices.SortFunc(ranked, func(a, b match) int {
		return cmp.Or(
			cmp.Compare(a.class(), b.class()),
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
		names[naming.Fold(g.Name)] = append(names[naming.Fold(g.Name)], g)
		if g.DN == "" {
			continue
		}
		if key, err := naming.CanonicalDN(g.DN); err == nil {
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
		if !naming.LooksLikeDN(entry) {
			found = append(found, names[naming.Fold(entry)]...)
			continue
		}
		if key, err := naming.CanonicalDN(entry); err == nil {
			found = append(found, dns[key]...)
		}
	}
	slices.SortFunc(found, func(a, b Group) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.DN, b.DN)) })
	return slices.Compact(found)
}

// IsIn reports whether the user is in one of the groups that the entries name, as a
// policy's groups do: by name or by whole DN.
func (m Membership) IsIn(entries []string) bool {
	names, dns := index(m.Groups)
	return len(matching(entries, names, dns)) > 0
}

// allow fills in every default of a policy that has no faults.
func allow(m Membership, policy v1alpha1.GroupPolicy) Allowance {
	spec := policy.Spec.DeepCopy()
	a := Allowance{
		Policies:             []string{policy.Name},
		DisplayName:          cmp.Or(spec.DisplayName, policy.Name),
		HelpText:             spec.HelpText,
		Help:                 help(*spec),
		Groups:               slices.Clone(m.Groups),
		Source:               m.Source,
		AsOf:                 m.AsOf,
		Stale:                m.Stale,
		CPU:                  cpuUnit.fill(spec.CPU),
		Memory:               memoryUnit.fill(spec.Memory),
		Images:               spec.Images,
		Presets:              spec.Presets,
		NodeSelector:         spec.NodeSelector,
		Tolerations:          spec.Tolerations,
		Affinity:             spec.Affinity,
		PriorityClassName:    spec.PriorityClassName,
		SchedulerName:        spec.SchedulerName,
		ServiceAccountName:   spec.ServiceAccountName,
		ServiceAccountTokens: spec.ServiceAccountTokens,
		ImagePullSecrets:     spec.ImagePullSecrets,
		Storage:              spec.Storage,
		Env:                  spec.Env,
		Pod:                  spec.Pod,
		Kernels:              spec.Kernels,
		ServersPerUser:       cmp.Or(spec.ServersPerUser, 1),
		ServerIdleSeconds:    spec.ServerIdleSeconds,
		MaxRunSeconds:        spec.MaxRunSeconds,
		SnoozeMaxSeconds:     spec.SnoozeMaxSeconds,
	}
	for i := range a.Images {
		a.Images[i].DisplayName = cmp.Or(a.Images[i].DisplayName, a.Images[i].ID)
	}
	for i := range a.Presets {
		a.Presets[i].Title = cmp.Or(a.Presets[i].Title, a.Presets[i].Name)
	}
	a.Kernels.GPUResource = cmp.Or(a.Kernels.GPUResource, v1alpha1.DefaultGPUResource)
	a.Kernels.AtLimit = cmp.Or(a.Kernels.AtLimit, v1alpha1.AtLimitQueue)
	a.Kernels.Weight = cmp.Or(a.Kernels.Weight, 1)
	if k := a.Kernels; k.GPUsPerKernel > 0 {
		a.GPUs = []GPUQuota{{Resource: k.GPUResource, PerKernel: k.GPUsPerKernel, PerUser: k.GPUsPerUser, Pool: k.GPUPool, Policy: policy.Name}}
	}
	return a
}

func help(spec v1alpha1.GroupPolicySpec) v1alpha1.PolicyHelp {
	if spec.Help == nil {
		return v1alpha1.PolicyHelp{}
	}
	return *spec.Help
}
