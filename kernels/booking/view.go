package booking

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"golang.org/x/sync/errgroup"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/usage"
	"github.com/elastichub/elastichub/usage/budgets"
)

// view is what there is at one look.
type view struct {
	kernels []usage.Kernel
	servers []usage.Server
	budgets []usage.Budget // of all policies

	names map[string]types.NamespacedName // of kernels, by UID
	pods  map[types.NamespacedName]*corev1.Pod
	specs map[types.NamespacedName]*v1alpha1.JupyterKernelSpec
	// own is the release's namespace.
	own string
	// alive are the UIDs of kernels that have a Pod that is.
	alive map[string]bool
}

// view reads the cache.
func (b *Booker) view(ctx context.Context) (*view, error) {
	var kernels v1alpha1.JupyterKernelList
	var notebooks v1alpha1.JupyterNotebookList
	var specs v1alpha1.JupyterKernelSpecList
	var pods corev1.PodList
	var policies v1alpha1.GroupPolicyList
	for list, selected := range map[client.ObjectList]client.ListOption{
		&kernels: client.MatchingLabels{}, &notebooks: client.MatchingLabels{}, &specs: client.MatchingLabels{}, &pods: podspec.Selector, &policies: client.MatchingLabels{},
	} {
		if err := b.scope.List(ctx, b.client, list, selected, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("kernels: look at what is held: %w", err)
		}
	}
	v := &view{
		own: b.scope.Own(), names: map[string]types.NamespacedName{}, pods: map[types.NamespacedName]*corev1.Pod{},
		specs: map[types.NamespacedName]*v1alpha1.JupyterKernelSpec{}, alive: map[string]bool{},
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		v.pods[client.ObjectKeyFromObject(pod)] = pod
		if owner := metav1.GetControllerOf(pod); owner != nil && podstate.Alive(pod) {
			v.alive[string(owner.UID)] = true
		}
	}
	v.budgets = budgets.All(slices.DeleteFunc(policies.Items, func(p v1alpha1.GroupPolicy) bool { return p.Namespace != v.own }))
	for i := range specs.Items {
		v.specs[client.ObjectKeyFromObject(&specs.Items[i])] = &specs.Items[i]
	}
	for i := range kernels.Items {
		k := &kernels.Items[i]
		v.names[string(k.UID)] = client.ObjectKeyFromObject(k)
		v.kernels = append(v.kernels, v.kernel(k, b.words.last(k)))
	}
	for i := range notebooks.Items {
		nb := &notebooks.Items[i]
		s := usage.Server{UID: string(nb.UID), Name: v.nameOf(nb.Namespace, nb.Name), User: nb.Spec.User, Start: nb.Status.Start, Up: !nb.Spec.Stopped && nb.DeletionTimestamp == nil}
		switch nb.Status.Phase {
		case v1alpha1.NotebookStarting, v1alpha1.NotebookReady:
		case v1alpha1.NotebookPending, v1alpha1.NotebookStopping, v1alpha1.NotebookStopped, v1alpha1.NotebookFailed:
			s.Up = false
		default:
			s.Up = false
		}
		v.servers = append(v.servers, s)
	}
	return v, nil
}

// nameOf is what the ledger calls an object: by its name in the release's namespace, and
// with the namespace before it elsewhere. No name is none.
func (v *view) nameOf(namespace, name string) string {
	if namespace == v.own || name == "" {
		return name
	}
	return namespace + "/" + name
}

// keyOf is where what the ledger calls so is.
func (v *view) keyOf(name string) types.NamespacedName {
	if namespace, elsewhere, is := strings.Cut(name, "/"); is {
		return types.NamespacedName{Namespace: namespace, Name: elsewhere}
	}
	return types.NamespacedName{Namespace: v.own, Name: name}
}

