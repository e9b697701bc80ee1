package kernels

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// listed is a cache that holds these kernels.
type listed struct {
	client.Reader
	kernels []v1alpha1.JupyterKernel
}

func (l listed) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	into.(*v1alpha1.JupyterKernelList).Items = l.kernels
	return nil
}

func TestHeldCountsByUserAndByPolicy(t *testing.T) {
	kernel := func(user, policy string, phase v1alpha1.KernelPhase, gpus string) v1alpha1.JupyterKernel {
		k := v1alpha1.JupyterKernel{}
		k.Spec.User, k.Spec.Policies, k.Status.Phase = user, []string{"first", policy}, phase
		if gpus != "" {
			k.Status.Held = corev1.ResourceList{"nvidia.com/gpu": resource.MustParse(gpus), "amd.com/gpu": resource.MustParse("7")}
		}
		return k
	}
	c := &Catalogue{reader: listed{kernels: []v1alpha1.JupyterKernel{
		kernel("a", "ml", v1alpha1.KernelReady, "2"),
		kernel("a", "other", v1alpha1.KernelStarting, "1"),
		kernel("a", "ml", v1alpha1.KernelParked, "1"), // its Pod is still going
		kernel("a", "ml", v1alpha1.KernelParked, ""),
		kernel("a", "ml", v1alpha1.KernelQueued, ""),
		kernel("b", "ml", v1alpha1.KernelReady, "4"),
		kernel("", "ml", v1alpha1.KernelReady, "8"),
	}}}
	for _, row := range []struct {
		user, policy, resource string
		byUser, byPolicy       int64
	}{
		{"a", "ml", "nvidia.com/gpu", 4, 15},
		{"b", "other", "nvidia.com/gpu", 4, 1},
		{"c", "none", "nvidia.com/gpu", 0, 0},
		{"a", "ml", "amd.com/gpu", 21, 28},
		{"a", "first", "nvidia.com/mig-1g.5gb", 0, 0},
	} {
		byUser, byPolicy, err := c.Held(t.Context(), row.user, row.policy, row.resource)
		require.NoError(t, err)
		assert.Equal(t, row.byUser, byUser, "%+v", row)
		assert.Equal(t, row.byPolicy, byPolicy, "%+v", row)
	}
}
