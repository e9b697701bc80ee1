package groups

import (
	"log/slog"
	"slices"
	"sync"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups/naming"
)

// Bounds of what ambiguousNames remembers.
const (
	maxAmbiguousNames = 1000
	maxNamesakes      = 20
)

// ambiguousNames notices that a plain name in a policy means several groups of
// the directory, also when no user is in more than one of them, and logs it,
// once for every further group.
type ambiguousNames struct {
	mu    sync.Mutex
	known map[string][]string // canonical DNs by folded name
}

// check looks at the groups of a user that policies name.
func (a *ambiguousNames) check(m Membership, policies []v1alpha1.GroupPolicy) {
	for _, ranked := range rank(m, policies) {
		for _, entry := range ranked.policy.Spec.Groups {
			if naming.LooksLikeDN(entry) {
				continue
			}
			for _, g := range ranked.groups {
				if key, err := naming.CanonicalDN(g.DN); err == nil && naming.Same(g.Name, entry) {
					a.record(naming.Fold(entry), key, ranked.policy.Name)
				}
			}
		}
	}
}

func (a *ambiguousNames) record(name, dn, policy string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil {
		a.known = map[string][]string{}
	}
	dns := a.known[name]
	if slices.Contains(dns, dn) || len(dns) >= maxNamesakes || len(dns) == 0 && len(a.known) >= maxAmbiguousNames {
		return
	}
	a.known[name] = append(dns, dn)
	if len(dns) > 0 {
		slog.Warn("a policy's plain name means several groups: name the DN of the one that is meant",
			"policy", policy, "name", name, "groups", a.known[name])
	}
}
