package kernels

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
)

const (
	claimedDriver   = "gpus.example.com"
	claimedResource = "example.com/claimed-gpu"
)

// publish makes a class and the devices of a node, which the scheduler allocates by claims.
func (c *cluster) publish(node string, devices ...string) *resourcev1.ResourceSlice {
	c.Helper()
	class := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: claimedDriver}}
	class.Spec.ExtendedResourceName = ptr.To(claimedResource)
	class.Spec.Selectors = []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: fmt.Sprintf("device.driver == %q", claimedDriver)}}}
	slice := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: node + "-" + claimedDriver}}
	slice.Spec.Driver, slice.Spec.NodeName = claimedDriver, &node
	slice.Spec.Pool = resourcev1.ResourcePool{Name: node, Generation: 1, ResourceSliceCount: 1}
	for _, name := range devices {
		slice.Spec.Devices = append(slice.Spec.Devices, resourcev1.Device{Name: name})
	}
	require.NoError(c, c.api.Create(c.ctx, class))
	require.NoError(c, c.api.Create(c.ctx, slice))
	require.Equal(c, claimedResource, ptr.Deref(class.Spec.ExtendedResourceName, ""), "the API server has the gate DRAExtendedResource")
	c.Cleanup(func() {
		_ = c.api.Delete(context.Background(), slice)
		_ = c.api.Delete(context.Background(), class)
	})
	return slice
}

// allocate gives a device to a claim, as the scheduler does: to one that it makes for a
// Pod, or to somebody's own where there is none.
func (c *cluster) allocate(name string, pod *corev1.Pod, node, device string) *resourcev1.ResourceClaim {
	c.Helper()
	claim := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if pod != nil {
		claim.Annotations = map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"}
		claim.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: ptr.To(true)}}
	}
	claim.Spec.Devices.Requests = []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{
		DeviceClassName: claimedDriver, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1,
	}}}
	c.create(claim)
	c.Cleanup(func() { _ = c.api.Delete(context.Background(), claim) })
	claim.Status.Allocation = &resourcev1.AllocationResult{}
	claim.Status.Allocation.Devices.Results = []resourcev1.DeviceRequestAllocationResult{{Request: "r", Driver: claimedDriver, Pool: node, Device: device}}
	require.NoError(c, c.api.Status().Update(c.ctx, claim))
	return claim
}

// TestDevicesByClaimsAreCounted: as those that nodes name, each once, whoever has it.
func TestDevicesByClaimsAreCounted(t *testing.T) {
	c := startCluster(t)
	c.gateway("gw")
	c.node("claims", 0)
	slice := c.publish("claims", "gpu-0", "gpu-1")
	spec := kerneltest.GPUSpec("gpu", 0)
	spec.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{claimedResource: resource.MustParse("1")}}
	c.create(spec, kerneltest.Policy("research", func(k *v1alpha1.PolicyKernels) {
		k.Allowed, k.GPUResource, k.GPUsPerKernel, k.GPUsPerUser = []string{"gpu"}, claimedResource, 1, 1
	}))
	ask := func(name string) { c.create(kerneltest.Kernel(name, "gw", "gpu", kerneltest.Owned(name, "research"))) }
	all := "All 2 " + claimedResource + " of the cluster are in use."

	ask("k1")
	first := c.ready("k1", 1, "claims")
	claimOf1 := c.allocate("for-k1", first, "claims", "gpu-0")
	time.Sleep(300 * time.Millisecond) // would it count twice, it is seen by now
	ask("k2")
	second := c.ready("k2", 1, "claims")
	claimOf2 := c.allocate("for-k2", second, "claims", "gpu-1")
	ask("k3")
	c.waitsFor("k3", all)

	// The device is free when its claim is, not before.
	c.report(first, kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"","exitCode":0}`))
	c.phase("k1", 1, v1alpha1.KernelParked)
	time.Sleep(300 * time.Millisecond)
	assert.False(t, c.get("k3-1", &corev1.Pod{}), "the claim still holds the device")
	require.NoError(t, c.api.Delete(t.Context(), claimOf1))
	c.pod("k3", 1)

	// What others hold by claims of their own is not admitted over.
	foreign := c.allocate("training", nil, "claims", "gpu-1")
	require.NoError(t, c.api.Delete(t.Context(), claimOf2))
	c.report(second, kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"","exitCode":0}`))
	c.phase("k2", 1, v1alpha1.KernelParked)
	ask("k4")
	c.waitsFor("k4", all)
	time.Sleep(300 * time.Millisecond)
	assert.False(t, c.get("k4-1", &corev1.Pod{}))
	require.NoError(t, c.api.Delete(t.Context(), foreign))
	c.pod("k4", 1)

	require.NoError(t, c.api.Delete(t.Context(), slice))
	ask("k5")
	c.waitsFor("k5", "No node offers "+claimedResource+".")
}
