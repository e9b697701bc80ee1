package portal

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/acts"
	"github.com/elastichub/elastichub/portal/holdings"
)

// A notebook is the object: what is asked for, made, started, stopped and deleted. A server
// is what runs for it, under its name: how it goes, its events, its log. Both are asked to stop
// by the same act.

const (
	actionNotebookMade    action = "NotebookCreated"
	actionNotebookDeleted action = "NotebookDeleted"
	actionStart                  = acts.Start

	notebooksPath = apiPrefix + "/notebooks"
	notebookPath  = notebooksPath + "/{name}"
)

// Whose notebooks a list has.
const (
	scopeOwn = "own"
	scopeAll = "all"
)

// listedNotebooks are one page of those of the scope.
type listedNotebooks struct {
	holdings.Page[holdings.Notebook]
	Scope string `json:"scope"`
}

// notebooks lists all for who may see them, and their own for everybody else.
func (p *Portal) notebooks(r *request) error {
	q, err := r.listQuery()
	if err != nil {
		return err
	}
	h, err := p.lists.get(r.Context())
	if err != nil {
		return err
	}
	servers, scope := h.Servers, scopeAll
	if !r.isAdmin && r.person.Account == nil { // an account has the right of the route
		servers, scope = own(servers, ownerOfServer, r.person.User), scopeOwn
	}
	page, err := holdings.FindServers(servers, q)
	if err != nil {
		return err
	}
	return r.json(listedNotebooks{h.NotebooksOf(page), scope})
}

// notebookOf is the path's notebook as the API server has it, as kernelOf: what was
// written a moment ago is not in every cache yet.
func (p *Portal) notebookOf(r *request) (nb *v1alpha1.JupyterNotebook, mine bool, err error) {
	nb = &v1alpha1.JupyterNotebook{}
	found, err := find(r, p.deps.Live, p.config.Namespace, r.PathValue("name"), nb)
	if err != nil {
		return nil, false, err
	}
	mine, err = r.mayHave(found, nb.Spec.User)
	return nb, mine, err
}

// changeableNotebook is the path's notebook, if it is the version that the request names, and
// can be read whole: of one that cannot nobody knows whether it is the Hub's.
func (p *Portal) changeableNotebook(r *request) (nb *v1alpha1.JupyterNotebook, mine bool, err error) {
	if nb, mine, err = p.notebookOf(r); err != nil {
		return nil, false, err
	}
	if is, _ := r.isAbout(holdings.Version(nb)); !is {
		return nil, false, errOtherVersion
	}
	if why := nb.Malformed(); why != nil {
		return nil, false, fmt.Errorf("%w: %w", errUnreadable, why)
	}
	return nb, mine, nil
}

// isAbout reports whether a request is about that version, and bound whether it names any, in If-Match.
func (r *request) isAbout(version string) (is, bound bool) {
	values := r.Header.Values("If-Match")
	for _, value := range values {
		for tag := range strings.SplitSeq(value, ",") {
			if tag = strings.TrimSpace(tag); tag == "*" {
				return true, false
			} else if tag == `"`+version+`"` {
				return true, true
			}
		}
	}
	return len(values) == 0, len(values) > 0
}

func (p *Portal) notebook(r *request) error {
	nb, _, err := p.notebookOf(r)
	if err != nil {
		return err
	}
	return p.tellNotebook(r, nb, http.StatusOK)
}

// tellNotebook answers with a notebook as it is in nb.
func (p *Portal) tellNotebook(r *request, nb *v1alpha1.JupyterNotebook, status int) error {
	objects := holdings.Objects{Notebooks: []v1alpha1.JupyterNotebook{*nb}, Pods: make([]corev1.Pod, 1)}
	if _, err := p.find(r, nb.Status.PodName, &objects.Pods[0]); err != nil {
		return err
	}
	n := holdings.NotebookOf(nb, holdings.Of(objects).Servers[0])
	r.w.Header().Set("ETag", `"`+n.Version+`"`)
	return r.jsonAs(status, n)
}

func (p *Portal) makeNotebook(r *request) error {
	body, err := r.readBody()
	if err != nil {
		return err
	}
	nb, faults, err := notebookFrom(body)
	if err != nil {
		return err
	}
	nb.Namespace = p.config.Namespace
	if gateway := nb.Spec.Gateway; gateway != nil && len(faults) == 0 {
		found, err := p.find(r, gateway.Name, &v1alpha1.JupyterGateway{})
		if err != nil {
			return err
		}
		if !found {
			faults = append(faults, fault{"gateway", "there is no JupyterGateway of this name"})
		}
	}
	if len(faults) > 0 {
		return &invalidNotebook{faults}
	}
	err = p.deps.Client.Create(r.Context(), nb, client.FieldOwner(fieldOwner), client.FieldValidation(metav1.FieldValidationStrict))
	if apierrors.IsAlreadyExists(err) {
		err = errTaken
	} else if told := faultsOf(err); told != nil {
		refused := &invalidNotebook{}
		for _, f := range told {
			refused.faults = append(refused.faults, fault{f.Path, f.Text})
		}
		err = refused
	}
	p.audit(r, nb, actionNotebookMade, wish{}, err)
	p.lists.forget()
	if err != nil {
		return err
	}
	r.w.Header().Set("Location", p.config.BasePath+strings.TrimPrefix(notebooksPath, "/")+"/"+nb.Name)
	return p.tellNotebook(r, nb, http.StatusCreated)
}

