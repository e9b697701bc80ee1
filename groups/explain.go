package groups

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Explanation says how a user came to an allowance, or why to none.
type Explanation struct {
	User string `json:"user"`
	// Source, AsOf, Stale and Groups are empty when the lookup failed.
	Source string    `json:"source,omitempty"`
	AsOf   time.Time `json:"asOf,omitzero"`
	Stale  bool      `json:"stale,omitempty"`
	Groups []Group   `json:"groups,omitempty"`
	// Sources is what each of several sources said.
	Sources []Origin `json:"sources,omitempty"`
	// Matching is how the policies are put together.
	Matching Matching `json:"matching"`
	// Policies are all there are, the strongest claim first.
	Policies []PolicyExplanation `json:"policies,omitempty"`
	// Allowance is nil when Fault is set.
	Allowance *Allowance `json:"allowance,omitempty"`
	// Origins are the policies that each value of the allowance comes from.
	Origins map[string][]string `json:"origins,omitempty"`
	// Fault is the text of the error that Allowance returns for the user, Err.
	Fault string `json:"fault,omitempty"`
	Err   error  `json:"-"`
}

// PolicyExplanation is one policy, seen from the user.
type PolicyExplanation struct {
	Name     string `json:"name"`
	Priority int32  `json:"priority"`
	Applied  bool   `json:"applied"`
	// Because is a sentence, in English, and Claim what it says.
	Because string `json:"because"`
	Claim   Claim  `json:"claim"`
	// Other is the policy that comes first, or whose faults keep this one from counting.
	Other string `json:"other,omitempty"`
	// MatchedBy are the user's groups that the policy names.
	MatchedBy []Group `json:"matchedBy,omitempty"`
	// Faults are what is wrong with the policy, whether it matters here or not.
	Faults []string `json:"faults,omitempty"`
}

// Claim is why a policy counts for a user, or does not.
type Claim string

// Claims.
const (
	// ClaimNone: it names none of the user's groups, and is no default.
	ClaimNone Claim = "none"
	// ClaimFaults: it would count, had it no faults.
	ClaimFaults Claim = "faults"
	// ClaimBlocked: it would count, had Other no faults.
	ClaimBlocked Claim = "blocked"
	// ClaimTogether: it counts with others.
	ClaimTogether Claim = "together"
	// ClaimHighest: it counts alone.
	ClaimHighest Claim = "highest"
	// ClaimDefault: it is the default that counts.
	ClaimDefault Claim = "default"
	// ClaimBehind: it matches, but Other comes first.
	ClaimBehind Claim = "behind"
)

// Explain never fails: what went wrong is part of the explanation. It asks the
// source as AllowanceNow does.
func (s *Service) Explain(ctx context.Context, user string) Explanation {
	e := Explanation{User: user, Matching: s.matching}
	m, err := s.members.Refresh(ctx, user)
	if err != nil {
		e.Fault, e.Err = err.Error(), err
		return e
	}
	e.Source, e.AsOf, e.Stale, e.Groups, e.Sources = m.Source, m.AsOf, m.Stale, m.Groups, m.Origins
	policies, err := s.policies.Policies(ctx)
	if err != nil {
		e.Err = fmt.Errorf("%w: list policies: %w", ErrUnavailable, err)
		e.Fault = e.Err.Error()
		return e
	}
	ranked := rank(m, policies)
	e.Policies = explainPolicies(ranked, s.matching)
	a, err := Resolve(m, policies, s.matching)
	if err != nil {
		e.Fault, e.Err = err.Error(), err
		return e
	}
	e.Allowance = &a
	var single []Allowance
	for _, d := range deciding(ranked, s.matching) {
		single = append(single, allow(m, *d.policy))
	}
	e.Origins = origins(a, single)
	return e
}

// explainPolicies puts the order of rank into words.
func explainPolicies(ranked []match, matching Matching) []PolicyExplanation {
	all := make([]PolicyExplanation, 0, len(ranked))
	n := len(deciding(ranked, matching))
	broken := ""
	for _, m := range ranked[:n] {
		if len(ValidatePolicy(*m.policy)) > 0 {
			broken = m.policy.Name
			break
		}
	}
	for i, m := range ranked {
		v := PolicyExplanation{Name: m.policy.Name, Priority: m.policy.Spec.Priority, MatchedBy: m.groups}
		for _, fault := range ValidatePolicy(*m.policy) {
			v.Faults = append(v.Faults, fault.Error())
		}
		claim := "names " + groupNames(m.groups) + namesakes(m)
		if len(m.groups) == 0 {
			claim = "is a default and no policy names a group of the user"
		}
		switch {
		case !m.applies():
			v.Claim, v.Because = ClaimNone, "names none of the user's groups"
		case i < n && len(v.Faults) > 0:
			v.Claim, v.Because = ClaimFaults, claim+", but has faults, and no other policy is used instead"
		case i < n && broken != "":
			v.Claim, v.Other, v.Because = ClaimBlocked, broken, claim+", but gives nothing while "+broken+" has faults"
		case n > 1 && i < n:
			v.Applied, v.Claim, v.Because = true, ClaimTogether, fmt.Sprintf("%s; one of %d that count together", claim, n)
		case i < n && len(m.groups) > 0:
			v.Applied, v.Claim, v.Because = true, ClaimHighest, claim+" and has the highest priority"
		case i < n:
			v.Applied, v.Claim, v.Because = true, ClaimDefault, claim
		case len(m.groups) == 0:
			v.Claim, v.Other, v.Because = ClaimBehind, ranked[0].policy.Name, fmt.Sprintf("is a default; %s comes first", ranked[0].policy.Name)
		default:
			v.Claim, v.Other, v.Because = ClaimBehind, ranked[0].policy.Name, fmt.Sprintf("%s, but %s comes first", claim, ranked[0].policy.Name)
		}
		all = append(all, v)
	}
	return all
}

