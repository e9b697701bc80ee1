package offers

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/queue"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/podtrouble"
)

// listed is a cache that holds these kernels and policies.
type listed struct {
	client.Reader
	kernels  []v1alpha1.JupyterKernel
	policies []v1alpha1.GroupPolicy
}

func (l listed) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	switch list := into.(type) {
	case *v1alpha1.JupyterKernelList:
		list.Items = l.kernels
	case *v1alpha1.GroupPolicyList:
		list.Items = l.policies
	}
	return nil
}

const (
	wholeGPU = "nvidia.com/gpu"
	slice    = "nvidia.com/mig-1g.5gb"
)

func holding(user string, phase v1alpha1.KernelPhase, held map[string]int64, policies ...string) v1alpha1.JupyterKernel {
	k := v1alpha1.JupyterKernel{}
	k.Spec.User, k.Spec.Policies, k.Status.Phase, k.Status.Held = user, policies, phase, podspec.ToList(held)
	return k
}

func giving(name, resource string, perKernel int32) v1alpha1.GroupPolicy {
	return *kerneltest.Policy(name, func(k *v1alpha1.PolicyKernels) {
		k.Allowed, k.GPUResource, k.GPUsPerKernel, k.GPUsPerUser = []string{"python"}, resource, perKernel, perKernel
	})
}

func TestHeldCountsByUserAndByPool(t *testing.T) {
	gpus := func(n int64) map[string]int64 { return map[string]int64{wholeGPU: n} }
	c := &Catalogue{scope: namespaces.Only("lab"), reader: listed{
		policies: []v1alpha1.GroupPolicy{giving("ml", wholeGPU, 4), giving("vision", wholeGPU, 4), giving("slices", slice, 4), giving("none", wholeGPU, 0)},
		kernels: []v1alpha1.JupyterKernel{
			holding("a", v1alpha1.KernelReady, gpus(2), "ml"),
			holding("a", v1alpha1.KernelStarting, map[string]int64{wholeGPU: 1, slice: 3}, "slices", "none", "ml", "vision"),
			holding("a", v1alpha1.KernelParked, gpus(1), "ml"), // its Pod is still going
			holding("a", v1alpha1.KernelParked, nil, "ml"),
			holding("a", v1alpha1.KernelQueued, nil, "ml"),
			holding("b", v1alpha1.KernelReady, gpus(10), "vision", "ml"),
			holding("", v1alpha1.KernelReady, gpus(20), "ml"),
			holding("b", v1alpha1.KernelReady, gpus(40), "gone"),
		},
	}}
	for user, want := range map[string]admission.Resources{
		"a": {wholeGPU: 4, slice: 3}, "b": {wholeGPU: 50}, "c": {},
	} {
		byUser, byPolicy, err := c.Held(t.Context(), user)
		require.NoError(t, err)
		assert.Equal(t, want, byUser, user)
		delete(byPolicy, "") // what no policy gives
		assert.Equal(t, map[string]int64{"ml": 24, "vision": 10, "slices": 3}, byPolicy, "the pool of whom several policies give to is the first one's")
	}
}

// room is a capacity that does not change.
type room []queue.Node

func (r room) Nodes(context.Context) ([]queue.Node, error) { return r, nil }

func (r room) Uses(context.Context) ([]queue.NodeUse, error) { return nil, nil }

func (r room) RoomFor(context.Context, *corev1.PodSpec) (podtrouble.Room, error) {
	return podtrouble.Room{Nodes: len(r)}, nil
}

func TestCapacityCountsEveryResource(t *testing.T) {
	node := func(total, free admission.Resources) queue.Node {
		return queue.Node{Node: admission.Node{Total: total, Free: free}}
	}
	c := &Catalogue{
		scope: namespaces.Only("lab"),
		cluster: room{
			node(admission.Resources{wholeGPU: 4}, admission.Resources{wholeGPU: 3}),
			node(admission.Resources{wholeGPU: 2, slice: 7}, admission.Resources{wholeGPU: 2, slice: 7}),
			node(admission.Resources{"amd.com/gpu": 1}, admission.Resources{"amd.com/gpu": 0}),
		},
		reader: listed{kernels: []v1alpha1.JupyterKernel{
			holding("a", v1alpha1.KernelReady, map[string]int64{wholeGPU: 2, slice: 1}),
			holding("b", v1alpha1.KernelStarting, map[string]int64{slice: 2, "amd.com/gpu": 1}), // more than there is
			holding("b", v1alpha1.KernelParked, nil),
		}},
	}
	free, total, known, err := c.Capacity(t.Context())
	require.NoError(t, err)
	assert.True(t, known)
	assert.Equal(t, admission.Resources{wholeGPU: 6, slice: 7, "amd.com/gpu": 1}, total)
	assert.Equal(t, admission.Resources{wholeGPU: 3, slice: 4, "amd.com/gpu": 0}, free)
	c.cluster = nil
	_, _, known, err = c.Capacity(t.Context())
	require.NoError(t, err)
	assert.False(t, known)
}
