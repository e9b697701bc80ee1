package queue

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/kernels/queue/warm"
	"github.com/elastichub/elastichub/podrules"
)

// people are the notebooks for which kernels may be kept ready, and what is known of
// them. Nothing in it is to be changed: it is the cache's.
type people struct {
	notebooks []v1alpha1.JupyterNotebook
	nodes     map[types.NamespacedName]string // where a notebook's Pod runs
	// By notebook UID and kernelspec; see warm.Notebook.
	open, ran, made map[string]map[string]time.Time
}

// counted is something that is wanted so often.
type counted struct {
	podspec.WarmWant
	count int64
}

// people reads the notebooks of all namespaces.
func (a *admitter) people(ctx context.Context, s *survey, kernels []v1alpha1.JupyterKernel) (*people, error) {
	var notebooks v1alpha1.JupyterNotebookList
	if err := a.cfg.Scope.List(ctx, a.client, &notebooks, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("kernels: list notebooks: %w", err)
	}
	var pods corev1.PodList
	labels := client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelComponent: v1alpha1.ComponentNotebook}
	if err := a.cfg.Scope.List(ctx, a.client, &pods, labels, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("kernels: list Pods of notebooks: %w", err)
	}
	p := &people{notebooks: notebooks.Items, nodes: map[types.NamespacedName]string{}, open: map[string]map[string]time.Time{}, made: map[string]map[string]time.Time{}}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.DeletionTimestamp != nil || !podstate.Alive(pod) {
			continue
		}
		if podstate.Unschedulable(pod) {
			s.pool.unschedulable = true
		}
		if pod.Spec.NodeName != "" {
			p.nodes[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Labels[v1alpha1.LabelNotebook]}] = pod.Spec.NodeName
		}
	}
	byName, byLabel, exists := map[types.NamespacedName]string{}, map[types.NamespacedName]string{}, map[string]bool{}
	for i := range p.notebooks {
		nb := &p.notebooks[i]
		byName[client.ObjectKeyFromObject(nb)], byLabel[types.NamespacedName{Namespace: nb.Namespace, Name: podrules.ObjectLabel(nb.Name)}], exists[string(nb.UID)] = string(nb.UID), string(nb.UID), true
	}
	ran := map[string]map[string]time.Time{}
	for i := range kernels {
		k := &kernels[i]
		id := byName[types.NamespacedName{Namespace: k.Namespace, Name: k.Spec.Notebook}]
		if k.Spec.Notebook == "" || id == "" || k.Spec.Environment != "" {
			continue
		}
		last(ran, id, k.Spec.KernelSpec, ranLast(k, s.pool.now))
		if k.Status.Phase == v1alpha1.KernelParked {
			if seen, err := time.Parse(time.RFC3339, k.Annotations[v1alpha1.AnnotationPageOpen]); err == nil && !seen.After(s.pool.now) {
				last(p.open, id, k.Spec.KernelSpec, seen)
			}
		}
	}
	p.ran = a.memory.noteRan(ran, exists)
	for _, pod := range s.pool.pods {
		label, kernelSpec := podspec.WarmFor(pod)
		if id := byLabel[types.NamespacedName{Namespace: pod.Namespace, Name: label}]; id != "" && !s.pool.claimed[podID(pod)] {
			last(p.made, id, kernelSpec, pod.CreationTimestamp.Time)
		}
	}
	return p, nil
}

// ranLast is when a kernel had a process last; the zero time if it never had.
func ranLast(k *v1alpha1.JupyterKernel, now time.Time) time.Time {
	switch {
	case k.Status.Phase == v1alpha1.KernelReady:
		return now
	case k.Status.CompletionTime != nil && k.Status.Phase == v1alpha1.KernelParked:
		return k.Status.CompletionTime.Time
	case k.Status.ReadyTime != nil:
		return k.Status.ReadyTime.Time
	}
	return time.Time{}
}

// last keeps the latest of the times by two names.
func last(times map[string]map[string]time.Time, id, kernelSpec string, at time.Time) {
	if at.IsZero() {
		return
	}
	if times[id] == nil {
		times[id] = map[string]time.Time{}
	}
	if at.After(times[id][kernelSpec]) {
		times[id][kernelSpec] = at
	}
}

