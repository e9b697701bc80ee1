package portal

import "strings"

// RightsOf are those that an account of Kubernetes needs for a route, and whether there are any
// that suffice.
func RightsOf(route string) (needed []string, forAccounts bool) {
	all, forAccounts := rights[route]
	for _, right := range all {
		needed = append(needed, right.String())
	}
	return needed, forAccounts
}

// ProblemKinds are the kinds that the table of errors has.
func ProblemKinds() []string {
	kinds := []string{"internal", "invalid-policy", "invalid-notebook", "no-right"}
	for _, r := range rows {
		kinds = append(kinds, strings.TrimPrefix(r.kind, problemType))
	}
	return kinds
}

// ShowImages has a portal show images that are pulled beforehand.
func (p *Portal) ShowImages(list ImageLister) { p.deps.Images = list }
