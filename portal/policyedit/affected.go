package policyedit

import (
	"maps"
	"slices"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/portal/holdings"
)

// mostUsers is how many are named.
const mostUsers = 50

// Affected is who has something by a policy.
type Affected struct {
	// Users have servers that run, or kernels that are not over, under it; the first by name.
	Users      []string `json:"users"`
	UsersTotal int      `json:"users_total"`
	Servers    int      `json:"servers"`
	Kernels    int      `json:"kernels"`
	// Groups are those that it names, and who else names them.
	Groups []NamedGroup `json:"groups"`
	// Default is the policy that counts for whom no other names, without this one;
	// empty: they get nothing.
	Default string `json:"default"`
}

// NamedGroup is a group as a policy names it.
type NamedGroup struct {
	Group string `json:"group"`
	// Members are as the directory has them, absent where it does not tell.
	Members *int `json:"members,omitempty"`
	// Others are further policies that name it.
	Others []string `json:"others"`
}

// AffectedBy finds them. members may be nil.
func AffectedBy(policy v1alpha1.GroupPolicy, all []v1alpha1.GroupPolicy, servers []holdings.Server, kernels []holdings.Kernel, members func(group string) *int) Affected {
	a := Affected{Users: []string{}, Groups: []NamedGroup{}}
	users := map[string]bool{}
	for _, s := range servers {
		if s.Policy == policy.Name && !s.Stopped && s.Phase != v1alpha1.NotebookStopped && s.Phase != v1alpha1.NotebookFailed {
			a.Servers++
			users[s.User] = true
		}
	}
	for _, k := range kernels {
		if k.Policy == policy.Name && !k.Phase.IsOver() {
			a.Kernels++
			users[k.User] = true
		}
	}
	a.UsersTotal = len(users)
	a.Users = append(a.Users, slices.Sorted(maps.Keys(users))[:min(len(users), mostUsers)]...)
	others := holdings.PoliciesOf(all)
	for _, other := range others {
		if other.Default && other.Name != policy.Name {
			a.Default = other.Name
			break
		}
	}
	for _, group := range policy.Spec.Groups {
		named := NamedGroup{Group: group, Others: []string{}}
		for _, other := range others {
			if other.Name != policy.Name && groups.SameGroups(group, other.Groups) {
				named.Others = append(named.Others, other.Name)
			}
		}
		if members != nil {
			named.Members = members(group)
		}
		a.Groups = append(a.Groups, named)
	}
	return a
}
