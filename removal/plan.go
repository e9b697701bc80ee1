package removal

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/usage"
)

// Item is an object that goes or stays.
type Item struct {
	Object *metav1.PartialObjectMetadata
	// Why it stays, or goes although the chart did not make it.
	Why string
}

func (i Item) String() string {
	name := i.Object.Name
	if i.Object.Namespace != "" {
		name = i.Object.Namespace + "/" + name
	}
	return i.Object.Kind + " " + name
}

// Plan is what a removal would do.
type Plan struct {
	Namespaces []string
	// Kernels are parked first, and Servers stopped: those that hold something or are about to.
	Kernels, Servers []Item
	// Goes is in the order in which it is removed. Last goes when all of it is gone: a removal that is
	// repeated knows by it what belongs to the release.
	Goes, Last, Stays []Item
	// Unknown are sentences on what could not be looked for.
	Unknown []string
}

// Why something stays or goes.
const (
	whyHome    = "a home; kubectl delete pvc removes it for good"
	whyKind    = "for the next install"
	whySecret  = "with it tokens and the kept variables of parked kernels go on to count"
	whyLedger  = "the hours that were used"
	whyStopped = "its notebook starts again when somebody starts it"
	whyAnew    = "is made anew by the next install"
)

// The Lease by which replicas elect their leader, and the components of what the service makes.
const (
	leaderLease = "elastichub-controllers"
	prepull     = "prepull"
)

// Look lists what goes and what stays. Errors: OtherReleaseError, ErrOthers.
func (s Site) Look(ctx context.Context, everything bool) (Plan, error) {
	if _, err := s.deployment(ctx); err != nil {
		return Plan{}, err
	}
	within, err := s.namespaces(ctx)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Namespaces: within}
	steps := []func(context.Context, *Plan, bool) error{s.holding, s.running, s.chart, s.objects, s.kept, s.homes, s.last}
	for _, step := range steps {
		if err := step(ctx, &p, everything); err != nil {
			return p, err
		}
	}
	return p, nil
}

// list lists objects of a kind in one namespace, or everywhere if it has none. What may not be asked
// for is noted; of a kind that the cluster does not know there are none.
func (s Site) list(ctx context.Context, p *Plan, k kind, namespace string, options ...client.ListOption) ([]metav1.PartialObjectMetadata, error) {
	found := &metav1.PartialObjectMetadataList{}
	found.SetGroupVersionKind(k.GroupVersion().WithKind(k.Kind + "List"))
	if !k.wide {
		options = append(options, client.InNamespace(namespace))
	}
	err := s.API.List(ctx, found, options...)
	switch {
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		return nil, nil
	case apierrors.IsForbidden(err):
		where := ""
		if !k.wide {
			where = " of " + namespace
		}
		p.Unknown = append(p.Unknown, fmt.Sprintf("%ss%s cannot be listed: %v", k.Kind, where, err))
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("list %ss: %w", k.Kind, err)
	}
	for i := range found.Items {
		found.Items[i].SetGroupVersionKind(k.GroupVersionKind)
	}
	return found.Items, nil
}

func (p *Plan) goes(o *metav1.PartialObjectMetadata, why string) {
	p.Goes = append(p.Goes, Item{o, why})
}

// either goes with everything else, or stays.
func (p *Plan) either(o *metav1.PartialObjectMetadata, goes bool, why string) {
	if goes {
		p.goes(o, "")
		return
	}
	p.Stays = append(p.Stays, Item{o, why})
}

// holding are kernels that hold something or wait for it, and servers that are not stopped.
func (s Site) holding(ctx context.Context, p *Plan, _ bool) error {
	for _, namespace := range p.Namespaces {
		var kernels v1alpha1.JupyterKernelList
		if err := s.API.List(ctx, &kernels, client.InNamespace(namespace)); err != nil {
			return fmt.Errorf("list kernels of %s: %w", namespace, err)
		}
		for i := range kernels.Items {
			if k := &kernels.Items[i]; k.HasPodOrWaits() {
				p.Kernels = append(p.Kernels, itemOf(k, objectKinds[0]))
			}
		}
		var notebooks v1alpha1.JupyterNotebookList
		if err := s.API.List(ctx, &notebooks, client.InNamespace(namespace)); err != nil {
			return fmt.Errorf("list notebooks of %s: %w", namespace, err)
		}
		for i := range notebooks.Items {
			if nb := &notebooks.Items[i]; !nb.Spec.Stopped {
				p.Servers = append(p.Servers, itemOf(nb, objectKinds[1]))
			}
		}
	}
	return nil
}

