package portal

import "strings"

// ProblemKinds are the kinds that the table of errors has.
func ProblemKinds() []string {
	kinds := []string{"internal", "invalid-policy"}
	for _, r := range rows {
		kinds = append(kinds, strings.TrimPrefix(r.kind, problemType))
	}
	return kinds
}
