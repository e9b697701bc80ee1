package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/klog/v2"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

const defaultClass = "storageclass.kubernetes.io/is-default-class"

func storageClass(p *Picture) (found []Problem) {
	if p.unread("storageclasses") {
		return nil
	}
	var without []string
	for _, policy := range p.Policies {
		home := homeOf(policy)
		if home == nil || home.StorageClassName != nil && *home.StorageClassName == "" { // volumes made by hand
			continue
		}
		if p.classOf(home) != nil {
			continue
		}
		if home.StorageClassName == nil {
			without = append(without, policy.Name)
			continue
		}
		found = append(found, Problem{
			What: fmt.Sprintf("homes of the policy %s are of the storage class %s, which does not exist", policy.Name, *home.StorageClassName),
			Fix:  "create it, or correct storage.home.storageClassName",
		})
	}
	if len(without) > 0 {
		found = append(found, Problem{
			What: fmt.Sprintf("there is no default storage class, and homes of %s name none: their claims stay Pending and servers do not start", strings.Join(without, ", ")),
			Fix:  fmt.Sprintf("annotate a StorageClass with %s: \"true\", or set storage.home.storageClassName", defaultClass),
		})
	}
	return found
}

// homeOf is the home for which a policy has claims made, nil if there is none.
func homeOf(policy v1alpha1.GroupPolicy) *v1alpha1.HomeVolume {
	if policy.Spec.Storage == nil || policy.Spec.Storage.Home == nil || policy.Spec.Storage.Home.Static != nil {
		return nil
	}
	return policy.Spec.Storage.Home
}

// classOf is the storage class of a home, nil where there is none.
func (p *Picture) classOf(home *v1alpha1.HomeVolume) *storagev1.StorageClass {
	for i := range p.StorageClasses {
		class := &p.StorageClasses[i]
		if home.StorageClassName != nil && class.Name == *home.StorageClassName ||
			home.StorageClassName == nil && class.Annotations[defaultClass] == "true" {
			return class
		}
	}
	return nil
}

// homes are in the way where a server may land on a node on which its kernels cannot be,
// and the home can be attached to one node. Where both can be on one, they are placed
// together.
func homes(p *Picture) (found []Problem) {
	for _, policy := range p.Policies {
		home := homeOf(policy)
		gpu := p.gpuOf(policy)
		if home == nil || gpu == "" || slices.Contains(home.AccessModes, corev1.ReadWriteMany) || p.onAnyNode(home) {
			continue
		}
		kernels := p.nodesFor(policy, gpu)
		apart := slices.DeleteFunc(p.nodesFor(policy, ""), func(name string) bool { return slices.Contains(kernels, name) })
		if len(kernels) == 0 || len(apart) == 0 {
			continue
		}
		found = append(found, Problem{
			What: fmt.Sprintf("servers of the policy %s may land on nodes without %s (%s), but their homes are ReadWriteOnce: a kernel cannot have a home that is in use on another node, and waits",
				policy.Name, gpu, some(apart)),
			Fix: "set storage.home.accessModes: [ReadWriteMany] with a storage class that can, such as NFS or CephFS, or a nodeSelector that only nodes with GPUs have",
		})
	}
	return found
}

// some are the first of many names.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// onAnyNode: volumes of a driver that attaches nothing are mounted wherever a Pod is.
func (p *Picture) onAnyNode(home *v1alpha1.HomeVolume) bool {
	class := p.classOf(home)
	if class == nil {
		return false
	}
	attaches, known := p.Attaches[class.Provisioner]
	return known && !attaches
}

// nodesFor are the nodes that take Pods of a policy, and offer a resource if it is named.
func (p *Picture) nodesFor(policy v1alpha1.GroupPolicy, resource string) (names []string) {
	all := p.nodes()
	for i := range all {
		node := &all[i]
		if takes(node, policy, resource) && (resource == "" || offers(node, resource)) {
			names = append(names, node.Name)
		}
	}
	return names
}

