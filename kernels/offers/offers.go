package offers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/languages"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/queue"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/podtrouble"
)

// Offer is a kernelspec as somebody who chooses sees it.
type Offer struct {
	// Name is the JupyterKernelSpec's.
	Name        string
	DisplayName string
	// Extended is what one kernel takes of extended resources.
	Extended admission.Resources
	// IdleSeconds after which it is parked; 0 means never.
	IdleSeconds int64
	// KeepSeconds after which it is parked if all of its variables are kept, where there is
	// a home; 0 means not before IdleSeconds.
	KeepSeconds int64
}

// Catalogue tells what there is to lend, from the caches. Any replica may ask.
type Catalogue struct {
	// namespace is where the Hub's gateways and kernels are, and the policies.
	namespace string
	// scope is where anybody's kernels are, which hold what there is, too.
	scope  *namespaces.Scope
	pods   podspec.Config
	reader client.Reader
	// cluster is nil without ClusterCapacity.
	cluster queue.Capacity
}

// Capacity counts the extended resources of the cluster's nodes, those included that
// an autoscaler may add, and how much of them nobody holds. known is false without Config.ClusterCapacity.
func (c *Catalogue) Capacity(ctx context.Context) (free, total admission.Resources, known bool, err error) {
	if c.cluster == nil {
		return nil, nil, false, nil
	}
	nodes, err := c.cluster.Nodes(ctx)
	if err != nil {
		return nil, nil, false, err
	}
	free, total = admission.Resources{}, admission.Resources{}
	for _, p := range nodes {
		if p.Cordoned {
			continue
		}
		for resource, n := range p.Total {
			total[resource] += n
			free[resource] += p.Free[resource]
		}
	}
	kernels, err := c.counted(ctx)
	if err != nil {
		return nil, nil, false, err
	}
	for _, k := range kernels {
		for resource, n := range podspec.InList(k.Status.Held) {
			free[resource] -= n
		}
	}
	for resource := range free {
		free[resource] = max(free[resource], 0)
	}
	return free, total, true, nil
}

// Uses lists the nodes of the cluster with what all Pods on them request; nothing
// without Config.ClusterCapacity.
func (c *Catalogue) Uses(ctx context.Context) ([]queue.NodeUse, error) {
	if c.cluster == nil {
		return nil, nil
	}
	return c.cluster.Uses(ctx)
}

// RoomFor counts what is on the nodes that a Pod may be on; without Config.ClusterCapacity there
// is nothing known of any.
func (c *Catalogue) RoomFor(ctx context.Context, pod *corev1.PodSpec) (podtrouble.Room, error) {
	if c.cluster == nil {
		return podtrouble.Room{}, nil
	}
	return c.cluster.RoomFor(ctx, pod)
}

// Offers lists what a gateway has to offer under some policies, in the
// gateway's order. A kernelspec that no Pod can be made from is left out. A
// gateway that does not exist offers nothing.
func (c *Catalogue) Offers(ctx context.Context, gateway string, policies []string) ([]Offer, error) {
	reader := c.reader
	var gw v1alpha1.JupyterGateway
	err := reader.Get(ctx, types.NamespacedName{Namespace: c.namespace, Name: gateway}, &gw)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("kernels: gateway %s: %w", gateway, err)
	}
	names := gw.Spec.Kernels
	if len(names) == 0 {
		names = []string{v1alpha1.DefaultKernelName}
	}
	var offers []Offer
	for _, name := range names {
		in, err := podspec.Gather(ctx, c.pods, reader, &v1alpha1.JupyterKernel{
			ObjectMeta: metav1.ObjectMeta{Name: "offer", Namespace: c.namespace},
			Spec:       v1alpha1.JupyterKernelCRDSpec{Gateway: gateway, KernelSpec: name, Policies: policies, Run: 1},
		})
		if err = podspec.IgnoreUnbuildable(err); err != nil {
			return nil, err
		}
		if in.Spec == nil || !allowedBy(in.Policies, name) {
			continue
		}
		pod, err := podspec.Build(c.pods, in)
		if errors.As(err, new(*podspec.InvalidError)) {
			continue
		}
		if err != nil {
			return nil, err
		}
		offers = append(offers, Offer{
			Name: name, DisplayName: in.Spec.Spec.DisplayName,
			Extended: podspec.Extended(&pod.Spec), IdleSeconds: podspec.IdleSeconds(c.pods, in),
			KeepSeconds: keepSeconds(c.pods, in),
		})
	}
	return offers, nil
}

// Returns lists what a kernel may return as: its gateway's offers under its policies, of
// its own language. There are none for a kernel that does not exist, has a Pod or waits for
// one. Whether it is admitted so is decided when it asks.
func (c *Catalogue) Returns(ctx context.Context, name string) ([]Offer, error) {
	var k v1alpha1.JupyterKernel
	err := c.reader.Get(ctx, types.NamespacedName{Namespace: c.namespace, Name: name}, &k)
	if apierrors.IsNotFound(err) || err == nil && (k.HasPodOrWaits() || k.Spec.KernelSpec == "") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("kernels: kernel %s: %w", name, err)
	}
	own, err := c.language(ctx, k.Spec.KernelSpec)
	if err != nil {
		return nil, err
	}
	offers, err := c.Offers(ctx, k.Spec.Gateway, k.Spec.Policies)
	if err != nil {
		return nil, err
	}
	var same []Offer
	for _, offer := range offers {
		language, err := c.language(ctx, offer.Name)
		if err != nil {
			return nil, err
		}
		if language == own {
			same = append(same, offer)
		}
	}
	return same, nil
}

// language of a kernelspec; that of what does not exist is the default.
func (c *Catalogue) language(ctx context.Context, kernelSpec string) (string, error) {
	var ks v1alpha1.JupyterKernelSpec
	err := c.reader.Get(ctx, types.NamespacedName{Namespace: c.namespace, Name: kernelSpec}, &ks)
	switch {
	case apierrors.IsNotFound(err):
		return languages.Default, nil
	case err != nil:
		return "", fmt.Errorf("kernels: kernelspec %s: %w", kernelSpec, err)
	}
	return languages.Name(ks.Spec.Language), nil
}

// keepSeconds is the short limit of a kernel whose notebook has a home. Those of other
// languages than Python are not kept.
func keepSeconds(cfg podspec.Config, in podspec.Parts) int64 {
	if languages.Name(in.Spec.Spec.Language) != languages.Default {
		return 0
	}
	in.Notebook = &v1alpha1.JupyterNotebook{}
	in.Notebook.Spec.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{}}
	return podspec.IdleRuleOf(cfg, in).ShortSeconds
}

func allowedBy(policies []v1alpha1.GroupPolicy, kernelSpec string) bool {
	return slices.ContainsFunc(policies, func(p v1alpha1.GroupPolicy) bool {
		return slices.Contains(p.Spec.Kernels.Allowed, kernelSpec)
	})
}

// New looks into the namespaces of a scope; what is on offer is in its own. cluster is nil where only the policies limit.
func New(scope *namespaces.Scope, pods podspec.Config, reader client.Reader, cluster queue.Capacity) *Catalogue {
	return &Catalogue{namespace: scope.Own(), scope: scope, pods: pods, reader: reader, cluster: cluster}
}
