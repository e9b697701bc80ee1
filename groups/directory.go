package groups

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/elastichub/elastichub/groups/naming"
)

// ListedGroup is a group that a source has, whoever is in it.
type ListedGroup struct {
	Group
	// Members are those that its own list names: a group in it counts as one.
	Members int
	// More: the list goes on beyond what the source gave at once.
	More bool
}

// Lister is a source that knows which groups there are.
type Lister interface {
	// Lists reports whether it does, as it is configured.
	Lists() bool
	// ListGroups finds groups that have a part in their name, in any case; an empty
	// part finds all. It gives at most limit of them, and says whether there are
	// more. Errors are ErrUnavailable.
	ListGroups(ctx context.Context, part string, limit int) (found []ListedGroup, more bool, err error)
}

// NamedLister is a lister by its source's name, which its groups bear.
type NamedLister struct {
	Name   string
	Lister Lister
}

// Directory asks all listers.
type Directory []NamedLister

// Lists implements Lister.
func (d Directory) Lists() bool {
	return slices.ContainsFunc(d, func(l NamedLister) bool { return l.Lister.Lists() })
}

// ListGroups implements Lister. One that does not answer fails all: a group that is
// not in the list would seem not to be there.
func (d Directory) ListGroups(ctx context.Context, part string, limit int) (found []ListedGroup, more bool, err error) {
	for _, l := range d {
		if !l.Lister.Lists() {
			continue
		}
		some, others, err := l.Lister.ListGroups(ctx, part, limit)
		if err != nil {
			return nil, false, err
		}
		for _, g := range some {
			g.Source = l.Name
			found = append(found, g)
		}
		more = more || others
	}
	found, beyond := FirstGroups(found, limit)
	return found, more || beyond, nil
}

// FirstGroups sorts by name and keeps at most limit.
func FirstGroups(found []ListedGroup, limit int) (first []ListedGroup, more bool) {
	slices.SortFunc(found, func(a, b ListedGroup) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), cmp.Compare(a.DN, b.DN), cmp.Compare(a.Source, b.Source))
	})
	return found[:min(len(found), limit)], len(found) > limit
}

// IsNamedBy reports whether one of a policy's entries names the group.
func (g Group) IsNamedBy(entries []string) bool {
	names, dns := index([]Group{g})
	return len(matching(entries, names, dns)) > 0
}

// EntryFor is how a policy may name a group: by its name, or, where another of the name
// was found or may be there, by its DN.
func EntryFor(g Group, found []ListedGroup, more bool) string {
	if g.DN == "" {
		return g.Name
	}
	namesakes := 0
	for _, other := range found {
		if naming.Same(g.Name, other.Name) {
			namesakes++
		}
	}
	if more || namesakes > 1 || naming.LooksLikeDN(g.Name) {
		return g.DN
	}
	return g.Name
}

// EntryName is the name of the group that an entry of a policy means.
func EntryName(entry string) string {
	if naming.LooksLikeDN(entry) {
		if name, err := naming.GroupName(entry); err == nil {
			return name
		}
	}
	return entry
}

// SameGroups reports whether one of the entries of a policy means what an entry of
// another does: both are names, or both are DNs.
func SameGroups(entry string, entries []string) bool {
	for _, other := range entries {
		if naming.LooksLikeDN(entry) != naming.LooksLikeDN(other) {
			continue
		}
		if !naming.LooksLikeDN(entry) {
			if naming.Fold(entry) == naming.Fold(other) {
				return true
			}
			continue
		}
		a, err1 := naming.CanonicalDN(entry)
		b, err2 := naming.CanonicalDN(other)
		if err1 == nil && err2 == nil && a == b {
			return true
		}
	}
	return false
}
