package doctor

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// TestDevicesByClaims: what of them the queue counts is no problem, the rest is.
func TestDevicesByClaims(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		spoil       func(*Picture)
		check, says string
	}{
		"counted":                     {spoil: func(*Picture) {}},
		"the scheduler decides alone": {spoil: func(p *Picture) { p.Values.Kernels.ClusterCapacity, p.ResourceSlices = false, nil }},
		"a class that answers for nothing": {
			func(p *Picture) { p.DeviceClasses[0].Spec.ExtendedResourceName = nil },
			"gpu-resource", "devices of the DeviceClass gpus are allocated by claims alone, which neither the queue nor quotas count",
		},
		"no class": {func(p *Picture) { p.DeviceClasses = nil }, "gpu-resource", "no autoscaler sees a Pod"},
		"classes that may not be read": {spoil: func(p *Picture) {
			p.DeviceClasses, p.Unread = nil, []Unread{{"deviceclasses", "forbidden"}}
		}},
		"slices that may not be read": {spoil: func(p *Picture) {
			p.ResourceSlices, p.Unread = nil, []Unread{{"resourceslices", "forbidden"}}
		}},
		"no driver": {func(p *Picture) { p.ResourceSlices = nil }, "dynamic-allocation", "no ResourceSlice has a device of it"},
		"a selector that is not read": {func(p *Picture) {
			p.DeviceClasses[0].Spec.Selectors[0].CEL.Expression = `device.driver.startsWith("gpu")`
		}, "dynamic-allocation", "are not counted, so that no kernel gets them: its selector"},
		"of several nodes": {func(p *Picture) {
			p.ResourceSlices[0].Spec.NodeName, p.ResourceSlices[0].Spec.AllNodes = nil, ptr.To(true)
		}, "dynamic-allocation", "can be used from several nodes"},
		"on a node that takes nobody": {func(p *Picture) { p.Nodes[0].Spec.Unschedulable = true }, "gpu-resource", "takes Pods of the policy p now"},
		"a class that nobody asks for": {spoil: func(p *Picture) {
			p.DeviceClasses = append(p.DeviceClasses, resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "nics"}})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := sound()
			p.Nodes = []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "a"}}}
			class := resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpus"}}
			class.Spec.ExtendedResourceName = ptr.To("example.com/gpu")
			class.Spec.Selectors = []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: `device.driver == "gpu.example.com"`}}}
			slice := resourcev1.ResourceSlice{}
			slice.Spec.Driver, slice.Spec.NodeName, slice.Spec.Pool.Name = "gpu.example.com", ptr.To("a"), "a"
			slice.Spec.Devices = []resourcev1.Device{{Name: "gpu-0"}}
			p.DeviceClasses, p.ResourceSlices = []resourcev1.DeviceClass{class}, []resourcev1.ResourceSlice{slice}
			p.Policies = []v1alpha1.GroupPolicy{{ObjectMeta: metav1.ObjectMeta{Name: "p"}}}
			p.Policies[0].Spec.Kernels.GPUsPerKernel, p.Policies[0].Spec.Kernels.GPUResource = 1, "example.com/gpu"
			row.spoil(&p)
			found := append(gpuResource(&p), dynamicAllocation(&p)...)
			if row.check == "" {
				assert.Empty(t, found)
				return
			}
			if assert.Len(t, found, 1) {
				assert.Contains(t, found[0].What, row.says)
				assert.Regexp(t, "policy p|GroupPolicy p", found[0].What, "who asks")
				assert.NotEmpty(t, found[0].Fix)
			}
			byCheck := map[string]int{"gpu-resource": len(gpuResource(&p)), "dynamic-allocation": len(dynamicAllocation(&p))}
			assert.Equal(t, 1, byCheck[row.check])
		})
	}
}
