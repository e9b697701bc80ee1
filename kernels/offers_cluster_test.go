package kernels

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/offers"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/namespaces"
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
	catalogue := offers.New(namespaces.Only(c.namespace), c.cfg.Pods, c.api, nil)
	listed, err := catalogue.Offers(t.Context(), "gw", []string{"one", "two"})
	require.NoError(t, err)
	assert.Equal(t, []offers.Offer{
		{Name: "whole", DisplayName: "whole", Extended: admission.Resources{"nvidia.com/gpu": 1}, IdleSeconds: 90},
		{Name: "mixed", DisplayName: "mixed", Extended: admission.Resources{"nvidia.com/gpu": 2, "nvidia.com/mig-1g.5gb": 3}, IdleSeconds: 90},
		{Name: "plain", DisplayName: "plain", Extended: admission.Resources{}, IdleSeconds: 90},
	}, listed)
	// Where variables are kept, that is said of Python's.
	keeping := c.cfg.Pods
	keeping.Keeps, keeping.Keep = true, podspec.Keep{Enabled: true, IdleSeconds: 60, TTL: time.Hour}
	change(c, "mixed", &v1alpha1.JupyterKernelSpec{}, func(ks *v1alpha1.JupyterKernelSpec) { ks.Spec.Language = "R" })
	listed, err = offers.New(namespaces.Only(c.namespace), keeping, c.api, nil).Offers(t.Context(), "gw", []string{"one", "two"})
	require.NoError(t, err)
	require.Len(t, listed, 3)
	assert.Equal(t, []int64{60, 0, 60}, []int64{listed[0].KeepSeconds, listed[1].KeepSeconds, listed[2].KeepSeconds})

	names := func(kernel string) (all []string) {
		found, err := catalogue.Returns(t.Context(), kernel)
		require.NoError(t, err)
		for _, offer := range found {
			all = append(all, offer.Name)
		}
		return all
	}
	r := kerneltest.GPUSpec("r", 0)
	r.Spec.Language = "R"
	c.create(r, kerneltest.Policy("three", allow("whole", "plain", "r")))
	change(c, "gw", &v1alpha1.JupyterGateway{}, func(gw *v1alpha1.JupyterGateway) { gw.Spec.Kernels = append(gw.Spec.Kernels, "r") })
	c.create(kerneltest.Kernel("k", "gw", "plain", kerneltest.Owned("alice", "three")), kerneltest.Kernel("in-r", "gw", "r", kerneltest.Owned("alice", "three")))
	assert.Empty(t, names("k"), "it starts")
	for _, kernel := range []string{"k", "in-r"} {
		c.report(c.pod(kernel, 1), kerneltest.Running("10.0.0.9", true))
		c.phase(kernel, 1, v1alpha1.KernelReady)
		assert.Empty(t, names(kernel), "it has a Pod")
		c.report(c.pod(kernel, 1), kerneltest.Exited(0, "Completed", `{"reason":"idle"}`))
		c.phase(kernel, 1, v1alpha1.KernelParked)
	}
	assert.Equal(t, []string{"whole", "plain"}, names("k"), "what its policies allow of its language")
	assert.Equal(t, []string{"r"}, names("in-r"))
	assert.Empty(t, names("none"))

	listed, err = catalogue.Offers(t.Context(), "none", []string{"one"})
	require.NoError(t, err)
	assert.Empty(t, listed)
}
