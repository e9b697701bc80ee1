package devices

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// State is everything that a cluster says of devices.
type State struct {
	Classes []resourcev1.DeviceClass
	Slices  []resourcev1.ResourceSlice
	Claims  []resourcev1.ResourceClaim
}

// Counts is what there is for Pods that ask for extended resources.
type Counts struct {
	// Nodes are by name, and by the extended resource.
	Nodes map[string]map[string]Amount
	// Uncounted is what there is beside that, in a stable order.
	Uncounted []Uncounted
}

// Amount is a number of devices; Taken are those of them that are allocated to others
// than who is counted elsewhere.
type Amount struct{ Total, Taken int64 }

// Uncounted are devices of a class that are not counted, and why.
type Uncounted struct{ Class, Resource, Why string }

// deviceID is unique in a cluster.
type deviceID struct{ driver, pool, device string }

// Count counts the devices of each node. elsewhere tells of a Pod, by its UID, that the
// extended resources it asks for are counted by the caller: what it was given for them
// is not taken here, too.
func Count(s State, elsewhere func(pod types.UID) bool) Counts {
	c := Counts{Nodes: map[string]map[string]Amount{}}
	classes := answering(s.Classes)
	newest := generations(s.Slices)
	given := allocated(s.Claims, resourcesOf(classes), elsewhere)
	for _, class := range classes {
		matches, err := selectorOf(class)
		if err != nil {
			c.leaveOut(class, err.Error())
			continue
		}
		c.count(class, matches, s.Slices, newest, given)
	}
	slices.SortFunc(c.Uncounted, func(a, b Uncounted) int { return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Why, b.Why)) })
	c.Uncounted = slices.Compact(c.Uncounted)
	return c
}

// count adds the devices of one class.
func (c *Counts) count(class *resourcev1.DeviceClass, matches selector, all []resourcev1.ResourceSlice, newest map[pool]int64, given map[deviceID]allocation) {
	resource := *class.Spec.ExtendedResourceName
	seen, broken := map[deviceID]bool{}, map[string]bool{}
	for i := range all {
		slice := &all[i]
		if slice.Spec.Pool.Generation != newest[poolOf(slice)] {
			continue // the driver is about to remove it
		}
		for j := range slice.Spec.Devices {
			d := &device{Device: &slice.Spec.Devices[j], driver: slice.Spec.Driver}
			id := deviceID{slice.Spec.Driver, slice.Spec.Pool.Name, d.Name}
			is := matches(d)
			switch {
			case is == fault:
				c.leaveOut(class, fmt.Sprintf("its selectors cannot be evaluated for devices of the driver %s, beside which the scheduler allocates nothing", d.driver))
				broken[nodeOf(slice, d)] = true
			case is == yes && !seen[id] && !closed(d) && c.countable(class, slice, d):
				seen[id] = true
				c.add(nodeOf(slice, d), resource, given[id].takenFrom(resource))
			}
		}
	}
	for node := range broken {
		delete(c.Nodes[node], resource)
	}
}

func (c *Counts) leaveOut(class *resourcev1.DeviceClass, why string) {
	c.Uncounted = append(c.Uncounted, Uncounted{Class: class.Name, Resource: *class.Spec.ExtendedResourceName, Why: why})
}

// countable: it is a whole device of one node.
func (c *Counts) countable(class *resourcev1.DeviceClass, slice *resourcev1.ResourceSlice, d *device) bool {
	switch {
	case nodeOf(slice, d) == "":
		c.leaveOut(class, fmt.Sprintf("devices of the driver %s can be used from several nodes", slice.Spec.Driver))
		return false
	case len(d.ConsumesCounters) > 0:
		c.leaveOut(class, fmt.Sprintf("devices of the driver %s share counters, so that one may leave no room for another", slice.Spec.Driver))
		return false
	}
	return true
}

func (c *Counts) add(node, resource string, taken bool) {
	if c.Nodes[node] == nil {
		c.Nodes[node] = map[string]Amount{}
	}
	amount := c.Nodes[node][resource]
	amount.Total++
	if taken {
		amount.Taken++
	}
	c.Nodes[node][resource] = amount
}