// origins finds, for each value of an allowance, which of its policies state
// that value.
func origins(u Allowance, parts []Allowance) map[string][]string {
	all := map[string][]string{}
	from := func(key string, states func(Allowance) bool) {
		for _, a := range parts {
			if states(a) {
				all[key] = append(all[key], a.Policies[0])
			}
		}
	}
	for name, of := range map[string]func(Allowance) Range{
		"cpu": func(a Allowance) Range { return a.CPU }, "memory": func(a Allowance) Range { return a.Memory },
	} {
		from(name+".min", func(a Allowance) bool { r := of(a); return r.Min.Cmp(of(u).Min) == 0 })
		from(name+".max", func(a Allowance) bool { r := of(a); return r.Max.Cmp(of(u).Max) == 0 })
		from(name+".step", func(a Allowance) bool { r := of(a); return r.Step.Cmp(of(u).Step) == 0 })
		from(name+".requestRatio", func(a Allowance) bool { return of(a).RequestRatio == of(u).RequestRatio })
		all[name+".default"] = u.Policies[:1]
	}
	for _, c := range u.Images {
		from("images."+c.ID, func(a Allowance) bool {
			return has(a.Images, c.ID, func(x v1alpha1.ImageChannel) string { return x.ID })
		})
	}
	for _, k := range u.Kernels.Allowed {
		from("kernels.allowed."+k, func(a Allowance) bool { return has(a.Kernels.Allowed, k, func(x string) string { return x }) })
	}
	for _, g := range u.GPUs {
		from("gpus."+g.Resource, func(a Allowance) bool {
			return len(a.GPUs) > 0 && a.GPUs[0].Resource == g.Resource && (a.GPUs[0].PerUser == g.PerUser || a.GPUs[0].PerKernel == g.PerKernel)
		})
	}
	for _, e := range u.Env {
		from("env."+e.Name, func(a Allowance) bool { return has(a.Env, e.Name, func(x v1alpha1.PolicyEnv) string { return x.Name }) })
	}
	for _, p := range u.Presets {
		from("presets."+p.Name, func(a Allowance) bool {
			return has(a.Presets, p.Name, func(x v1alpha1.Preset) string { return x.Name })
		})
	}
	for _, secret := range u.ImagePullSecrets {
		from("imagePullSecrets."+secret.Name, func(a Allowance) bool {
			return has(a.ImagePullSecrets, secret.Name, func(x v1alpha1.PullSecret) string { return x.Name })
		})
	}
	storageOrigins(u, from)
	from("pod", func(a Allowance) bool { return a.Pod != nil })
	from("serversPerUser", func(a Allowance) bool { return a.ServersPerUser == u.ServersPerUser })
	from("serverIdleSeconds", func(a Allowance) bool { return a.ServerIdleSeconds == u.ServerIdleSeconds })
	from("maxRunSeconds", func(a Allowance) bool { return a.MaxRunSeconds == u.MaxRunSeconds })
	from("snoozeMaxSeconds", func(a Allowance) bool { return snoozeSeconds(a) == snoozeSeconds(u) })
	if len(u.Kernels.Allowed) > 0 {
		allowsKernels := func(a Allowance) bool { return len(a.Kernels.Allowed) > 0 }
		from("kernels.perUser", func(a Allowance) bool { return allowsKernels(a) && a.Kernels.PerUser == u.Kernels.PerUser })
		from("kernels.atLimit", func(a Allowance) bool { return allowsKernels(a) && a.Kernels.AtLimit == u.Kernels.AtLimit })
		from("kernels.idleSeconds", func(a Allowance) bool { return allowsKernels(a) && a.Kernels.IdleSeconds == u.Kernels.IdleSeconds })
		from("kernels.weight", func(a Allowance) bool { return allowsKernels(a) && a.Kernels.Weight == u.Kernels.Weight })
		from("kernels.maxRunSeconds", func(a Allowance) bool {
			return allowsKernels(a) && ptr.Equal(a.Kernels.MaxRunSeconds, u.Kernels.MaxRunSeconds)
		})
		all["kernels.budget"], all["kernels.onBudget"] = u.Policies[:1], u.Policies[:1]
		from("kernels.ownEnvironments", func(a Allowance) bool { return allowsKernels(a) && ptr.Deref(a.Kernels.OwnEnvironments, false) })
	}
	all["placement"] = u.Policies[:1]
	return all
}

func storageOrigins(u Allowance, from func(string, func(Allowance) bool)) {
	if u.Storage == nil {
		return
	}
	from("storage.home", func(a Allowance) bool {
		return a.Storage != nil && a.Storage.Home != nil && equality.Semantic.DeepEqual(a.Storage.Home, u.Storage.Home)
	})
	for _, v := range u.Storage.Shared {
		from("storage.shared."+v.MountPath, func(a Allowance) bool {
			return a.Storage != nil && slices.ContainsFunc(a.Storage.Shared, func(x v1alpha1.SharedVolume) bool {
				return x.MountPath == v.MountPath && x.Claim == v.Claim && x.ReadOnly == v.ReadOnly
			})
		})
	}
}

func has[T any](all []T, name string, of func(T) string) bool {
	for _, t := range all {
		if of(t) == name {
			return true
		}
	}
	return false
}
