package podrules

import (
	"fmt"
	"strings"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Person is whom the texts of a policy are written out for.
type Person struct {
	// User and Server are the names as they are; the default server's is empty.
	User, Server string
	// UserSlug and ServerSlug are what no other user, and no other server of the user,
	// has: of letters, digits and hyphens, of which no two that stand alone are in a row.
	UserSlug, ServerSlug string
}

// MaxSlug is how long a slug of a Person is at most.
const MaxSlug = 38

// slugged writes a text out with slugs. What joins the name of a server goes with it where
// that is empty.
func (p Person) slugged(text string) string {
	if p.Server == "" {
		text = strings.NewReplacer("--"+v1alpha1.ServernameMark, "", "/"+v1alpha1.ServernameMark, "").Replace(text)
	}
	return strings.NewReplacer(v1alpha1.UsernameMark, p.UserSlug, v1alpha1.ServernameMark, p.ServerSlug).Replace(text)
}

// raw writes a text out with the names as they are.
func (p Person) raw(text string) string {
	return strings.NewReplacer(v1alpha1.UsernameMark, p.User, v1alpha1.ServernameMark, p.Server).Replace(text)
}

// value is raw for the value of a variable: the kubelet expands nothing in the names.
func (p Person) value(text string) string {
	return Person{User: Literal(p.User), Server: Literal(p.Server)}.raw(text)
}

// example writes a text out with slugs of the greatest length.
func example(text string) string {
	slug := strings.Repeat("x", MaxSlug)
	return Person{User: "x", Server: "x", UserSlug: slug, ServerSlug: slug}.slugged(text)
}

// marksProblem is why a text with marks could be the same for two people; empty if it cannot.
func marksProblem(text string, joints ...string) string {
	rest := text
	for _, joint := range joints {
		rest = strings.ReplaceAll(rest, v1alpha1.UsernameMark+joint+v1alpha1.ServernameMark, v1alpha1.UsernameMark)
	}
	if strings.Contains(rest, v1alpha1.ServernameMark) {
		return fmt.Sprintf("%s must follow %s, with %s between them: other servers could have the same", v1alpha1.ServernameMark, v1alpha1.UsernameMark, strings.Join(joints, " or "))
	}
	if strings.Count(rest, v1alpha1.UsernameMark) > 1 {
		return v1alpha1.UsernameMark + " must be there once"
	}
	return ""
}

// reservedPrefixes begin the names of what elastichub makes for each server: Secrets with
// a user's tokens, and homes.
var reservedPrefixes = []string{v1alpha1.HubServerPrefix, v1alpha1.DefaultHomeClaim(v1alpha1.HubServerPrefix)}

// nameMarksProblem is marksProblem for the name of an object, which somebody's choice of a
// user name must not make that of another object.
func nameMarksProblem(name string) string {
	before, _, has := strings.Cut(name, v1alpha1.UsernameMark)
	if !has {
		return marksProblem(name, "--")
	}
	for _, reserved := range reservedPrefixes {
		if strings.HasPrefix(before, reserved) || strings.HasPrefix(reserved, before) {
			return fmt.Sprintf("what is before %s must keep it from being the name of another object, such as those that begin with %s: write data-%s", v1alpha1.UsernameMark, reserved, v1alpha1.UsernameMark)
		}
	}
	return marksProblem(name, "--")
}
