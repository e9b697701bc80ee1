package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/acts"
)

// fieldOwner is whom the API server books our changes to.
const fieldOwner = "kubectl-elastichub"

// Wish is what somebody says who asks for something.
type Wish struct {
	// Reason is for the object's user, who may be another.
	Reason string
	// Force releases what is busy, too.
	Force bool
	// DryRun: the API server checks everything and writes nothing.
	DryRun bool
}

// Done says what was asked for, and what could not be done besides.
type Done struct{ Text, Missing string }

// Release asks to park a kernel, named by its id or the beginning of it.
func (c *Cluster) Release(ctx context.Context, name string, w Wish) (Done, error) {
	k := &v1alpha1.JupyterKernel{}
	if err := c.get(ctx, kindKernel, "jupyterkernels", name, k); err != nil {
		return Done{}, err
	}
	return c.ask(ctx, k, asking{
		kind: "JupyterKernel", resource: "jupyterkernels", user: k.Spec.User, what: acts.Release, done: "is asked to park: what it holds is free then",
		changes: func(by string, w Wish) (acts.Changes, error) { return acts.ReleaseKernel(k, by, w.Reason, w.Force) },
	}, w)
}

// Move moves a kernel that waits in the queue of its namespace.
func (c *Cluster) Move(ctx context.Context, name string, to acts.Place, w Wish) (Done, error) {
	k := &v1alpha1.JupyterKernel{}
	if err := c.get(ctx, kindKernel, "jupyterkernels", name, k); err != nil {
		return Done{}, err
	}
	var all v1alpha1.JupyterKernelList
	if err := c.api.List(ctx, &all, client.InNamespace(c.Namespace)); err != nil {
		return Done{}, sentence(err, "list", "jupyterkernels", c.Namespace)
	}
	return c.ask(ctx, k, asking{
		kind: "JupyterKernel", resource: "jupyterkernels", user: k.Spec.User, forOthers: true, what: acts.Move, done: moves[to],
		changes: func(by string, w Wish) (acts.Changes, error) { return acts.MoveKernel(k, all.Items, to, by, w.Reason) },
	}, w)
}

// moves say what becomes of a kernel.
var moves = map[acts.Place]string{
	acts.First: "is moved to the front of the queue; quotas bind it all the same",
	acts.Last:  "is moved to the end of the queue",
	acts.Turn:  "has its turn again",
}

// Stop stops a server. One that has a user is stopped as administrators do it, which
// leaves its kernels alone.
func (c *Cluster) Stop(ctx context.Context, name string, w Wish) (Done, error) {
	return c.server(ctx, name, w, acts.Stop, "stops", func(nb *v1alpha1.JupyterNotebook) (acts.Changes, error) {
		return acts.StopServer(nb, nb.Spec.User == "", c.Now())
	})
}

// Start starts a stopped server, or has the Hub asked to start one of its own.
func (c *Cluster) Start(ctx context.Context, name string, w Wish) (Done, error) {
	return c.server(ctx, name, w, acts.Start, "starts", func(nb *v1alpha1.JupyterNotebook) (acts.Changes, error) {
		return acts.StartServer(nb, c.Now())
	})
}

// startOfHub is for a server that only the Hub starts.
const startOfHub = "is the Hub's, which is asked to start it: if it does not, the condition HubInStep and an Event say why"

func (c *Cluster) server(ctx context.Context, name string, w Wish, what acts.Act, done string, changes func(*v1alpha1.JupyterNotebook) (acts.Changes, error)) (Done, error) {
	nb := &v1alpha1.JupyterNotebook{}
	if err := c.get(ctx, kindServer, "jupyternotebooks", name, nb); err != nil {
		return Done{}, err
	}
	user := nb.Spec.User
	if what == acts.Start {
		user = "" // nobody asks why something was started
	}
	if what == acts.Start && nb.IsOfHub() {
		done = startOfHub
	}
	return c.ask(ctx, nb, asking{
		kind: "JupyterNotebook", resource: "jupyternotebooks", user: user, what: what, done: done,
		changes: func(string, Wish) (acts.Changes, error) { return changes(nb) },
	}, w)
}

// get reads one object. A kernel's id may be its beginning, for who may list them.
func (c *Cluster) get(ctx context.Context, kind, resource, name string, into client.Object) error {
	if c.Namespace == "" {
		return errors.New("name one namespace with -n: what is asked for is asked of one object")
	}
	if !strings.Contains(name, "/") && name != "" {
		err := c.api.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, into)
		if !apierrors.IsNotFound(err) {
			return sentence(err, "get", resource, c.Namespace)
		}
	}
	seen, readErr := c.Read(ctx)
	if readErr != nil {
		return nothingOf(kind, name, c.Namespace, nil) // who may not list is offered nothing
	}
	if found := seen.find(kind, name); len(found) == 1 && found[0].kernel != nil {
		found[0].kernel.DeepCopyInto(into.(*v1alpha1.JupyterKernel))
		return nil
	}
	return nothingOf(kind, name, c.Namespace, slices.Sorted(maps.Keys(seen.Names(kind))))
}

// asking is what is asked for of an object.
type asking struct {
	kind, resource, user, done string
	// forOthers: it is for others, too, so that it takes a reason always.
	forOthers bool
	what      acts.Act
	changes   func(by string, w Wish) (acts.Changes, error)
}

func (c *Cluster) ask(ctx context.Context, o client.Object, a asking, w Wish) (Done, error) {
	if w.Reason = acts.Line(w.Reason); len([]rune(w.Reason)) > acts.MaxReason {
		return Done{}, fmt.Errorf("the reason has more than %d characters", acts.MaxReason)
	}
	if a.user != "" && w.Reason == "" {
		return Done{}, fmt.Errorf("say why, with --reason: it is %s's, who reads it", a.user)
	}
	if a.forOthers && w.Reason == "" {
		return Done{}, errors.New("say why, with --reason: others wait longer for it")
	}
	by, err := c.caller(ctx)
	if err != nil {
		return Done{}, err
	}
	by = acts.KubernetesMark + by
	changes, err := a.changes(by, w)
	if err != nil {
		return Done{}, refusal(err, o.GetName())
	}
	patch, err := acts.PatchOf(o, changes)
	if err != nil {
		return Done{}, err
	}
	options := []client.PatchOption{client.FieldOwner(fieldOwner)}
	if w.DryRun {
		options = append(options, client.DryRunAll)
	}
	if err := c.api.Patch(ctx, o, patch, options...); err != nil {
		return Done{}, sentence(err, "patch", a.resource, c.Namespace)
	}
	done := Done{Text: fmt.Sprintf("%s/%s %s.", strings.ToLower(a.kind), o.GetName(), a.done)}
	if w.DryRun {
		done.Text += " (dry run: nothing was written)"
		return done, nil
	}
	if err := c.api.Create(ctx, acts.EventOf(o, a.kind, a.what, by, w.Reason, fieldOwner, c.Now()), client.FieldOwner(fieldOwner)); err != nil {
		done.Missing = "It was written, but no Event tells of it: " + sentence(err, "create", "events", c.Namespace).Error() + "."
	}
	return done, nil
}

// refusal says why something cannot be asked for.
func refusal(err error, name string) error {
	switch {
	case errors.Is(err, acts.ErrNotRunning):
		return fmt.Errorf("%s neither runs nor waits", name)
	case errors.Is(err, acts.ErrNotWaiting):
		return fmt.Errorf("%s does not wait in the queue", name)
	case errors.Is(err, acts.ErrRunning):
		return fmt.Errorf("%s is not stopped", name)
	}
	return err
}