// startNotebook starts one that is stopped; one that is not is as it was asked for.
func (p *Portal) startNotebook(r *request) error {
	nb, _, err := p.changeableNotebook(r)
	if err != nil {
		return err
	}
	w, err := r.asked(true) // nobody asks why something was started
	if err != nil {
		return err
	}
	return p.bring(r, nb, actionStart, w, acts.ErrRunning, func(nb *v1alpha1.JupyterNotebook) (acts.Changes, error) {
		return acts.StartServer(nb, p.deps.Now())
	})
}

// stopNotebook stops one: what has no user is stopped as by its owner, which ends its kernels.
func (p *Portal) stopNotebook(r *request) error {
	nb, mine, err := p.changeableNotebook(r)
	switch {
	case err != nil:
		return err
	case nb.IsOfHub():
		return p.stopOfHub(r)
	}
	w, err := r.asked(asOwner(nb, mine))
	if err != nil {
		return err
	}
	return p.bring(r, nb, actionStop, w, acts.ErrNotRunning, func(nb *v1alpha1.JupyterNotebook) (acts.Changes, error) {
		return acts.StopServer(nb, asOwner(nb, mine), p.deps.Now())
	})
}

// stopOfHub stops a server of the Hub in the way that servers are stopped.
func (p *Portal) stopOfHub(r *request) error {
	_, err := p.stop(r)
	already := errors.Is(err, acts.ErrNotRunning)
	if err != nil && !already {
		return err
	}
	nb, _, err := p.notebookOf(r)
	if err != nil {
		return err
	}
	return p.tellNotebook(r, nb, settled(already))
}

// settled is the status of an answer about what was so already, or is asked for now.
func settled(already bool) int {
	if already {
		return http.StatusOK
	}
	return http.StatusAccepted
}

// bring writes what was asked for, unless it is so already, of which changes tells by that error.
func (p *Portal) bring(r *request, nb *v1alpha1.JupyterNotebook, what action, w wish, already error, changes func(*v1alpha1.JupyterNotebook) (acts.Changes, error)) error {
	wanted, err := changes(nb)
	switch {
	case errors.Is(err, already):
		return p.tellNotebook(r, nb, http.StatusOK)
	case err != nil:
		return err
	}
	err = p.overVersion(r, nb, func(nb *v1alpha1.JupyterNotebook, bound bool) error {
		if bound {
			wanted.Over(nb.ResourceVersion)
		}
		patch, err := acts.PatchOf(nb, wanted)
		if err != nil {
			return err
		}
		return p.deps.Client.Patch(r.Context(), nb, patch, client.FieldOwner(fieldOwner))
	})
	p.audit(r, nb, what, w, err)
	p.lists.forget()
	if err != nil {
		return err
	}
	return p.tellNotebook(r, nb, http.StatusAccepted)
}

// overVersion does something with a notebook, which it may bring up to date. Where the request is
// about one version (bound), it is done over that, and again while nothing but the status changes.
func (p *Portal) overVersion(r *request, nb *v1alpha1.JupyterNotebook, do func(nb *v1alpha1.JupyterNotebook, bound bool) error) error {
	_, bound := r.isAbout(holdings.Version(nb))
	for attempt := 1; ; attempt++ {
		err := do(nb, bound)
		switch {
		case apierrors.IsNotFound(err):
			return errNotFound
		case apierrors.IsInvalid(err), apierrors.IsConflict(err) && (!bound || attempt == tries):
			return fmt.Errorf("%w: %w", errConflict, err)
		case !apierrors.IsConflict(err):
			return err
		}
		now, _, err := p.changeableNotebook(r)
		if err != nil {
			return err
		}
		now.DeepCopyInto(nb)
	}
}

// deletedNotebook says what is left of a notebook.
type deletedNotebook struct {
	Name string `json:"name"`
	// KeptHome is the volume that stays, for a notebook of the same name, or to be deleted.
	KeptHome *holdings.Home `json:"kept_home,omitempty"`
}

func (p *Portal) deleteNotebook(r *request) error {
	nb, mine, err := p.changeableNotebook(r)
	if err != nil {
		return err
	}
	w, err := r.askedInQuery(asOwner(nb, mine))
	switch {
	case err != nil:
		return err
	case nb.IsOfHub():
		return acts.ErrOfHub
	}
	answer := deletedNotebook{Name: nb.Name}
	if home := holdings.HomeOf(nb); home != nil {
		made, err := p.find(r, home.Claim, &corev1.PersistentVolumeClaim{})
		if err != nil {
			return err
		}
		if made {
			answer.KeptHome = home
		}
	}
	err = p.overVersion(r, nb, func(nb *v1alpha1.JupyterNotebook, bound bool) error {
		only := client.Preconditions{UID: &nb.UID}
		if bound {
			only.ResourceVersion = &nb.ResourceVersion
		}
		return p.deps.Client.Delete(r.Context(), nb, only)
	})
	p.audit(r, nb, actionNotebookDeleted, w, err)
	p.lists.forget()
	if err != nil {
		return err
	}
	return r.json(answer)
}

// askedInQuery is as asked, for a method whose requests have no body.
func (r *request) askedInQuery(mine bool) (w wish, err error) {
	values, err := r.query(map[string]int{"reason": acts.MaxReason})
	if err != nil {
		return w, err
	}
	for name, value := range values {
		if name != "reason" {
			return w, errNoParameter
		}
		w.Reason = acts.Line(value)
	}
	if !mine && w.Reason == "" {
		return w, errNoReason
	}
	return w, nil
}
