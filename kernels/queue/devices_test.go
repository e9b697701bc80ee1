package queue

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/devices"
	"github.com/elastichub/elastichub/namespaces"
)

// TestADeviceIsCountedOnce: a node's devices by claims beside those that it names itself.
func TestADeviceIsCountedOnce(t *testing.T) {
	t.Parallel()
	quantity := resource.MustParse
	node := func(name string, allocatable corev1.ResourceList) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
			Allocatable: allocatable, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		}}
	}
	pod := func(at string) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "theirs"}, Spec: corev1.PodSpec{NodeName: at, Containers: []corev1.Container{
			{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"example.com/gpu": quantity("1"), "example.com/nic": quantity("1")}}},
		}}}
	}
	byClaims := map[string]devices.Amount{"example.com/gpu": {Total: 4, Taken: 1}}
	list := nodesWithRoom(
		[]corev1.Node{
			node("claims", corev1.ResourceList{"example.com/nic": quantity("2")}),
			node("plugin", corev1.ResourceList{"example.com/gpu": quantity("8")}),
			node("former", corev1.ResourceList{"example.com/gpu": quantity("0")}),
			node("neither", nil),
		},
		[]corev1.Pod{pod("claims"), pod("plugin"), pod("former")},
		map[string]map[string]devices.Amount{"claims": byClaims, "plugin": byClaims, "former": byClaims, "unknown": byClaims}, namespaces.Only("ours"))
	require.Len(t, list, 2, "the scheduler takes a node that names none of them at its word")
	assert.Equal(t, admission.Node{
		Name: "claims", Total: admission.Resources{"example.com/gpu": 4, "example.com/nic": 2}, Free: admission.Resources{"example.com/gpu": 3, "example.com/nic": 1},
	}, list[0].Node, "the Pod's GPU is taken by its claim, its NIC by itself")
	assert.Equal(t, admission.Node{Name: "plugin", Total: admission.Resources{"example.com/gpu": 8}, Free: admission.Resources{"example.com/gpu": 7}}, list[1].Node)
	assert.Len(t, byClaims, 1, "what was given is left as it is")
}

// answers is an API server that answers lists of resource.k8s.io/v1 with an error.
type answers struct {
	client.Reader
	err error
}

func (a answers) List(context.Context, client.ObjectList, ...client.ListOption) error { return a.err }

func TestClustersWithoutClaims(t *testing.T) {
	t.Parallel()
	claims := schema.GroupResource{Group: "resource.k8s.io", Resource: "deviceclasses"}
	for name, err := range map[string]error{
		"older than 1.34":   apierrors.NewNotFound(claims, ""),
		"the role is older": apierrors.NewForbidden(claims, "", nil),
	} {
		reader, got := newDeviceReader(answers{err: err}, nil)
		require.NoError(t, got, name)
		assert.Nil(t, reader, name)
	}
	_, err := newDeviceReader(answers{err: apierrors.NewInternalError(assert.AnError)}, nil)
	require.ErrorContains(t, err, "look for resource.k8s.io/v1", "nobody knows whether there are any")
	reader, err := newDeviceReader(answers{}, nil)
	require.NoError(t, err)
	assert.NotNil(t, reader)
}

func TestOnlyAllocationsMatter(t *testing.T) {
	t.Parallel()
	before := &resourcev1.ResourceClaim{}
	before.Status.Allocation = &resourcev1.AllocationResult{}
	after := before.DeepCopy()
	after.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Name: "p"}}
	assert.False(t, claimMatters(before, after))
	after.Status.Allocation = nil
	assert.True(t, claimMatters(before, after))
}

// TestSlimClaimsKeepWhatIsCounted: a claim for a kernel's Pod is told from others.
func TestSlimClaimsKeepWhatIsCounted(t *testing.T) {
	t.Parallel()
	whole := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{
		Name: "c", Annotations: map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true", "other": "x"}, ManagedFields: []metav1.ManagedFieldsEntry{{}},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", UID: "u", Controller: ptr.To(true)}},
	}}
	whole.Spec.Devices.Requests = []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpus"}}}
	whole.Status.Allocation = &resourcev1.AllocationResult{}
	whole.Status.Allocation.Devices.Results = []resourcev1.DeviceRequestAllocationResult{{Request: "r", Driver: "d", Pool: "n", Device: "gpu-0"}}
	class := resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpus"}}
	class.Spec.ExtendedResourceName = ptr.To("example.com/gpu")
	slice := resourcev1.ResourceSlice{}
	slice.Spec.Driver, slice.Spec.NodeName, slice.Spec.Pool.Name = "d", ptr.To("n"), "n"
	slice.Spec.Devices = []resourcev1.Device{{Name: "gpu-0"}}
	object, err := slimClaim(whole)
	require.NoError(t, err)
	slim, ok := object.(*resourcev1.ResourceClaim)
	require.True(t, ok)
	assert.Empty(t, slim.ManagedFields)
	assert.Len(t, slim.Annotations, 1)
	for uid, taken := range map[string]int64{"u": 0, "other": 1} {
		counts := devices.Count(devices.State{
			Classes: []resourcev1.DeviceClass{class}, Slices: []resourcev1.ResourceSlice{slice}, Claims: []resourcev1.ResourceClaim{*slim},
		}, func(pod types.UID) bool { return string(pod) == uid })
		assert.Equal(t, devices.Amount{Total: 1, Taken: taken}, counts.Nodes["n"]["example.com/gpu"])
	}
}
