package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/kernels/devices"
)

// devices are those that the scheduler allocates by claims, as the queue counts them.
func (p *Picture) devices() devices.Counts {
	return devices.Count(devices.State{Classes: p.DeviceClasses, Slices: p.ResourceSlices}, func(types.UID) bool { return false })
}

// withDevices is a node that names its devices, too.
func withDevices(node *corev1.Node, of map[string]devices.Amount) corev1.Node {
	with := *node
	with.Status.Allocatable = maps.Clone(node.Status.Allocatable)
	for name, amount := range of {
		if _, named := with.Status.Allocatable[corev1.ResourceName(name)]; named {
			continue
		}
		if with.Status.Allocatable == nil {
			with.Status.Allocatable = corev1.ResourceList{}
		}
		with.Status.Allocatable[corev1.ResourceName(name)] = *resource.NewQuantity(amount.Total, resource.DecimalSI)
	}
	return with
}

// classFor is a DeviceClass that answers for an extended resource; nil: none.
func (p *Picture) classFor(resource string) *resourcev1.DeviceClass {
	for i := range p.DeviceClasses {
		if ptr.Deref(p.DeviceClasses[i].Spec.ExtendedResourceName, "") == resource {
			return &p.DeviceClasses[i]
		}
	}
	return nil
}

// nobodyOffers is a resource that no node has, by itself or by claims.
func (p *Picture) nobodyOffers(resource, whose string) Problem {
	var silent []string
	for i := range p.DeviceClasses {
		if p.DeviceClasses[i].Spec.ExtendedResourceName == nil {
			silent = append(silent, p.DeviceClasses[i].Name)
		}
	}
	if len(silent) == 0 {
		return Problem{
			What: fmt.Sprintf("no node offers %s, which %s ask for: kernels wait for ever, and no autoscaler sees a Pod for which to make a node", resource, whose),
			Fix:  "correct the name of the resource, or name the pool whose nodes are to come in kernels.nodePools",
		}
	}
	return Problem{
		What: fmt.Sprintf("no node offers %s, which %s ask for, and devices of the DeviceClass %s are allocated by claims alone, which neither the queue nor quotas count: kernels wait for ever",
			resource, whose, some(silent)),
		Fix: fmt.Sprintf("set spec.extendedResourceName: %s in the DeviceClass of these devices (in Kubernetes 1.34 and 1.35 with the feature gate DRAExtendedResource of API server, scheduler and kubelet), or offer it by the driver's device plugin", resource),
	}
}

// dynamicAllocation: devices that the scheduler allocates by claims, and that neither the
// queue nor a quota counts.
func dynamicAllocation(p *Picture) (found []Problem) {
	wants := p.wanted()
	uncounted := p.devices().Uncounted
	for _, resource := range slices.Sorted(maps.Keys(wants)) {
		class := p.classFor(resource)
		if class == nil || !p.Values.Kernels.ClusterCapacity || p.unread("nodes") || p.unread("resourceslices") {
			continue
		}
		whose := strings.Join(wants[resource].names, ", ")
		of := slices.DeleteFunc(slices.Clone(uncounted), func(u devices.Uncounted) bool { return u.Resource != resource })
		for _, u := range of {
			found = append(found, Problem{
				What: fmt.Sprintf("devices of the DeviceClass %s, which answers for %s that %s ask for, are not counted, so that no kernel gets them: %s", u.Class, resource, whose, u.Why),
				Fix:  "correct the DeviceClass, or set kernels.clusterCapacity: false, which leaves it to the scheduler",
			})
		}
		if len(of) == 0 && !p.offered(resource) {
			found = append(found, Problem{
				What: fmt.Sprintf("the DeviceClass %s answers for %s, which %s ask for, and no ResourceSlice has a device of it: kernels wait for ever", class.Name, resource, whose),
				Fix:  "see whether the driver runs on its nodes, and correct the selectors of the class",
			})
		}
	}
	for _, t := range p.Templates {
		if t.Spec.Template != nil && len(t.Spec.Template.Spec.ResourceClaims) > 0 {
			found = append(found, Problem{
				What: fmt.Sprintf("the template %s asks for devices by resourceClaims, which neither quotas nor the queue count", t.Name),
				Fix:  "ask for an extended resource in the kernelspec's limits, by the driver's device plugin or by a DeviceClass with extendedResourceName",
			})
		}
	}
	return found
}