// kernel is what the ledger is shown of one.
func (v *view) kernel(k *v1alpha1.JupyterKernel, last word) usage.Kernel {
	s := k.Status
	shown := usage.Kernel{
		UID: string(k.UID), Name: v.nameOf(k.Namespace, k.Name), Run: s.Run, Key: usage.Key{User: k.Spec.User, Group: first(s.Policies, k.Spec.Policies), KernelSpec: k.Spec.KernelSpec, Client: k.Spec.Notebook == ""},
		Holds: lifecycle.Counted(s), Server: v.nameOf(k.Namespace, k.Spec.Notebook), Amounts: usage.Amounts{},
		Final: last.meter, FinalRun: last.run,
	}
	if s.QueuedSince != nil {
		shown.Asked = s.QueuedSince.Time
	}
	if s.StartTime != nil {
		shown.Began = s.StartTime.Time
	}
	if s.CompletionTime != nil {
		shown.Ended = s.CompletionTime.Time
	}
	held := s.Held
	spec := v.specs[types.NamespacedName{Namespace: k.GatewayKey().Namespace, Name: k.Spec.KernelSpec}]
	if !shown.Holds && spec != nil && spec.Spec.Resources != nil { // of a run that nobody has seen
		held = spec.Spec.Resources.Limits
	}
	for name, n := range podspec.InList(held) {
		shown.Amounts[name] = 1000 * n
	}
	if pod := v.pods[types.NamespacedName{Namespace: k.Namespace, Name: s.PodName}]; pod != nil && podspec.BelongsTo(pod, k.UID) {
		cpu, memory := requests(pod)
		shown.Amounts[usage.CPU], shown.Amounts[usage.Memory] = cpu, memory
	}
	return shown
}

// first is the first name of the first list that has any.
func first(lists ...[]string) string {
	for _, names := range lists {
		if len(names) > 0 {
			return names[0]
		}
	}
	return ""
}

// requests of a Pod's containers, in thousandths of a core and of a GiB.
func requests(pod *corev1.Pod) (cpu, memory int64) {
	for i := range pod.Spec.Containers {
		requested := pod.Spec.Containers[i].Resources.Requests
		cpu += requested.Cpu().MilliValue()
		memory += requested.Memory().Value()
	}
	return cpu, memory * 1000 >> 30
}

// confirm looks those kernels up in the API server.
func (b *Booker) confirm(ctx context.Context, v *view, doubts []string) error {
	found := make([]*v1alpha1.JupyterKernel, len(doubts))
	calls, ctx := errgroup.WithContext(ctx)
	calls.SetLimit(8)
	for i, uid := range doubts {
		key, known := v.names[uid]
		if !known {
			name, _, _ := b.ledger.OpenRun(uid)
			key = v.keyOf(name)
		}
		calls.Go(func() error {
			var k v1alpha1.JupyterKernel
			err := b.live.Get(ctx, key, &k)
			if apierrors.IsNotFound(err) || err == nil && string(k.UID) != uid {
				return nil
			}
			found[i] = &k
			return err
		})
	}
	if err := calls.Wait(); err != nil {
		return fmt.Errorf("kernels: read kernel: %w", err)
	}
	current := make(map[string]*v1alpha1.JupyterKernel, len(doubts))
	for i, uid := range doubts {
		current[uid] = found[i]
	}
	kept := v.kernels[:0]
	for _, shown := range v.kernels {
		if k, doubted := current[shown.UID]; doubted {
			if k == nil {
				continue
			}
			shown = v.kernel(k, b.words.last(k))
			delete(current, shown.UID)
		}
		kept = append(kept, shown)
	}
	for _, k := range current { // what the cache does not know yet
		if k != nil {
			kept = append(kept, v.kernel(k, b.words.last(k)))
		}
	}
	v.kernels = kept
	return nil
}

// orphans are kernels that are gone, and whose Pods are not: they hold until those are, too.
func (b *Booker) orphans(v *view) {
	seen := make(map[string]bool, len(v.kernels))
	for _, k := range v.kernels {
		seen[k.UID] = true
	}
	for uid := range v.alive {
		if name, run, open := b.ledger.OpenRun(uid); open && !seen[uid] {
			v.kernels = append(v.kernels, usage.Kernel{UID: uid, Name: name, Run: run, Holds: true})
		}
	}
}
