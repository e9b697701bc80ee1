package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
)

// mostNear is how many names are offered for one that there is not.
const mostNear = 3

func where(namespace string) string {
	if namespace == "" {
		return "in all namespaces"
	}
	return "in the namespace " + namespace
}

// refused says which right is missing.
func refused(verb, resource, namespace string) string {
	return fmt.Sprintf("You may not %s %s %s", verb, resource, where(namespace))
}

// sentence says what came of asking the cluster.
func sentence(err error, verb, resource, namespace string) error {
	var malformed *apierrors.StatusError
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s: ask for a Role with the verb %s on %s", refused(verb, resource, namespace), verb, resource)
	case apierrors.IsUnauthorized(err):
		return errors.New("the cluster does not know you: sign in again, or name another --context")
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err), runtime.IsNotRegisteredError(err):
		return fmt.Errorf("the cluster has no %s: elastichub is not installed there", resource)
	case apierrors.IsConflict(err):
		return errors.New("somebody else has changed it meanwhile: look again")
	case errors.Is(err, context.DeadlineExceeded), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return errors.New("the cluster does not answer")
	case errors.As(err, &malformed):
		return fmt.Errorf("the cluster refuses to %s %s: %s", verb, resource, malformed.Status().Message)
	}
	return fmt.Errorf("the cluster cannot be asked: %w", err)
}

// near are the names that are like one.
func near(name string, all []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var found []candidate
	lower := strings.ToLower(name)
	for _, other := range all {
		d := distance(lower, strings.ToLower(other))
		if strings.Contains(strings.ToLower(other), lower) {
			d = 0
		}
		if d <= max(len(name)/3, 2) {
			found = append(found, candidate{other, d})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var names []string
	for _, c := range found[:min(len(found), mostNear)] {
		names = append(names, c.name)
	}
	return names
}

// distance is Levenshtein's, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			if a[i] != b[j] {
				before++
			}
			row[j+1], before = min(before, above+1, row[j]+1), above
		}
	}
	return row[len(b)]
}

// nothingOf says that there is nothing of a name, and what is like it.
func nothingOf(kinds, name, namespace string, all []string) error {
	text := fmt.Sprintf("there is no %s %q %s", kinds, name, where(namespace))
	if names := near(name, all); len(names) > 0 {
		text += ": did you mean " + strings.Join(names, " or ") + "?"
	}
	return errors.New(text)
}
