package devices

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const (
	driver   = "gpu.example.com"
	resource = "example.com/gpu"
)

func class(name, extended string, expressions ...string) resourcev1.DeviceClass {
	c := resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if extended != "" {
		c.Spec.ExtendedResourceName = &extended
	}
	for _, e := range expressions {
		c.Spec.Selectors = append(c.Spec.Selectors, resourcev1.DeviceSelector{CEL: &resourcev1.CELDeviceSelector{Expression: e}})
	}
	return c
}

func ofDriver(name string) resourcev1.DeviceClass {
	return class(name, resource, fmt.Sprintf("device.driver == %q", driver))
}

// slice is what a node's driver publishes: a pool of the node's name.
func slice(node string, names ...string) resourcev1.ResourceSlice {
	s := resourcev1.ResourceSlice{}
	s.Spec.Driver, s.Spec.NodeName = driver, &node
	s.Spec.Pool = resourcev1.ResourcePool{Name: node, Generation: 1, ResourceSliceCount: 1}
	for _, name := range names {
		s.Spec.Devices = append(s.Spec.Devices, resourcev1.Device{Name: name})
	}
	return s
}

// claim holds devices of a node.
func claim(className, node string, names ...string) resourcev1.ResourceClaim {
	c := resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: "c"}}
	c.Spec.Devices.Requests = []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: className}}}
	c.Status.Allocation = &resourcev1.AllocationResult{}
	for _, name := range names {
		c.Status.Allocation.Devices.Results = append(c.Status.Allocation.Devices.Results,
			resourcev1.DeviceRequestAllocationResult{Request: "r", Driver: driver, Pool: node, Device: name})
	}
	return c
}

