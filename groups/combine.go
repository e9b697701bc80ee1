package groups

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/elastichub/elastichub/groups/naming"
)

// Combine is how several sources make one answer.
type Combine string

// Ways to combine. Both fail when a source that they need does not answer:
// the groups it would have named may be the ones that take rights away.
const (
	// CombineUnion takes the groups of every source that knows the user.
	CombineUnion Combine = "union"
	// CombineFirst takes those of the first source that knows the user.
	CombineFirst Combine = "first"
)

// Validate refuses anything but the two.
func (c Combine) Validate() error {
	if c != CombineUnion && c != CombineFirst {
		return fmt.Errorf("%q is not one of %s, %s", string(c), CombineUnion, CombineFirst)
	}
	return nil
}

// Members answers who belongs to what: Lookup from memory when it is young
// enough, Refresh by asking. A Cache is one, and so is a Combination of them.
type Members interface {
	Source
	Refresh(ctx context.Context, user string) (Membership, error)
}

// Part is a source by its name, which its groups bear.
type Part struct {
	Name    string
	Members Members
}

// Origin is what one source said of a user.
type Origin struct {
	Source string    `json:"source"`
	AsOf   time.Time `json:"asOf,omitzero"`
	Stale  bool      `json:"stale,omitempty"`
	// Known is false when the source does not know the user.
	Known bool `json:"known"`
}

// write is a line for a person at a terminal.
func (o Origin) write(b *strings.Builder) {
	switch {
	case !o.Known:
		fmt.Fprintf(b, "source    %s does not know the user\n", o.Source)
	case o.Stale:
		fmt.Fprintf(b, "source    %s, as of %s (it does not answer now)\n", o.Source, o.AsOf.UTC().Format(time.RFC3339))
	default:
		fmt.Fprintf(b, "source    %s, as of %s\n", o.Source, o.AsOf.UTC().Format(time.RFC3339))
	}
}

// Combination asks several sources, in their order.
type Combination struct {
	how   Combine
	parts []Part
}

// NewCombination needs parts of different names. Without any, nobody is known.
func NewCombination(how Combine, parts ...Part) (*Combination, error) {
	if err := how.Validate(); err != nil {
		return nil, fmt.Errorf("combine: %w", err)
	}
	seen := map[string]bool{}
	for _, part := range parts {
		if part.Name == "" || seen[part.Name] {
			return nil, fmt.Errorf("combine: source %q twice, or without a name", part.Name)
		}
		seen[part.Name] = true
	}
	return &Combination{how: how, parts: slices.Clone(parts)}, nil
}

// Lookup implements Source. ErrUnknownUser means that every source answered
// and none knows the user.
func (c *Combination) Lookup(ctx context.Context, user string) (Membership, error) {
	return c.ask(ctx, user, Members.Lookup)
}

// Refresh implements Members.
func (c *Combination) Refresh(ctx context.Context, user string) (Membership, error) {
	return c.ask(ctx, user, Members.Refresh)
}

type question func(Members, context.Context, string) (Membership, error)

type partAnswer struct {
	Membership
	err error
}

func (c *Combination) ask(ctx context.Context, user string, ask question) (Membership, error) {
	if c.how == CombineUnion {
		answers := make([]partAnswer, len(c.parts))
		var waiting sync.WaitGroup
		for i, part := range c.parts {
			waiting.Go(func() { answers[i].Membership, answers[i].err = ask(part.Members, ctx, user) })
		}
		waiting.Wait()
		return combined(user, c.parts, answers)
	}
	var answers []partAnswer
	for _, part := range c.parts {
		m, err := ask(part.Members, ctx, user)
		answers = append(answers, partAnswer{m, err})
		if !errors.Is(err, ErrUnknownUser) {
			break
		}
	}
	return combined(user, c.parts[:len(answers)], answers)
}

// combined makes one answer of one for each part. A group that several name
// is there once, with all their names.
func combined(user string, parts []Part, answers []partAnswer) (Membership, error) {
	all := Membership{User: user}
	var faults []error
	var names []string
	index := map[string]int{}
	for i, answer := range answers {
		name := parts[i].Name
		if errors.Is(answer.err, ErrUnknownUser) {
			all.Origins = append(all.Origins, Origin{Source: name})
			continue
		}
		if answer.err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, answer.err))
			continue
		}
		names = append(names, name)
		all.Origins = append(all.Origins, Origin{Source: name, AsOf: answer.AsOf, Stale: answer.Stale, Known: true})
		all.Stale = all.Stale || answer.Stale
		if all.AsOf.IsZero() || answer.AsOf.Before(all.AsOf) {
			all.AsOf = answer.AsOf
		}
		for _, group := range answer.Groups {
			group.Source = name
			key := groupKey(group)
			at, known := index[key]
			if !known {
				index[key] = len(all.Groups)
				all.Groups = append(all.Groups, group)
			} else if from := all.Groups[at].Source; from != name && !strings.HasSuffix(from, ", "+name) {
				all.Groups[at].Source += ", " + name
			}
		}
	}
	if len(faults) > 0 {
		return Membership{}, errors.Join(faults...)
	}
	if len(names) == 0 {
		return Membership{}, ErrUnknownUser
	}
	all.Source = strings.Join(names, ", ")
	return all, nil
}

// groupKey is equal for groups that no policy can tell apart.
func groupKey(g Group) string {
	if g.DN == "" {
		return "name " + naming.Fold(g.Name)
	}
	if key, err := naming.CanonicalDN(g.DN); err == nil {
		return "dn " + key
	}
	return "text " + g.DN
}