// chosen asks warm.Plan for whom the budgets of a gateway are.
func (a *admitter) chosen(ctx context.Context, s *survey, gw *v1alpha1.JupyterGateway, wanted []v1alpha1.WarmKernel, all *people) (wants []counted, again time.Duration, err error) {
	snapshot := warm.Snapshot{Now: s.pool.now}
	holds := map[string]admission.Resources{} // by kernelspec
	nobody := all.nobody(gw)
	for _, want := range wanted {
		budget := warm.Budget{KernelSpec: want.KernelSpec, Count: int64(want.Count), Policies: want.Policies, Nobody: nobody}
		sample, err := a.sample(ctx, s, gw, podspec.WarmWant{KernelSpec: want.KernelSpec, Policies: want.Policies})
		switch {
		case err == nil:
			if sample.CanBecome() {
				holds[want.KernelSpec] = sample.Extended
			}
		case podspec.IgnoreUnbuildable(err) == nil:
			budget.Count = 0
		default:
			return nil, 0, err
		}
		snapshot.Budgets = append(snapshot.Budgets, budget)
	}
	byID := map[string]*v1alpha1.JupyterNotebook{}
	for i := range all.notebooks {
		if nb := &all.notebooks[i]; podspec.Uses(nb, gw) && nb.Namespace == gw.Namespace && all.serves(nb) {
			byID[string(nb.UID)] = nb
		}
	}
	snapshot.Notebooks = a.expect(s, all, byID, holds)
	choices, again := warm.Plan(snapshot)
	for _, c := range choices {
		want := counted{podspec.WarmWant{KernelSpec: wanted[c.Budget].KernelSpec, Policies: wanted[c.Budget].Policies}, c.Count}
		if nb := byID[c.Notebook]; nb != nil {
			want.Notebook, want.Policies, want.Why = nb, policiesOf(nb), string(c.Reason)
			if !podrules.Shareable(nb) {
				want.Node = all.nodes[client.ObjectKeyFromObject(nb)]
			}
		}
		wants = append(wants, want)
	}
	return wants, again, nil
}

// expect tells what is expected of notebooks, and of which kernelspecs each of them may
// have one more now.
func (a *admitter) expect(s *survey, all *people, notebooks map[string]*v1alpha1.JupyterNotebook, holds map[string]admission.Resources) []warm.Notebook {
	var expected []warm.Notebook
	var requests []admission.Request
	at := map[string]int{}
	for id, nb := range notebooks {
		n := warm.Notebook{ID: id, Policies: policiesOf(nb), Can: map[string]bool{}, Open: all.open[id], Ran: all.ran[id], Made: all.made[id]}
		if nb.Status.StartTime != nil {
			n.Started = nb.Status.StartTime.Time
		}
		at[id] = len(expected)
		expected = append(expected, n)
		owned := v1alpha1.JupyterKernel{Spec: v1alpha1.JupyterKernelCRDSpec{User: nb.Spec.User, Notebook: nb.Name, Policies: n.Policies}}
		owned.Namespace = nb.Namespace
		for kernelSpec, wants := range holds {
			requests = append(requests, admission.Request{ID: id, User: accountOf(&owned), Policies: n.Policies, KernelSpec: kernelSpec, Wants: wants, Budget: a.budgetOf(s, &owned, wants)})
		}
	}
	for i, free := range admission.Unbounded(s.input, requests) {
		expected[at[requests[i].ID]].Can[requests[i].KernelSpec] = free
	}
	return expected
}

// serves reports whether the server of a notebook runs, and its kernels need volumes
// that they can have beside it.
func (p *people) serves(nb *v1alpha1.JupyterNotebook) bool {
	return nb.DeletionTimestamp == nil && !nb.Spec.Stopped && nb.Status.Phase == v1alpha1.NotebookReady &&
		len(podrules.Claims(nb)) > 0 && (podrules.Shareable(nb) || p.nodes[client.ObjectKeyFromObject(nb)] != "")
}

func policiesOf(nb *v1alpha1.JupyterNotebook) []string {
	if nb.Spec.KernelOptions == nil {
		return nil
	}
	return nb.Spec.KernelOptions.Policies
}

// nobody reports whether a kernel that is made for nobody in particular is of use to
// somebody: to clients, to notebooks without volumes, or where there are no notebooks.
func (p *people) nobody(gw *v1alpha1.JupyterGateway) bool {
	if gw.Spec.Auth != nil && len(gw.Spec.Auth.Clients) > 0 {
		return true
	}
	used := false
	for i := range p.notebooks {
		nb := &p.notebooks[i]
		if !podspec.Uses(nb, gw) {
			continue
		}
		used = true
		if !nb.Spec.Stopped && len(podrules.Claims(nb)) == 0 {
			return true
		}
	}
	return !used
}