func itemOf(o client.Object, k kind) Item {
	item := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID()}}
	item.SetGroupVersionKind(k.GroupVersionKind)
	return Item{Object: item}
}

// running are the Deployments and DaemonSets of what the service had running.
func (s Site) running(ctx context.Context, p *Plan, everything bool) error {
	for _, namespace := range p.Namespaces {
		for _, each := range []struct {
			kind      kind
			component string
			why       string
		}{
			{deployments, v1alpha1.ComponentNotebook, whyStopped}, {deployments, v1alpha1.ComponentGateway, whyAnew}, {daemonSets, prepull, whyAnew},
		} {
			if everything {
				each.why = ""
			}
			found, err := s.list(ctx, p, each.kind, namespace, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelComponent: each.component})
			if err != nil {
				return err
			}
			for i := range found {
				p.goes(&found[i], each.why)
			}
		}
	}
	return nil
}

// chart are the objects of the chart but those that are removed last. Those that are in no namespace
// are told from another release's of the same name by theirs.
func (s Site) chart(ctx context.Context, p *Plan, _ bool) error {
	for _, k := range chartKinds {
		if k == configMaps {
			continue
		}
		found, err := s.ofChart(ctx, p, k)
		if err != nil {
			return err
		}
		for i := range found {
			p.goes(&found[i], "")
		}
	}
	return nil
}

func (s Site) ofChart(ctx context.Context, p *Plan, k kind) ([]metav1.PartialObjectMetadata, error) {
	where := p.Namespaces
	if k.wide {
		where = []string{""}
	}
	var all []metav1.PartialObjectMetadata
	for _, namespace := range where {
		found, err := s.list(ctx, p, k, namespace, s.labels())
		if err != nil {
			return nil, err
		}
		for _, o := range found {
			if !k.wide || s.owns(o.Name) {
				all = append(all, o)
			}
		}
	}
	return all, nil
}

func (s Site) owns(name string) bool {
	own := s.Namespace + "-" + s.name()
	return name == own || strings.HasPrefix(name, own+"-")
}

// objects are those of our kinds, and what counts the servers of people.
func (s Site) objects(ctx context.Context, p *Plan, everything bool) error {
	for _, k := range objectKinds {
		for _, namespace := range p.Namespaces {
			found, err := s.list(ctx, p, k, namespace)
			if err != nil {
				return err
			}
			for i := range found {
				p.either(&found[i], everything, whyKind)
			}
		}
	}
	return nil
}

// kept are the chart's Secrets, which no name of a Secret in the values is among, and the ledger.
func (s Site) kept(ctx context.Context, p *Plan, everything bool) error {
	found, err := s.list(ctx, p, secrets, s.Namespace, s.labels())
	if err != nil {
		return err
	}
	for i := range found {
		p.either(&found[i], everything, whySecret)
	}
	if found, err = s.list(ctx, p, configMaps, s.Namespace, client.HasLabels{usage.Label}); err != nil {
		return err
	}
	for i := range found {
		p.either(&found[i], everything, whyLedger)
	}
	if !everything {
		return nil
	}
	for _, namespace := range p.Namespaces { // those that count people's servers
		found, err := s.list(ctx, p, configMaps, namespace, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy})
		if err != nil {
			return err
		}
		for i := range found {
			if _, ledger := found[i].Labels[usage.Label]; !ledger {
				p.goes(&found[i], "")
			}
		}
	}
	return nil
}

// homes stay, whatever else goes.
func (s Site) homes(ctx context.Context, p *Plan, _ bool) error {
	for _, namespace := range p.Namespaces {
		found, err := s.list(ctx, p, claims, namespace, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy})
		if err != nil {
			return err
		}
		for i := range found {
			p.either(&found[i], false, whyHome)
		}
	}
	return nil
}

// last are the release's configuration, its Leases, and Helm's record.
func (s Site) last(ctx context.Context, p *Plan, _ bool) error {
	for _, namespace := range p.Namespaces {
		found, err := s.list(ctx, p, leases, namespace)
		if err != nil {
			return err
		}
		for i := range found {
			if name := found[i].Name; name == namespaces.LeaseName || name == leaderLease && namespace == s.Namespace {
				p.Last = append(p.Last, Item{Object: &found[i]})
			}
		}
	}
	found, err := s.ofChart(ctx, p, configMaps)
	if err != nil {
		return err
	}
	for i := range found {
		p.Last = append(p.Last, Item{Object: &found[i]})
	}
	return s.helms(ctx, p)
}
