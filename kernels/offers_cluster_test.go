package kernels

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/offers"
)

func TestOffersSayEveryExtendedResource(t *testing.T) {
	c := startCluster(t)
	allow := func(names ...string) func(*v1alpha1.PolicyKernels) {
		return func(k *v1alpha1.PolicyKernels) { k.Allowed, k.IdleSeconds = names, 90 }
	}
	mixed := kerneltest.GPUSpec("mixed", 2)
	mixed.Spec.Resources.Limits["nvidia.com/mig-1g.5gb"] = resource.MustParse("3")
	mixed.Spec.Resources.Limits["cpu"] = resource.MustParse("1")
	c.create(kerneltest.GPUSpec("plain", 0), kerneltest.GPUSpec("whole", 1), mixed, kerneltest.GPUSpec("forbidden", 1), kerneltest.Policy("one", allow("plain", "whole")), kerneltest.Policy("two", allow("mixed", "absent")))
	c.gateway("gw", func(gw *v1alpha1.JupyterGateway) {
		gw.Spec.Kernels = []string{"whole", "mixed", "forbidden", "plain", "absent"}
	})
	catalogue := offers.New(c.namespace, c.cfg.Pods, c.api, nil)
	listed, err := catalogue.Offers(t.Context(), "gw", []string{"one", "two"})
	require.NoError(t, err)
	assert.Equal(t, []offers.Offer{
		{Name: "whole", DisplayName: "whole", Extended: admission.Resources{"nvidia.com/gpu": 1}, IdleSeconds: 90},
		{Name: "mixed", DisplayName: "mixed", Extended: admission.Resources{"nvidia.com/gpu": 2, "nvidia.com/mig-1g.5gb": 3}, IdleSeconds: 90},
		{Name: "plain", DisplayName: "plain", Extended: admission.Resources{}, IdleSeconds: 90},
	}, listed)
	listed, err = catalogue.Offers(t.Context(), "none", []string{"one"})
	require.NoError(t, err)
	assert.Empty(t, listed)
}
