package openid

import (
	"fmt"
	"strings"

	"github.com/elastichub/elastichub/groups"
)

const (
	maxGroups      = 10_000
	maxNameBytes   = 1024
	maxPrefixBytes = 64
)

// splitPath splits the path of a claim at its dots; `\.` is a dot in a name.
func splitPath(path string) []string {
	var all []string
	var key strings.Builder
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '\\' && i+1 < len(path):
			i++
			key.WriteByte(path[i])
		case path[i] == '.':
			all = append(all, key.String())
			key.Reset()
		default:
			key.WriteByte(path[i])
		}
	}
	return append(all, key.String())
}

// groupsOf collects the groups that claims name. Providers leave out the claim
// of a user who has no groups; anything there that is no list of names is an
// error.
func groupsOf(claims map[string]any, paths []string, prefix string) ([]groups.Group, error) {
	var all []groups.Group
	seen := map[string]bool{}
	for _, path := range paths {
		names, err := names(claims, path)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if name == "" || len(name) > maxNameBytes {
				return nil, fmt.Errorf("claim %q: the name of a group has %d bytes, not 1 to %d", path, len(name), maxNameBytes)
			}
			if seen[name] {
				continue
			}
			if len(all) >= maxGroups {
				return nil, fmt.Errorf("more than %d groups", maxGroups)
			}
			seen[name] = true
			// A name that looks like a DN is none: the provider may let users
			// name groups.
			all = append(all, groups.Group{Name: prefix + name})
		}
	}
	return all, nil
}

func names(claims map[string]any, path string) ([]string, error) {
	keys := splitPath(path)
	// A provider that has too many groups for a token says where they are
	// instead (OpenID Connect Core 5.6.2); to it, the user is not without groups.
	if elsewhere, _ := claims["_claim_names"].(map[string]any); elsewhere[keys[0]] != nil {
		return nil, fmt.Errorf("claim %q: the provider says only where the groups are; let it send fewer", path)
	}
	var value any = claims
	for i, key := range keys {
		object, is := value.(map[string]any)
		if !is {
			return nil, fmt.Errorf("claim %q: %q is no object", path, strings.Join(keys[:i], "."))
		}
		var known bool
		if value, known = object[key]; !known || value == nil {
			return nil, nil
		}
	}
	switch value := value.(type) {
	case string:
		return []string{value}, nil
	case []any:
		all := make([]string, 0, len(value))
		for _, element := range value {
			name, is := element.(string)
			if !is {
				return nil, fmt.Errorf("claim %q: not a list of names", path)
			}
			all = append(all, name)
		}
		return all, nil
	default:
		return nil, fmt.Errorf("claim %q: not a list of names", path)
	}
}
