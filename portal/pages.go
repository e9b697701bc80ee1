package portal

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/a-h/templ"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/holdings"
	"github.com/elastichub/elastichub/portal/signin"
	"github.com/elastichub/elastichub/web"
)

// maxLanguages bounds an Accept-Language value, in bytes.
const maxLanguages = 1024

// console is what is around the page that a request gets.
func (p *Portal) console(r *request) web.Console {
	languages := r.Header.Get("Accept-Language")
	if len(languages) > maxLanguages {
		languages = ""
	}
	c := web.Console{
		Base: p.config.BasePath, Hub: p.deps.Gate.HubURL(""), User: r.person.User, Admin: r.isAdmin, AdminUnknown: r.adminErr != nil,
		Edits: p.config.Policies.Edit, CSRF: r.person.CSRF, Now: p.deps.Now(), Msg: web.ForLanguages(languages),
	}
	if r.Method == http.MethodGet {
		c.Done = web.Done(r.URL.Query().Get("done"))
	}
	return c
}

// page renders into memory, so that a fault in it is no half page.
func (p *Portal) page(r *request, status int, page func(web.Console) templ.Component) error {
	c := p.console(r)
	var text bytes.Buffer
	if err := page(c).Render(r.Context(), &text); err != nil {
		return err
	}
	r.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	r.w.Header().Set("Content-Language", c.Msg.Lang)
	r.w.WriteHeader(status)
	_, err := text.WriteTo(r.w)
	return err
}

func (p *Portal) minePage(r *request) error {
	h, err := p.lists.get(r.Context())
	if err != nil {
		return err
	}
	servers, kernels := own(h.Servers, ownerOfServer, r.person.User), p.withReturns(r, own(h.Kernels, ownerOfKernel, r.person.User))
	budgets, err := p.ownBudgets(r)
	if err != nil { // a page without them is better than none
		p.deps.Log.WarnContext(r.Context(), "budgets are not shown", "request", r.id, "error", err)
	}
	return p.page(r, http.StatusOK, func(c web.Console) templ.Component { return web.Mine(c, servers, kernels, budgets) })
}

func (p *Portal) clusterPage(r *request) error {
	h, err := p.lists.get(r.Context())
	if err != nil {
		return err
	}
	cluster, images := p.capacity(r), p.imagesOnPage(r)
	return p.page(r, http.StatusOK, func(c web.Console) templ.Component { return web.Cluster(c, h.Overview(cluster), h.Queue(), images) })
}

func (p *Portal) kernelsPage(r *request) error {
	query, found, err := p.pageOfKernels(r)
	if err != nil {
		return err
	}
	return p.page(r, http.StatusOK, func(c web.Console) templ.Component { return web.Kernels(c, query, found) })
}

func (p *Portal) serversPage(r *request) error {
	query, found, err := p.pageOfServers(r)
	if err != nil {
		return err
	}
	return p.page(r, http.StatusOK, func(c web.Console) templ.Component { return web.Servers(c, query, found) })
}

func (p *Portal) policiesPage(r *request) error {
	all, err := p.listPolicies(r)
	if err != nil {
		return err
	}
	return p.page(r, http.StatusOK, func(c web.Console) templ.Component { return web.Policies(c, all) })
}

func (p *Portal) kernelPage(r *request) error {
	o, k, mine, err := p.kernelOf(r)
	if err != nil {
		return err
	}
	if mine {
		k = p.withReturns(r, []holdings.Kernel{k})[0]
	}
	happened := p.happened(r, o, o.Status.PodName, nil)
	logs, err := p.logsOf(r, o.Status.PodName)
	if err != nil {
		return err
	}
	return p.page(r, http.StatusOK, func(c web.Console) templ.Component { return web.OneKernel(c, k, happened, logs, mine) })
}

func (p *Portal) serverPage(r *request) error {
	o, s, mine, err := p.serverOf(r)
	if err != nil {
		return err
	}
	happened := p.happened(r, o, o.Status.PodName, o.Status.Progress)
	logs, err := p.logsOf(r, o.Status.PodName)
	if err != nil {
		return err
	}
	return p.page(r, http.StatusOK, func(c web.Console) templ.Component { return web.OneServer(c, s, happened, logs, mine) })
}

// happened are the events of a page's object; without them the page says so.
func (p *Portal) happened(r *request, o client.Object, pod string, start []v1alpha1.NotebookProgress) web.Events {
	events, err := p.eventsOf(r, o, pod, start)
	if err != nil {
		p.deps.Log.WarnContext(r.Context(), "page without events", "request", r.id, "error", err)
	}
	return web.Events{Known: err == nil, All: events}
}

// asksIn makes a form's route of what asks for something: it leads back to a page that
// says so, the first one for who owns it, else the list.
func (p *Portal) asksIn(list string, ask func(*request) (mine bool, err error), done web.Done) func(*request) error {
	return func(r *request) error {
		mine, err := ask(r)
		if err != nil {
			return err
		}
		page := p.config.BasePath
		if !mine {
			page += list
		}
		http.Redirect(r.w, r.Request, page+"?done="+string(done), http.StatusSeeOther)
		return nil
	}
}

func (p *Portal) signedOutPage(r *request) error {
	return p.page(r, http.StatusOK, func(c web.Console) templ.Component { return web.SignedOut(c) })
}

// static is a file that pages link to.
func static(r *request) error {
	for _, asset := range web.ConsoleAssets {
		if asset.Name != r.PathValue("name") {
			continue
		}
		r.w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		r.w.Header().Del("Vary")
		r.w.Header().Set("Content-Type", asset.MediaType)
		_, err := r.w.Write(asset.Content)
		return err
	}
	return errNoRoute
}

// failPage tells of an error in a page, or leads to where it is mended.
func (p *Portal) failPage(r *request, err error, status int, kind string) {
	if errors.Is(err, signin.ErrSignedOut) && !signin.ShowsToken(r.Request) {
		if r.Method != http.MethodGet {
			http.Redirect(r.w, r.Request, p.config.BasePath, http.StatusSeeOther)
			return
		}
		if err = p.deps.Gate.Begin(r.w, r.Request, p.config.BasePath+strings.TrimPrefix(r.URL.RequestURI(), "/")); err == nil {
			return
		}
		var problem problem
		problem, _ = describe(err)
		status, kind = problem.Status, strings.TrimPrefix(problem.Type, problemType)
	}
	fault, why := web.Fault(kind), err
	// Also one whose time is over gets its page.
	r.Request = r.WithContext(context.WithoutCancel(r.Context()))
	err = p.page(r, status, func(c web.Console) templ.Component {
		c.Done = ""
		if used := new(usedUp); errors.As(why, &used) {
			c.Bound = used.bound
		}
		return web.Failed(c, fault, r.id)
	})
	if err != nil {
		p.deps.Log.ErrorContext(r.Context(), "no page for an error", "request", r.id, "error", err)
		http.Error(r.w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	}
}
