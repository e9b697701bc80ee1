package queue

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/devices"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/podtrouble"
)

// Capacity tells what extended resources there are for kernels.
type Capacity interface {
	// Nodes lists the nodes that take Pods now, with what Pods other than the
	// kernels of the namespace leave of them, those that are cordoned, and those
	// that may be added.
	Nodes(ctx context.Context) ([]Node, error)
	// Uses lists all nodes with what is requested of them, by everybody.
	Uses(ctx context.Context) ([]NodeUse, error)
	// RoomFor counts what is on the nodes that a Pod may be on.
	RoomFor(ctx context.Context, pod *corev1.PodSpec) (podtrouble.Room, error)
}

// Node is one that offers extended resources.
type Node struct {
	admission.Node
	Labels map[string]string
	Taints []corev1.Taint
}

// accepts reports whether the scheduler would consider a Pod for the node, as far
// as its node selector, the node that it is made for, and its tolerations say.
func (n Node) accepts(pod *corev1.PodSpec) bool {
	if only := podspec.PinnedTo(pod); only != "" && only != n.Name {
		return false
	}
	if !hasAll(n.Labels, pod.NodeSelector) {
		return false
	}
	for i := range n.Taints {
		taint := &n.Taints[i]
		if taint.Effect == corev1.TaintEffectPreferNoSchedule {
			continue
		}
		if _, own := podspec.Extended(pod)[taint.Key]; own {
			continue // the admission plugin ExtendedResourceToleration tolerates these
		}
		if !tolerates(pod.Tolerations, taint) {
			return false
		}
	}
	return true
}

// hasAll reports whether labels are all that is wanted, or more.
func hasAll(labels, wanted map[string]string) bool {
	for key, value := range wanted {
		if labels[key] != value {
			return false
		}
	}
	return true
}

func tolerates(tolerations []corev1.Toleration, taint *corev1.Taint) bool {
	for i := range tolerations {
		if tolerations[i].ToleratesTaint(klog.Background(), taint, false) {
			return true
		}
	}
	return false
}

// eligible is the set of nodes for a Pod, as package admission asks for it.
func eligible(nodes []Node, pod *corev1.PodSpec) func(string) bool {
	names := map[string]bool{}
	for _, n := range nodes {
		if n.accepts(pod) {
			names[n.Name] = true
		}
	}
	return func(name string) bool { return names[name] }
}

// ClusterCapacity reads Nodes, Pods of all namespaces, and devices that are allocated by
// claims, from informers.
type ClusterCapacity struct {
	cache cache.Cache
	scope *namespaces.Scope
	pools []NodePool
	// devices is nil where the cluster allocates none by claims.
	devices *deviceReader
}

// NewClusterCapacity makes the informers' cache; it has to be started (it is a
// manager.Runnable by way of Cache). What it keeps of Pods is their node and
// their requests. pools may grow.
func NewClusterCapacity(config *rest.Config, scheme *runtime.Scheme, scope *namespaces.Scope, pools []NodePool) (*ClusterCapacity, error) {
	c, err := cache.New(config, cache.Options{
		Scheme: scheme,
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}: {
				Field:     fields.ParseSelectorOrDie("status.phase!=Succeeded,status.phase!=Failed"),
				Transform: slimPod,
			},
			&corev1.Node{}:              {Transform: slimNode},
			&resourcev1.DeviceClass{}:   {Transform: slimClass},
			&resourcev1.ResourceSlice{}: {Transform: slimSlice},
			&resourcev1.ResourceClaim{}: {Transform: slimClaim},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("kernels: capacity cache: %w", err)
	}
	live, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("kernels: client for devices: %w", err)
	}
	reader, err := newDeviceReader(live, c)
	if err != nil {
		return nil, err
	}
	return &ClusterCapacity{cache: c, scope: scope, pools: pools, devices: reader}, nil
}

// Cache is where the informers are.
func (c *ClusterCapacity) Cache() cache.Cache { return c.cache }

// Nodes implements Capacity.
func (c *ClusterCapacity) Nodes(ctx context.Context) ([]Node, error) {
	var nodes corev1.NodeList
	if err := c.cache.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("kernels: list nodes: %w", err)
	}
	var pods corev1.PodList
	if err := c.cache.List(ctx, &pods, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("kernels: list Pods of the cluster: %w", err)
	}
	var counts devices.Counts
	if c.devices != nil {
		var err error
		if counts, err = c.devices.counts(ctx, pods.Items, c.scope); err != nil {
			return nil, err
		}
	}
	return withComing(c.pools, nodesWithRoom(nodes.Items, pods.Items, counts.Nodes, c.scope), nodes.Items), nil
}

