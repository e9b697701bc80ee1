package cluster

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/utils/ptr"
)

func TestGatesOfDevices(t *testing.T) {
	var with []string
	for _, component := range (Layout{Dir: "/state"}).components(Options{Bin: "/bin"}, 1) {
		if slices.Contains(component.Args, deviceGates) {
			with = append(with, component.Name)
		}
	}
	assert.Equal(t, []string{"kube-apiserver", "kube-scheduler"}, with, "the kubelet's is in its configuration")
}

// TestDriverPreparesItsOwn: devices of other drivers are theirs to prepare.
func TestDriverPreparesItsOwn(t *testing.T) {
	claim := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{UID: "u"}}
	claim.Status.Allocation = &resourcev1.AllocationResult{}
	claim.Status.Allocation.Devices.Results = []resourcev1.DeviceRequestAllocationResult{
		{Request: "a", Driver: deviceDriver, Pool: nodeName, Device: "gpu-1"}, {Request: "b", Driver: "nic.example.com", Pool: nodeName, Device: "nic-0"},
	}
	prepared, err := driver{}.PrepareResourceClaims(t.Context(), []*resourcev1.ResourceClaim{claim})
	require.NoError(t, err)
	assert.Equal(t, map[types.UID]kubeletplugin.PrepareResult{
		"u": {Devices: []kubeletplugin.Device{{Requests: []string{"a"}, PoolName: nodeName, DeviceName: "gpu-1"}}},
	}, prepared)
	ended, err := driver{}.UnprepareResourceClaims(t.Context(), []kubeletplugin.NamespacedObject{{UID: "u"}})
	require.NoError(t, err)
	assert.Equal(t, map[types.UID]error{"u": nil}, ended)
}

func TestDriverEndsWithWhatCannotBeMended(t *testing.T) {
	ctx, fail := context.WithCancelCause(t.Context())
	d := driver{fail: fail}
	d.HandleError(ctx, kubeletplugin.ErrRecoverable, "publish")
	require.NoError(t, ctx.Err())
	d.HandleError(ctx, errors.New("refused"), "publish")
	assert.EqualError(t, context.Cause(ctx), "publish: refused")
}

// TestDeviceClass: one that is there is left as it is, and a cluster without the gate says so.
func TestDeviceClass(t *testing.T) {
	there := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: deviceClass}, Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: ptr.To("example.com/other")}}
	client := fake.NewClientset(there)
	require.NoError(t, makeDeviceClass(t.Context(), client))
	class, err := client.ResourceV1().DeviceClasses().Get(t.Context(), deviceClass, metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, "example.com/other", *class.Spec.ExtendedResourceName)

	removeDevices(client)
	require.NoError(t, makeDeviceClass(t.Context(), client))
	class, err = client.ResourceV1().DeviceClasses().Get(t.Context(), deviceClass, metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, deviceResource, *class.Spec.ExtendedResourceName)
	assert.Len(t, devicesOf(3), 3)
}
