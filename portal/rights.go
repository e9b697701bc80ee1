package portal

import (
	"strings"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/acts"
	"github.com/elastichub/elastichub/portal/signin"
)

// rights says for each route of the API what an account of Kubernetes has to have a right
// to. What is not here is not for accounts; an empty list is for all of them.
var rights = map[string][]signin.Right{
	"GET /api/v1/openapi.yaml": {},
	"GET /api/v1/me":           {},
	// What is a Hub user's own: accounts have none.
	"GET /api/v1/me/servers": {},
	"GET /api/v1/me/kernels": {},
	"GET /api/v1/me/usage":   {},
	"GET /api/v1/me/budgets": {},

	"GET /api/v1/servers/{name}":           {on("get", servers)},
	"GET /api/v1/servers/{name}/events":    {on("get", servers), onCore("list", "events", "")},
	"GET /api/v1/servers/{name}/log":       {on("get", servers), onCore("get", "pods", "log")},
	"POST /api/v1/servers/{name}/stop":     {on("patch", servers)},
	"POST /api/v1/servers/{name}/snooze":   {on("patch", servers)},
	"GET /api/v1/kernels/{name}":           {on("get", kernels)},
	"GET /api/v1/kernels/{name}/events":    {on("get", kernels), onCore("list", "events", "")},
	"GET /api/v1/kernels/{name}/log":       {on("get", kernels), onCore("get", "pods", "log")},
	"POST /api/v1/kernels/{name}/release":  {on("patch", kernels)},
	"POST /api/v1/kernels/{name}/shutdown": {on("patch", kernels)},
	"POST /api/v1/kernels/{name}/snooze":   {on("patch", kernels)},
	"POST /api/v1/kernels/{name}/return":   {on("patch", kernels)},
	// It is moved past others.
	"POST /api/v1/kernels/{name}/move": {on("patch", kernels), on("list", kernels)},

	"GET /api/v1/notebooks":               {on("list", servers)},
	"POST /api/v1/notebooks":              {on("create", servers)},
	"GET /api/v1/notebooks/{name}":        {on("get", servers)},
	"POST /api/v1/notebooks/{name}/start": {on("patch", servers)},
	"POST /api/v1/notebooks/{name}/stop":  {on("patch", servers)},
	"DELETE /api/v1/notebooks/{name}":     {on("delete", servers)},

	"GET /api/v1/overview":                 {on("list", kernels), on("list", servers)},
	"GET /api/v1/queue":                    {on("list", kernels)},
	"GET /api/v1/images":                   {on("list", policies), on("list", kernelSpecs)},
	"GET /api/v1/kernels":                  {on("list", kernels)},
	"GET /api/v1/servers":                  {on("list", servers)},
	"GET /api/v1/usage":                    {on("list", kernels), on("list", servers)},
	"GET /api/v1/budgets":                  {on("list", policies)},
	"GET /api/v1/policies":                 {on("list", policies)},
	"POST /api/v1/policies":                {on("create", policies)},
	"GET /api/v1/policies/{name}":          {on("get", policies)},
	"PATCH /api/v1/policies/{name}":        {on("patch", policies)},
	"POST /api/v1/policies/{name}/delete":  {on("delete", policies)},
	"GET /api/v1/policies/{name}/affected": {on("get", policies), on("list", policies), on("list", kernels), on("list", servers)},
	// The directory is no object: who writes policies has to see its groups.
	"GET /api/v1/directory/groups":         {on("patch", policies)},
	"GET /api/v1/users/{name}/explanation": {on("list", policies)},
}

// resource is the name of a kind in Kubernetes' API.
type resource string

const (
	kernels  resource = "jupyterkernels"
	servers  resource = "jupyternotebooks"
	policies resource = "grouppolicies"

	kernelSpecs resource = "jupyterkernelspecs"
)

func on(verb string, of resource) signin.Right {
	return signin.Right{Verb: verb, Group: v1alpha1.GroupVersion.Group, Resource: string(of)}
}

func onCore(verb, of, sub string) signin.Right {
	return signin.Right{Verb: verb, Resource: of, Subresource: sub}
}

// lacking is the error for an account without a right.
type lacking struct{ right signin.Right }

func (e *lacking) Error() string { return "portal: the account may not " + e.right.String() }

// admitAccount refuses an account of Kubernetes that lacks a right for the route. Errors:
// signin.ErrForbidden, signin.ErrUnavailable, lacking.
func (p *Portal) admitAccount(r *request) error {
	needed, forAccounts := rights[r.route.method+" "+r.route.path]
	if !forAccounts {
		return signin.ErrForbidden
	}
	for _, right := range needed {
		name := ""
		if isNamed(right, r.route.path) {
			if name = r.PathValue("name"); !isObjectName(name) {
				return errNotFound
			}
		}
		may, err := p.deps.Gate.May(r.Context(), r.person.Account, right, name)
		if err != nil {
			return err
		}
		if !may {
			return &lacking{right}
		}
	}
	return nil
}

// isNamed: the right is needed on the object that the path names, not on all.
func isNamed(right signin.Right, path string) bool {
	if right.Verb == "list" || right.Verb == "create" {
		return false
	}
	for prefix, of := range map[string]resource{"/kernels/{name}": kernels, "/servers/{name}": servers, "/notebooks/{name}": servers, "/policies/{name}": policies} {
		if strings.HasPrefix(path, apiPrefix+prefix) {
			return right.Resource == string(of)
		}
	}
	return false
}

// by is the name of who asks, as objects and logs have it: a Hub user, or an account of
// Kubernetes with the mark of those.
func (r *request) by() string {
	if r.person.Account != nil {
		return acts.KubernetesMark + r.person.Account.Name
	}
	return r.person.User
}
