package portal

import (
	"net/http"
	"strings"

	"github.com/elastichub/elastichub/web"
)

// needs says who may make a request.
type needs int

const (
	anyone needs = iota
	// person: whoever is signed in.
	person
	admin
	// account: an account of Kubernetes that has the rights of the route, and nobody of the Hub.
	account
)

// apiPrefix is where the JSON API is, below the base path.
const apiPrefix = "/api/v1"

// route is one of the handler's. A route of the API takes and gives JSON, others take
// forms and give pages.
type route struct {
	method, path string
	needs        needs
	handle       func(*request) error
}

// mostBody bounds what a request of the route may send: a policy has long lists.
func (r route) mostBody() int64 {
	if strings.Contains(r.path, "/policies") || strings.Contains(r.path, "/newpolicy") {
		return maxPolicyBody
	}
	return maxBody
}

// routes are all there are; see serve for what each passes first.
func (p *Portal) routes() []route {
	if p.config.APIOnly {
		return p.apiRoutes()
	}
	return append(p.pageRoutes(), p.apiRoutes()...)
}

func (p *Portal) pageRoutes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		{get, "/signin", anyone, p.signIn},
		{get, "/oauth_callback", anyone, p.signedIn},
		{post, "/signout", person, p.signOut},
		{get, "/signedout", anyone, p.signedOutPage},
		{get, "/static/{name}", anyone, static},

		{get, livePath, person, p.live},

		{get, "/{$}", person, p.minePage},
		{get, "/kernels/{name}", person, p.kernelPage},
		{post, "/kernels/{name}/release", person, p.asksIn("kernels", p.release, web.DoneRelease)},
		{post, "/kernels/{name}/shutdown", person, p.asksIn("kernels", p.shutDown, web.DoneShutDown)},
		{post, "/kernels/{name}/return", person, p.asksIn("kernels", p.returnAs, web.DoneReturn)},
		{post, "/kernels/{name}/snooze", person, p.asksIn("kernels", p.snoozeKernel, web.DoneSnooze)},
		{post, "/kernels/{name}/move", admin, p.asksIn("cluster", p.move, web.DoneMove)},
		{get, "/servers/{name}", person, p.serverPage},
		{post, "/servers/{name}/snooze", person, p.asksIn("servers", p.snoozeServer, web.DoneSnooze)},
		{post, "/servers/{name}/stop", person, p.asksIn("servers", p.stop, web.DoneStop)},
		{get, "/cluster", admin, p.clusterPage},
		{get, "/kernels", admin, p.kernelsPage},
		{get, "/servers", admin, p.serversPage},
		{get, "/policies", admin, p.policiesPage},
		{get, "/newpolicy", admin, p.newPolicyPage},
		{post, "/newpolicy", admin, p.submitPolicy},
		{get, "/policies/{name}", admin, p.policyPage},
		{get, "/policies/{name}/edit", admin, p.editPolicyPage},
		{post, "/policies/{name}/edit", admin, p.submitPolicy},
		{get, "/policies/{name}/delete", admin, p.deletePolicyPage},
		{post, "/policies/{name}/delete", admin, p.submitDeletion},
		{get, "/directory", admin, p.directoryPage},
		{get, "/directory/pick", admin, p.pickPage},
		{get, "/explain", admin, p.explainPage},
		{get, "/my-hours", person, p.hoursPage(true)},
		{get, "/my-hours.csv", person, p.hoursTable(true)},
		{get, "/hours", admin, p.hoursPage(false)},
		{get, "/hours.csv", admin, p.hoursTable(false)},
	}
}

func (p *Portal) apiRoutes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		{get, apiPrefix + "/openapi.yaml", person, document},
		{get, apiPrefix + "/me", person, p.me},
		{get, apiPrefix + "/me/servers", person, p.ownServers},
		{get, apiPrefix + "/me/kernels", person, p.ownKernels},
		{get, apiPrefix + "/servers/{name}", person, p.server},
		{get, apiPrefix + "/servers/{name}/events", person, p.eventsOfServer},
		{get, apiPrefix + "/servers/{name}/log", person, p.logOfServer},
		{get, apiPrefix + "/kernels/{name}/log", person, p.logOfKernel},
		{post, apiPrefix + "/servers/{name}/stop", person, asks(p.stop)},
		{post, apiPrefix + "/servers/{name}/snooze", person, asks(p.snoozeServer)},
		{post, apiPrefix + "/kernels/{name}/snooze", person, asks(p.snoozeKernel)},
		{get, apiPrefix + "/kernels/{name}", person, p.kernel},
		{get, apiPrefix + "/kernels/{name}/events", person, p.eventsOfKernel},
		{post, apiPrefix + "/kernels/{name}/release", person, asks(p.release)},
		{post, apiPrefix + "/kernels/{name}/shutdown", person, asks(p.shutDown)},
		{post, apiPrefix + "/kernels/{name}/return", person, asks(p.returnAs)},

		{get, notebooksPath, person, p.notebooks},
		{post, notebooksPath, account, p.makeNotebook},
		{get, notebookPath, person, p.notebook},
		{post, notebookPath + "/start", person, p.startNotebook},
		{post, notebookPath + "/stop", person, p.stopNotebook},
		{http.MethodDelete, notebookPath, person, p.deleteNotebook},

		{post, apiPrefix + "/kernels/{name}/move", admin, asks(p.move)},
		{get, apiPrefix + "/overview", admin, p.overview},
		{get, apiPrefix + "/queue", admin, p.queue},
		{get, apiPrefix + "/images", admin, p.images},
		{get, apiPrefix + "/kernels", admin, p.kernels},
		{get, apiPrefix + "/servers", admin, p.servers},
		{get, apiPrefix + "/policies", admin, p.policies},
		{post, apiPrefix + "/policies", admin, p.makePolicy},
		{get, apiPrefix + "/policies/{name}", admin, p.wholePolicy},
		{http.MethodPatch, apiPrefix + "/policies/{name}", admin, p.changePolicy},
		{post, apiPrefix + "/policies/{name}/delete", admin, p.deletePolicy},
		{get, apiPrefix + "/policies/{name}/affected", admin, p.affected},
		{get, apiPrefix + "/directory/groups", admin, p.listGroups},
		{get, apiPrefix + "/users/{name}/explanation", admin, p.explanation},
		{get, apiPrefix + "/me/usage", person, p.usage(true)},
		{get, apiPrefix + "/usage", admin, p.usage(false)},
		{get, apiPrefix + "/me/budgets", person, p.tellOwnBudgets},
		{get, apiPrefix + "/budgets", admin, p.tellBudgets},
	}
}
