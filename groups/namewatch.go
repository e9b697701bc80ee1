package groups

import (
	"log/slog"
	"slices"
	"sync"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups/naming"
)

// Bounds of what a nameWatch remembers.
const (
	maxWatchedNames = 1000
	maxNamesakes    = 20
)

// nameWatch notices that a plain name in a policy means several groups of the
// directory, also when no user is in more than one of them, and says so in the
// log, once for every further group.
type nameWatch struct {
	mu    sync.Mutex
	known map[string][]string // canonical DNs by folded name
}

// note looks at the groups of a user that policies name.
func (w *nameWatch) note(m Membership, policies []v1alpha1.GroupPolicy) {
	for _, ranked := range rank(m, policies) {
		for _, entry := range ranked.policy.Spec.Groups {
			if naming.LooksLikeDN(entry) {
				continue
			}
			for _, g := range ranked.groups {
				if key, err := naming.CanonicalDN(g.DN); err == nil && naming.Same(g.Name, entry) {
					w.saw(naming.Fold(entry), key, ranked.policy.Name)
				}
			}
		}
	}
}

func (w *nameWatch) saw(name, dn, policy string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.known == nil {
		w.known = map[string][]string{}
	}
	dns := w.known[name]
	if slices.Contains(dns, dn) || len(dns) >= maxNamesakes || len(dns) == 0 && len(w.known) >= maxWatchedNames {
		return
	}
	w.known[name] = append(dns, dn)
	if len(dns) > 0 {
		slog.Warn("a policy's plain name means several groups: name the DN of the one that is meant",
			"policy", policy, "name", name, "groups", w.known[name])
	}
}