// madeFor makes a claim one that the scheduler made for a Pod.
func madeFor(pod types.UID, c resourcev1.ResourceClaim) resourcev1.ResourceClaim {
	c.Annotations = map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"}
	c.OwnerReferences = []metav1.OwnerReference{{APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Pod", Name: "p", UID: pod, Controller: ptr.To(true)}}
	return c
}

func ours(uid types.UID) bool { return uid == "ours" }

// TestDevicesAreCounted: each row begins with a class and two nodes with two devices each.
func TestDevicesAreCounted(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*State)
		a, b   Amount
		why    string
	}{
		"as published":            {func(*State) {}, Amount{2, 0}, Amount{2, 0}, ""},
		"a class for no resource": {func(s *State) { s.Classes[0].Spec.ExtendedResourceName = nil }, Amount{}, Amount{}, ""},
		"a class of everything":   {func(s *State) { s.Classes[0].Spec.Selectors = nil }, Amount{2, 0}, Amount{2, 0}, ""},
		"of another driver":       {func(s *State) { s.Slices[0].Spec.Driver = "other" }, Amount{}, Amount{2, 0}, ""},
		"an unreadable class": {func(s *State) {
			s.Classes = []resourcev1.DeviceClass{class("gpus", resource, `device.driver.startsWith("gpu")`)}
		},
			Amount{}, Amount{}, `its selector "device.driver.startsWith(\"gpu\")" is more than`},
		"one selector of two is unreadable": {func(s *State) {
			s.Classes[0].Spec.Selectors = append(s.Classes[0].Spec.Selectors, resourcev1.DeviceSelector{})
		}, Amount{}, Amount{}, "is more than"},
		"one selector of two does not match": {func(s *State) {
			s.Classes = []resourcev1.DeviceClass{class("gpus", resource, fmt.Sprintf("device.driver == %q", driver), `device.driver == "x"`)}
		}, Amount{}, Amount{}, ""},
		"the scheduler cannot evaluate it": {func(s *State) {
			s.Classes = []resourcev1.DeviceClass{class("gpus", resource, `device.attributes["gpu.example.com"].type == "gpu"`)}
			for i := range s.Slices {
				for j := range s.Slices[i].Spec.Devices {
					s.Slices[i].Spec.Devices[j].Attributes = map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{"type": {StringValue: ptr.To("gpu")}}
				}
			}
			s.Slices[0].Spec.Devices[1].Attributes = nil
		}, Amount{}, Amount{2, 0}, "cannot be evaluated for devices of the driver gpu.example.com"},
		"an older generation": {func(s *State) {
			older := slice("a", "gone-0", "gone-1", "gone-2")
			s.Slices[0].Spec.Pool.Generation = 2
			s.Slices = append(s.Slices, older)
		}, Amount{2, 0}, Amount{2, 0}, ""},
		"a pool of two slices": {func(s *State) { s.Slices = append(s.Slices, slice("a", "gpu-2")) }, Amount{3, 0}, Amount{2, 0}, ""},
		"one device twice":     {func(s *State) { s.Slices = append(s.Slices, slice("a", "gpu-0")) }, Amount{2, 0}, Amount{2, 0}, ""},
		"tainted": {func(s *State) {
			s.Slices[0].Spec.Devices[0].Taints = []resourcev1.DeviceTaint{{Key: "k", Effect: resourcev1.DeviceTaintEffectNoSchedule}}
			s.Slices[1].Spec.Devices[0].Taints = []resourcev1.DeviceTaint{{Key: "k", Effect: resourcev1.DeviceTaintEffectNoExecute}}
			s.Slices[1].Spec.Devices[1].Taints = []resourcev1.DeviceTaint{{Key: "k", Effect: "None"}}
		}, Amount{1, 0}, Amount{1, 0}, ""},
		"of several nodes": {func(s *State) { s.Slices[0].Spec.NodeName, s.Slices[0].Spec.AllNodes = nil, ptr.To(true) },
			Amount{}, Amount{2, 0}, "can be used from several nodes"},
		"each of its own node": {func(s *State) {
			s.Slices[0].Spec.NodeName, s.Slices[0].Spec.PerDeviceNodeSelection = nil, ptr.To(true)
			s.Slices[0].Spec.Devices[0].NodeName, s.Slices[0].Spec.Devices[1].NodeName = ptr.To("a"), ptr.To("b")
		}, Amount{1, 0}, Amount{3, 0}, ""},
		"parts of devices": {func(s *State) {
			s.Slices[0].Spec.Devices[0].ConsumesCounters = []resourcev1.DeviceCounterConsumption{{CounterSet: "c"}}
		}, Amount{1, 0}, Amount{2, 0}, "share counters"},
		"held by a claim": {func(s *State) { s.Claims = append(s.Claims, claim("gpus", "a", "gpu-1")) }, Amount{2, 1}, Amount{2, 0}, ""},
		"by a claim that is not allocated": {func(s *State) {
			s.Claims = append(s.Claims, claim("gpus", "a", "gpu-1"))
			s.Claims[0].Status.Allocation = nil
		}, Amount{2, 0}, Amount{2, 0}, ""},
		"by an administrator": {func(s *State) {
			s.Claims = append(s.Claims, claim("gpus", "a", "gpu-1"))
			s.Claims[0].Status.Allocation.Devices.Results[0].AdminAccess = ptr.To(true)
		}, Amount{2, 0}, Amount{2, 0}, ""},
		"of the same name in another pool": {func(s *State) { s.Claims = append(s.Claims, claim("gpus", "c", "gpu-1")) }, Amount{2, 0}, Amount{2, 0}, ""},
		"for a Pod that is counted":        {func(s *State) { s.Claims = append(s.Claims, madeFor("ours", claim("gpus", "a", "gpu-0", "gpu-1"))) }, Amount{2, 0}, Amount{2, 0}, ""},
		"for a Pod that is not":            {func(s *State) { s.Claims = append(s.Claims, madeFor("theirs", claim("gpus", "a", "gpu-0", "gpu-1"))) }, Amount{2, 2}, Amount{2, 0}, ""},
		"by a claim of its own of a Pod that is counted": {func(s *State) {
			s.Claims = append(s.Claims, madeFor("ours", claim("gpus", "a", "gpu-0")))
			s.Claims[0].Annotations = nil
		}, Amount{2, 1}, Amount{2, 0}, ""},
		"for a Pod that is counted as of another resource": {func(s *State) {
			s.Classes = append(s.Classes, class("all", "example.com/any"))
			s.Claims = append(s.Claims, madeFor("ours", claim("all", "a", "gpu-0")))
		}, Amount{2, 1}, Amount{2, 0}, ""},
		"by the second alternative": {func(s *State) {
			s.Claims = append(s.Claims, madeFor("ours", claim("gpus", "a", "gpu-0")))
			s.Claims[0].Spec.Devices.Requests[0] = resourcev1.DeviceRequest{Name: "r", FirstAvailable: []resourcev1.DeviceSubRequest{{Name: "x", DeviceClassName: "all"}, {Name: "y", DeviceClassName: "gpus"}}}
			s.Claims[0].Status.Allocation.Devices.Results[0].Request = "r/y"
		}, Amount{2, 0}, Amount{2, 0}, ""},
		"two classes for one resource": {func(s *State) {
			later := class("later", resource, `device.driver == "x"`)
			later.CreationTimestamp = metav1.NewTime(time.Unix(1000, 0))
			s.Classes = append(s.Classes, later)
		}, Amount{}, Amount{}, ""},
		"two of one age": {func(s *State) { s.Classes = append(s.Classes, class("later", resource, `device.driver == "x"`)) }, Amount{2, 0}, Amount{2, 0}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := State{Classes: []resourcev1.DeviceClass{ofDriver("gpus")}, Slices: []resourcev1.ResourceSlice{slice("a", "gpu-0", "gpu-1"), slice("b", "gpu-0", "gpu-1")}}
			row.change(&s)
			counts := Count(s, ours)
			assert.Equal(t, row.a, counts.Nodes["a"][resource])
			assert.Equal(t, row.b, counts.Nodes["b"][resource])
			if row.why == "" {
				assert.Empty(t, counts.Uncounted)
				return
			}
			require.Len(t, counts.Uncounted, 1)
			assert.Equal(t, "gpus", counts.Uncounted[0].Class)
			assert.Equal(t, resource, counts.Uncounted[0].Resource)
			assert.Contains(t, counts.Uncounted[0].Why, row.why)
		})
	}
}
