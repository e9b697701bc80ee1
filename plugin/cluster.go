// Package plugin answers what kubectl elastichub asks: who holds what, why something waits
// or was stopped, and what somebody may ask for. It reads and writes objects with the
// rights of whoever calls it, and nothing else; its errors are whole sentences.
//
//	names ─ Find ─▶ kernels, servers, users, Pods ─ Why ─▶ sentences
//	objects ─ holdings ─▶ rows ─ Write ─▶ table, JSON, YAML
//	wish ─ acts ─▶ patch of one object, and an Event
package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/holdings"
)

// mostTold bounds what is told of one object's events.
const mostTold = 3

// Cluster is one as its caller sees it.
type Cluster struct {
	api client.Client
	// Namespace is where to look; empty: everywhere.
	Namespace string
	Now       func() time.Time
}

// Open prepares to ask a cluster, which it does not do yet.
func Open(config *rest.Config, namespace string) (*Cluster, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), authenticationv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	// What there is, is known: asking for it would take longer than all else.
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{v1alpha1.GroupVersion, corev1.SchemeGroupVersion, authenticationv1.SchemeGroupVersion})
	for _, kind := range []string{"JupyterKernel", "JupyterNotebook", "JupyterKernelSpec"} {
		mapper.Add(v1alpha1.GroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	for _, kind := range []string{"Pod", "Event"} {
		mapper.Add(corev1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	mapper.Add(authenticationv1.SchemeGroupVersion.WithKind("SelfSubjectReview"), meta.RESTScopeRoot)
	api, err := client.New(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("the cluster cannot be asked: %w", err)
	}
	return &Cluster{api: api, Namespace: namespace, Now: time.Now}, nil
}

// place is one namespace.
type place struct {
	namespace string
	holdings.Objects
	holdings.Holdings
}

// Seen is what a caller may see of a cluster.
type Seen struct {
	places []*place
	// Missing says, a sentence for each, what they may not see besides.
	Missing []string
}

// Read reads what there is. Kernels and servers have to be readable; without the rest
// less is told.
func (c *Cluster) Read(ctx context.Context) (*Seen, error) {
	var kernels v1alpha1.JupyterKernelList
	var notebooks v1alpha1.JupyterNotebookList
	var specs v1alpha1.JupyterKernelSpecList
	var pods corev1.PodList
	s := &Seen{}
	for _, kind := range []struct {
		name    string
		list    client.ObjectList
		without string // empty: nothing is told without it
	}{
		{"jupyterkernels", &kernels, ""},
		{"jupyternotebooks", &notebooks, ""},
		{"jupyterkernelspecs", &specs, "titles of kernels, and what those that wait ask for, are missing"},
		{"pods", &pods, "CPU and memory of kernels, and nodes of servers, are missing"},
	} {
		err := c.api.List(ctx, kind.list, client.InNamespace(c.Namespace))
		switch {
		case err == nil:
		case kind.without != "" && apierrors.IsForbidden(err):
			s.Missing = append(s.Missing, fmt.Sprintf("%s: %s.", refused("list", kind.name, c.Namespace), kind.without))
		default:
			return nil, sentence(err, "list", kind.name, c.Namespace)
		}
	}
	places := map[string]*place{}
	in := func(namespace string) *place {
		if places[namespace] == nil {
			places[namespace] = &place{namespace: namespace}
			s.places = append(s.places, places[namespace])
		}
		return places[namespace]
	}
	for i := range kernels.Items {
		p := in(kernels.Items[i].Namespace)
		p.Objects.Kernels = append(p.Objects.Kernels, kernels.Items[i])
	}
	for i := range notebooks.Items {
		p := in(notebooks.Items[i].Namespace)
		p.Notebooks = append(p.Notebooks, notebooks.Items[i])
	}
	for i := range specs.Items {
		if p := places[specs.Items[i].Namespace]; p != nil {
			p.KernelSpecs = append(p.KernelSpecs, specs.Items[i])
		}
	}
	for i := range pods.Items {
		if p := places[pods.Items[i].Namespace]; p != nil {
			p.Pods = append(p.Pods, pods.Items[i])
		}
	}
	slices.SortFunc(s.places, func(a, b *place) int { return cmp.Compare(a.namespace, b.namespace) })
	for _, p := range s.places {
		p.Holdings = holdings.Of(p.Objects)
	}
	return s, nil
}

// eventsOf reads what happened to an object and to its present Pod, if there is one. Who
// may not read events is told so by missing.
func (c *Cluster) eventsOf(ctx context.Context, o client.Object, pod string, start []v1alpha1.NotebookProgress) (events []holdings.Event, missing string, err error) {
	var told []corev1.Event
	for _, selector := range holdings.EventSelectors(o, pod) {
		var list corev1.EventList
		err := c.api.List(ctx, &list, client.InNamespace(o.GetNamespace()), client.Limit(holdings.MostRead), client.MatchingFieldsSelector{Selector: selector})
		if apierrors.IsForbidden(err) {
			return holdings.EventsOf(nil, start, holdings.MostRead), refused("list", "events", o.GetNamespace()) + ": what happened before is missing.", nil
		}
		if err != nil {
			return nil, "", sentence(err, "list", "events", o.GetNamespace())
		}
		told = append(told, list.Items...)
	}
	return holdings.EventsOf(told, start, holdings.MostRead), "", nil
}

// caller is the name by which the cluster knows who asks.
func (c *Cluster) caller(ctx context.Context) (string, error) {
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.api.Create(ctx, review); err != nil {
		return "", sentence(err, "create", "selfsubjectreviews", "")
	}
	return review.Status.UserInfo.Username, nil
}
