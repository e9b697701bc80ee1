package portal

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/acts"
	"github.com/elastichub/elastichub/portal/holdings"
)

// action names what somebody asked for, in the audit log and as an Event's reason.
type action = acts.Act

const (
	actionRelease  = acts.Release
	actionShutDown = acts.ShutDown
	actionStop     = acts.Stop

	actionReturn action = "ReturnRequested"
	actionSnooze action = "SnoozeRequested"
)

// consoleMark keeps a person's name apart from what spec.shutdown.by means besides.
const consoleMark = "console:"

// asked reads what a person asks for who may, and refuses to do it without a reason
// where it is another's.
func (r *request) asked(mine bool) (wish, error) {
	w, err := r.readWish()
	if err == nil && !mine && w.Reason == "" {
		err = errNoReason
	}
	return w, err
}

// kernelAsked is the kernel of a request that asks for something, and what is asked for.
func (p *Portal) kernelAsked(r *request) (k *v1alpha1.JupyterKernel, w wish, mine bool, err error) {
	if k, _, mine, err = p.kernelOf(r); err == nil {
		w, err = r.asked(mine)
	}
	return k, w, mine, err
}

// serverAsked is the server of such a request, as kernelAsked is its kernel.
func (p *Portal) serverAsked(r *request) (nb *v1alpha1.JupyterNotebook, w wish, mine bool, err error) {
	if nb, _, mine, err = p.serverOf(r); err == nil {
		w, err = r.asked(asOwner(nb, mine))
	}
	return nb, w, mine, err
}

// asOwner: what has no user is asked for as by its owner: nobody would read a reason.
func asOwner(nb *v1alpha1.JupyterNotebook, mine bool) bool { return mine || nb.Spec.User == "" }

// release asks the leader to park a kernel, or to let it give up its place.
func (p *Portal) release(r *request) (mine bool, err error) {
	k, w, mine, err := p.kernelAsked(r)
	if err != nil {
		return mine, err
	}
	changes, err := acts.ReleaseKernel(k, r.by(), w.Reason, w.Force)
	if err != nil {
		return mine, err
	}
	return mine, p.change(r, k, actionRelease, w, changes)
}

// shutDown asks the leader to end a kernel for good.
func (p *Portal) shutDown(r *request) (mine bool, err error) {
	k, w, mine, err := p.kernelAsked(r)
	if err != nil {
		return mine, err
	}
	return mine, p.change(r, k, actionShutDown, w, acts.ShutDownKernel(consoleMark+r.by(), p.deps.Now()))
}

// returnAs asks for the next run of a person's own kernel that has no Pod, as a kernelspec
// that it may return as.
func (p *Portal) returnAs(r *request) (mine bool, err error) {
	k, _, mine, err := p.kernelOf(r)
	if err != nil {
		return mine, err
	}
	kernelSpec, err := r.readReturn()
	switch {
	case err != nil:
		return mine, err
	case !mine:
		return mine, errNotOwner
	case k.HasPodOrWaits():
		return mine, errRunning
	}
	choices, err := p.deps.Returns(r.Context(), k.Name)
	if err != nil {
		return mine, err
	}
	if !slices.ContainsFunc(choices, func(c holdings.Choice) bool { return c.Name == kernelSpec }) {
		return mine, errNotOffered
	}
	return mine, p.change(r, k, actionReturn, wish{Reason: kernelSpec}, map[string]any{"spec": map[string]any{
		"kernelSpec": kernelSpec, "run": k.PresentRun() + 1,
	}})
}

// stop stops a server: as its owner does, or as an administrator does, which leaves
// its kernels alone.
func (p *Portal) stop(r *request) (mine bool, err error) {
	nb, w, mine, err := p.serverAsked(r)
	if err != nil {
		return mine, err
	}
	changes, err := acts.StopServer(nb, asOwner(nb, mine), p.deps.Now())
	if err != nil {
		return mine, err
	}
	return mine, p.change(r, nb, actionStop, w, changes)
}

// change writes what was asked for into an object, unless it is another of that name
// by now, and tells of it; more is as in audit.
func (p *Portal) change(r *request, o client.Object, what action, w wish, changes acts.Changes, more ...any) error {
	patch, err := acts.PatchOf(o, changes)
	if err != nil {
		return err
	}
	err = p.deps.Client.Patch(r.Context(), o, patch, client.FieldOwner(fieldOwner))
	switch {
	case apierrors.IsNotFound(err):
		err = errNotFound
	case apierrors.IsConflict(err), apierrors.IsInvalid(err): // such as a return by two at once
		err = fmt.Errorf("%w: %w", errConflict, err)
	}
	p.audit(r, o, what, w, err, more...)
	p.lists.forget()
	return err
}

// fieldOwner is whom the API server books our changes to.
const fieldOwner = "elastichub-console"

// audit is the one place that tells who asked for what: a line of the log, and, where
// it was written, an Event of the object. more are further attributes of the line.
func (p *Portal) audit(r *request, o client.Object, what action, w wish, err error, more ...any) {
	kind := "JupyterKernel"
	switch o.(type) {
	case *v1alpha1.JupyterNotebook:
		kind = "JupyterNotebook"
	case policy:
		kind = policyKind
	}
	outcome := "written"
	if err != nil {
		outcome = "failed"
	}
	p.deps.Log.InfoContext(r.Context(), "audit", append([]any{"request", r.id, "by", r.by(), "admin", r.isAdmin, "action", what,
		"kind", kind, "name", o.GetName(), "uid", o.GetUID(), "reason", w.Reason, "force", w.Force, "outcome", outcome}, more...)...)
	if err != nil {
		return
	}
	event := acts.EventOf(o, kind, what, r.by(), w.Reason, fieldOwner, p.deps.Now())
	// What was asked for is done also where the client has left.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), p.config.RequestTimeout)
	defer cancel()
	if err := p.deps.Client.Create(ctx, event); err != nil {
		p.deps.Log.WarnContext(ctx, "no event of what was asked for", "request", r.id, "error", err)
	}
}

// asks makes a route of the API of what asks for something.
func asks(ask func(*request) (mine bool, err error)) func(*request) error {
	return func(r *request) error {
		if _, err := ask(r); err != nil {
			return err
		}
		r.w.WriteHeader(http.StatusAccepted)
		return nil
	}
}
