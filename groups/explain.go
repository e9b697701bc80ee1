package groups

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

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
	// Policies are all there are, the strongest claim first.
	Policies []PolicyVerdict `json:"policies,omitempty"`
	// Allowance is nil when Fault is set.
	Allowance *Allowance `json:"allowance,omitempty"`
	// Fault is the text of the error that Allowance returns for the user.
	Fault string `json:"fault,omitempty"`
}

// PolicyVerdict is one policy, seen from the user.
type PolicyVerdict struct {
	Name     string `json:"name"`
	Priority int32  `json:"priority"`
	Applied  bool   `json:"applied"`
	// Because is a sentence.
	Because string `json:"because"`
	// MatchedBy are the user's groups that the policy names.
	MatchedBy []Group `json:"matchedBy,omitempty"`
	// Faults are what is wrong with the policy, whether it matters here or not.
	Faults []string `json:"faults,omitempty"`
}

// Explain never fails: what went wrong is part of the explanation. It asks the
// source as AllowanceNow does.
func (s *Service) Explain(ctx context.Context, user string) Explanation {
	e := Explanation{User: user}
	m, err := s.members.Refresh(ctx, user)
	if err != nil {
		e.Fault = err.Error()
		return e
	}
	e.Source, e.AsOf, e.Stale, e.Groups = m.Source, m.AsOf, m.Stale, m.Groups
	policies, err := s.policies.Policies(ctx)
	if err != nil {
		e.Fault = fmt.Errorf("%w: list policies: %w", ErrUnavailable, err).Error()
		return e
	}
	e.Policies = verdicts(rank(m, policies))
	a, err := Resolve(m, policies)
	if err != nil {
		e.Fault = err.Error()
		return e
	}
	e.Allowance = &a
	return e
}

// verdicts puts the order of rank into words.
func verdicts(ranked []match) []PolicyVerdict {
	all := make([]PolicyVerdict, 0, len(ranked))
	for i, m := range ranked {
		v := PolicyVerdict{Name: m.policy.Name, Priority: m.policy.Spec.Priority, MatchedBy: m.groups}
		for _, fault := range ValidatePolicy(*m.policy) {
			v.Faults = append(v.Faults, fault.Error())
		}
		switch {
		case !m.applies():
			v.Because = "names none of the user's groups"
		case i == 0 && len(v.Faults) > 0:
			v.Because = "would decide, but has faults; nothing lower takes its place"
		case i == 0 && len(m.groups) == 0:
			v.Applied, v.Because = true, "is the default and no policy names a group of the user"
		case i == 0:
			v.Applied, v.Because = true, "names "+groupNames(m.groups)+" and has the highest priority"
		case len(m.groups) == 0:
			v.Because = fmt.Sprintf("is a default; %s comes first", ranked[0].policy.Name)
		default:
			v.Because = fmt.Sprintf("names %s, but %s comes first", groupNames(m.groups), ranked[0].policy.Name)
		}
		all = append(all, v)
	}
	return all
}

func groupNames(all []Group) string {
	names := make([]string, 0, len(all))
	for _, g := range all {
		names = append(names, g.Name)
	}
	return strings.Join(names, ", ")
}

// WriteText writes the explanation for a person at a terminal.
func (e Explanation) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "user      %q\n", e.User)
	if e.Source != "" {
		fmt.Fprintf(&b, "source    %s, as of %s", e.Source, e.AsOf.UTC().Format(time.RFC3339))
		if e.Stale {
			b.WriteString(" (the directory is down)")
		}
		b.WriteByte('\n')
	}
	for _, g := range e.Groups {
		fmt.Fprintf(&b, "group     %s", g.Name)
		if g.DN != "" {
			fmt.Fprintf(&b, "  (%s)", g.DN)
		}
		b.WriteByte('\n')
	}
	for _, p := range e.Policies {
		mark := "         "
		if p.Applied {
			mark = "applies  "
		}
		fmt.Fprintf(&b, "policy    %s %s, priority %d: %s\n", mark, p.Name, p.Priority, p.Because)
		for _, fault := range p.Faults {
			fmt.Fprintf(&b, "            fault: %s\n", fault)
		}
	}
	if e.Allowance != nil {
		e.Allowance.write(&b)
	}
	if e.Fault != "" {
		fmt.Fprintf(&b, "result    no allowance: %s\n", e.Fault)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (a Allowance) write(b *strings.Builder) {
	bounds := func(name string, r Range) {
		fmt.Fprintf(b, "%-9s %s to %s, step %s, default %s, request %.2f of the limit\n",
			name, r.Min.String(), r.Max.String(), r.Step.String(), r.Default.String(), r.RequestRatio)
	}
	bounds("cpu", a.CPU)
	bounds("memory", a.Memory)
	for _, c := range a.Images {
		fmt.Fprintf(b, "image     %s: %s%s\n", c.ID, c.Image, map[bool]string{true: " (hidden)"}[c.Hidden])
	}
	writeKernels(b, a.Kernels)
	fmt.Fprintf(b, "servers   %d at once\n", a.ServersPerUser)
}

func writeKernels(b *strings.Builder, k v1alpha1.PolicyKernels) {
	if len(k.Allowed) == 0 {
		b.WriteString("kernels   none on the gateway\n")
		return
	}
	fmt.Fprintf(b, "kernels   %s\n", strings.Join(k.Allowed, ", "))
	pool := "unlimited"
	if k.GPUPool != nil {
		pool = fmt.Sprint(*k.GPUPool)
	}
	fmt.Fprintf(b, "gpus      %s: %d per kernel, %d per user, pool %s; at the limit: %s\n",
		k.GPUResource, k.GPUsPerKernel, k.GPUsPerUser, pool, k.AtLimit)
}