// nodes are those that there are, with their devices, and one of each pool that may grow.
func (p *Picture) nodes() []corev1.Node {
	byClaims := p.devices().Nodes
	all := make([]corev1.Node, 0, len(p.Nodes))
	for i := range p.Nodes {
		all = append(all, withDevices(&p.Nodes[i], byClaims[p.Nodes[i].Name]))
	}
	for _, pool := range p.Values.Kernels.NodePools {
		node := corev1.Node{Spec: corev1.NodeSpec{Taints: pool.Taints}}
		node.Name, node.Labels = "the pool "+pool.Name, pool.Labels
		node.Status.Allocatable = corev1.ResourceList{}
		for name, n := range pool.Resources {
			node.Status.Allocatable[corev1.ResourceName(name)] = *resource.NewQuantity(n, resource.DecimalSI)
		}
		all = append(all, node)
	}
	return all
}

// offered reports whether any node has a resource.
func (p *Picture) offered(resource string) bool {
	return slices.ContainsFunc(p.nodes(), func(n corev1.Node) bool { return offers(&n, resource) })
}

func offers(node *corev1.Node, resource string) bool {
	quantity := node.Status.Allocatable[corev1.ResourceName(resource)]
	return quantity.Sign() > 0
}

func takes(node *corev1.Node, policy v1alpha1.GroupPolicy, resource string) bool {
	if node.Spec.Unschedulable {
		return false
	}
	for key, value := range policy.Spec.NodeSelector {
		if node.Labels[key] != value {
			return false
		}
	}
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		// The admission plugin ExtendedResourceToleration tolerates taints of the resource's name.
		if taint.Effect == corev1.TaintEffectPreferNoSchedule || resource != "" && taint.Key == resource {
			continue
		}
		if !slices.ContainsFunc(policy.Spec.Tolerations, func(t corev1.Toleration) bool { return t.ToleratesTaint(klog.Background(), taint, false) }) {
			return false
		}
	}
	return true
}

// gpuOf is the extended resource that members of a policy have in their kernels; empty: none.
func (p *Picture) gpuOf(policy v1alpha1.GroupPolicy) string {
	if policy.Spec.Kernels.GPUsPerKernel > 0 {
		return policy.Spec.Kernels.GPUResource
	}
	for _, spec := range p.KernelSpecs {
		if names := extended(spec.Spec.Resources); len(names) > 0 && slices.Contains(policy.Spec.Kernels.Allowed, spec.Name) {
			return names[0]
		}
	}
	return ""
}

// gpuResource: what is asked for, and no node has.
func gpuResource(p *Picture) (found []Problem) {
	if !p.Values.Kernels.ClusterCapacity || p.unread("nodes") {
		return nil // Pods are Pending then, and an autoscaler sees them
	}
	wants := p.wanted()
	for _, resource := range slices.Sorted(maps.Keys(wants)) {
		whose := strings.Join(wants[resource].names, ", ")
		if p.offered(resource) {
			for _, policy := range wants[resource].policies {
				if len(p.nodesFor(policy, resource)) == 0 {
					found = append(found, Problem{
						What: fmt.Sprintf("no node with %s takes Pods of the policy %s now, so its kernels wait", resource, policy.Name),
						Fix:  "correct its nodeSelector and tolerations, or uncordon a node",
					})
				}
			}
			continue
		}
		if p.classFor(resource) == nil && !p.unread("deviceclasses") {
			found = append(found, p.nobodyOffers(resource, whose))
		}
	}
	return found
}

// wanted is who asks for an extended resource.
type wanted struct {
	names    []string
	policies []v1alpha1.GroupPolicy
}

func (p *Picture) wanted() map[string]*wanted {
	all := map[string]*wanted{}
	of := func(resource string) *wanted {
		if all[resource] == nil {
			all[resource] = &wanted{}
		}
		return all[resource]
	}
	for _, policy := range p.Policies {
		if policy.Spec.Kernels.GPUsPerKernel > 0 && policy.Spec.Kernels.GPUResource != "" {
			w := of(policy.Spec.Kernels.GPUResource)
			w.names, w.policies = append(w.names, "GroupPolicy "+policy.Name), append(w.policies, policy)
		}
	}
	for _, spec := range p.KernelSpecs {
		for _, name := range extended(spec.Spec.Resources) {
			w := of(name)
			w.names = append(w.names, "JupyterKernelSpec "+spec.Name)
		}
	}
	return all
}

// extended are the extended resources among those, in alphabetical order.
func extended(resources *corev1.ResourceRequirements) (names []string) {
	if resources == nil {
		return nil
	}
	for name, quantity := range resources.Limits {
		if podrules.IsExtendedResource(name) && quantity.Sign() > 0 {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return names
}