// nodesWithRoom leaves out nodes without extended resources. Devices that are allocated
// by claims are given by node; those that Pods of others have are taken in them already.
func nodesWithRoom(nodes []corev1.Node, pods []corev1.Pod, byClaims map[string]map[string]devices.Amount, scope *namespaces.Scope) []Node {
	list := []Node{}
	index := map[string]int{}
	claimed := []map[string]devices.Amount{} // of each in the list
	for i := range nodes {
		n := &nodes[i]
		total := admission.Resources{}
		for name, quantity := range n.Status.Allocatable {
			if podrules.IsExtendedResource(name) && quantity.Sign() > 0 {
				total[string(name)] = quantity.Value()
			}
		}
		free := maps.Clone(total)
		of := allocatedByClaims(n, byClaims[n.Name])
		for name, amount := range of {
			total[name], free[name] = amount.Total, amount.Total-amount.Taken
		}
		if len(total) == 0 || !isReady(n) {
			continue
		}
		claimed = append(claimed, of)
		if n.Spec.Unschedulable {
			list = append(list, Node{
				Node:   admission.Node{Name: n.Name, Cordoned: true, Total: total, Free: admission.Resources{}},
				Labels: n.Labels, Taints: withoutCordon(n.Spec.Taints),
			})
			continue
		}
		index[n.Name] = len(list)
		list = append(list, Node{
			Node:   admission.Node{Name: n.Name, Total: total, Free: free},
			Labels: n.Labels, Taints: n.Spec.Taints,
		})
	}
	for i := range pods {
		pod := &pods[i]
		at, known := index[pod.Spec.NodeName]
		if !known || !podstate.Alive(pod) || podspec.IsKernelPod(pod) && scope.Has(pod.Namespace) {
			continue
		}
		for name, n := range podspec.Extended(&pod.Spec) {
			_, offered := list[at].Free[name]
			if _, taken := claimed[at][name]; offered && !taken {
				list[at].Free[name] -= n
			}
		}
	}
	return list
}

// withoutCordon leaves out the taint that a cordoned node has.
func withoutCordon(taints []corev1.Taint) []corev1.Taint {
	return slices.DeleteFunc(slices.Clone(taints), func(taint corev1.Taint) bool { return taint.Key == corev1.TaintNodeUnschedulable })
}

func takesPods(n *corev1.Node) bool { return !n.Spec.Unschedulable && isReady(n) }

func isReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// slimPod keeps what nodesWithRoom and usesOf look at.
func slimPod(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	slim := &corev1.Pod{}
	slim.Name, slim.Namespace, slim.UID, slim.ResourceVersion = pod.Name, pod.Namespace, pod.UID, pod.ResourceVersion
	if podspec.IsKernelPod(pod) {
		slim.Labels = map[string]string{
			v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelComponent: v1alpha1.ComponentKernel,
		}
	}
	slim.Spec.NodeName, slim.Status.Phase = pod.Spec.NodeName, pod.Status.Phase
	keep := func(from []corev1.Container) (to []corev1.Container) {
		for _, c := range from {
			if len(podspec.ExtendedOf(c.Resources)) > 0 || len(c.Resources.Requests) > 0 {
				to = append(to, corev1.Container{RestartPolicy: c.RestartPolicy, Resources: corev1.ResourceRequirements{Requests: c.Resources.Requests, Limits: c.Resources.Limits}})
			}
		}
		return to
	}
	slim.Spec.InitContainers, slim.Spec.Containers = keep(pod.Spec.InitContainers), keep(pod.Spec.Containers)
	return slim, nil
}

func slimNode(object any) (any, error) {
	n, ok := object.(*corev1.Node)
	if !ok {
		return object, nil
	}
	slim := &corev1.Node{}
	slim.Name, slim.UID, slim.ResourceVersion, slim.Labels = n.Name, n.UID, n.ResourceVersion, n.Labels
	slim.Spec.Unschedulable, slim.Spec.Taints = n.Spec.Unschedulable, n.Spec.Taints
	slim.Status.Allocatable = n.Status.Allocatable
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			slim.Status.Conditions = append(slim.Status.Conditions, corev1.NodeCondition{Type: c.Type, Status: c.Status})
		}
	}
	return slim, nil
}