// nodeOf is the one node that a device is of; empty where there are several.
func nodeOf(slice *resourcev1.ResourceSlice, d *device) string {
	if ptr.Deref(slice.Spec.PerDeviceNodeSelection, false) {
		return ptr.Deref(d.NodeName, "")
	}
	return ptr.Deref(slice.Spec.NodeName, "")
}

// closed: the driver lets no new Pod have it.
func closed(d *device) bool {
	return slices.ContainsFunc(d.Taints, func(t resourcev1.DeviceTaint) bool {
		return t.Effect == resourcev1.DeviceTaintEffectNoSchedule || t.Effect == resourcev1.DeviceTaintEffectNoExecute
	})
}

// answering are the classes that answer for extended resources, one for each: of
// several the one that the scheduler is to take, the latest.
func answering(all []resourcev1.DeviceClass) (list []*resourcev1.DeviceClass) {
	for i := range all {
		if ptr.Deref(all[i].Spec.ExtendedResourceName, "") != "" {
			list = append(list, &all[i])
		}
	}
	slices.SortFunc(list, func(a, b *resourcev1.DeviceClass) int {
		return cmp.Or(
			cmp.Compare(*a.Spec.ExtendedResourceName, *b.Spec.ExtendedResourceName),
			b.CreationTimestamp.Compare(a.CreationTimestamp.Time),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return slices.CompactFunc(list, func(a, b *resourcev1.DeviceClass) bool {
		return *a.Spec.ExtendedResourceName == *b.Spec.ExtendedResourceName
	})
}

func resourcesOf(classes []*resourcev1.DeviceClass) map[string]string {
	resources := map[string]string{}
	for _, class := range classes {
		resources[class.Name] = *class.Spec.ExtendedResourceName
	}
	return resources
}

type pool struct{ driver, name string }

func poolOf(slice *resourcev1.ResourceSlice) pool {
	return pool{slice.Spec.Driver, slice.Spec.Pool.Name}
}

// generations are the newest of each pool.
func generations(all []resourcev1.ResourceSlice) map[pool]int64 {
	newest := map[pool]int64{}
	for i := range all {
		newest[poolOf(&all[i])] = max(newest[poolOf(&all[i])], all[i].Spec.Pool.Generation)
	}
	return newest
}

// allocation is what a device was given for.
type allocation struct {
	given bool
	// countedFor is the extended resource as which its Pod is counted elsewhere, if it is.
	countedFor string
}

// takenFrom reports whether nobody else can have the device as that resource, and nobody
// else counts it as such: one device may be of several classes.
func (a allocation) takenFrom(resource string) bool { return a.given && a.countedFor != resource }

// allocated are the devices that claims hold. Access for administrators takes nothing.
func allocated(claims []resourcev1.ResourceClaim, resources map[string]string, elsewhere func(types.UID) bool) map[deviceID]allocation {
	given := map[deviceID]allocation{}
	for i := range claims {
		claim := &claims[i]
		if claim.Status.Allocation == nil {
			continue
		}
		counted := madeForPod(claim) && elsewhere(metav1.GetControllerOfNoCopy(claim).UID)
		for _, result := range claim.Status.Allocation.Devices.Results {
			if ptr.Deref(result.AdminAccess, false) {
				continue
			}
			a := allocation{given: true}
			if counted {
				a.countedFor = resources[classOf(claim, result.Request)]
			}
			given[deviceID{result.Driver, result.Pool, result.Device}] = a
		}
	}
	return given
}

// madeForPod: by the scheduler, for the extended resources that a Pod asks for.
func madeForPod(claim *resourcev1.ResourceClaim) bool {
	owner := metav1.GetControllerOfNoCopy(claim)
	return claim.Annotations[resourcev1.ExtendedResourceClaimAnnotation] == "true" && owner != nil && owner.Kind == "Pod" && owner.APIVersion == corev1.SchemeGroupVersion.String()
}

// classOf is the class of a request, by its name or by that of one of its alternatives.
func classOf(claim *resourcev1.ResourceClaim, request string) string {
	name, alternative, _ := strings.Cut(request, "/")
	for _, r := range claim.Spec.Devices.Requests {
		if r.Name != name {
			continue
		}
		if r.Exactly != nil {
			return r.Exactly.DeviceClassName
		}
		for _, sub := range r.FirstAvailable {
			if sub.Name == alternative {
				return sub.DeviceClassName
			}
		}
	}
	return ""
}
