package web

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/groups"
)

// items are the texts of the entries of a page's lists of GPUs and kernels, by
// what stands first in them.
func items(t *testing.T, page string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, li := range elements(node(parse(t, page), "aria-labelledby", "eh-gpu-title"), "li") {
		name := text(elements(li, "b")[0])
		require.NotContains(t, found, name)
		found[name] = []string{}
		for _, span := range elements(li, "span") {
			found[name] = append(found[name], text(span))
		}
	}
	return found
}

func TestSeveralGPUResourcesHaveNames(t *testing.T) {
	page := render(t, both())
	assert.Equal(t, map[string][]string{
		wholeGPU: {"0 of 2 GPUs free now", "You hold 1 of 1 GPU that you can have at a time."},
		slice:    {"5 of 14 GPUs free now", "You hold 2 of the 3 GPUs that you can have at a time.", "Your group holds 6 of its 7 GPUs."},

		"Python 3 (GPU)":            {"1\u00a0×\u00a0nvidia.com/gpu", "GPU is returned after 60 seconds without work"},
		"Python 3 (GPU slice)":      {"1\u00a0×\u00a0nvidia.com/mig-1g.5gb", "GPU is returned after 5 minutes without work if all variables are kept, else after 10 minutes"},
		"Python 3 (GPU and slices)": {"1\u00a0×\u00a0nvidia.com/gpu", "2\u00a0×\u00a0nvidia.com/mig-1g.5gb", "GPU is returned after 60 seconds without work"},
		"Python 3 (large memory)":   {"no GPU", "parked after 5 minutes without work if all variables are kept, else after 1 hour"},
	}, items(t, page))
	free := func(resource string) string {
		for _, li := range elements(parse(t, page), "li") {
			if b := elements(li, "b"); len(b) > 0 && text(b[0]) == resource {
				return attr(elements(li, "span")[0], "class")
			}
		}
		return ""
	}
	assert.Contains(t, free(wholeGPU), "eh-scarce")
	assert.NotContains(t, free(slice), "eh-scarce")

	in := both()
	in.GPUs, in.Held = nil, nil
	shown := items(t, render(t, in))
	assert.Equal(t, []string{"You can hold 1 GPU at a time."}, shown[wholeGPU])
	assert.Equal(t, []string{"You can hold up to 3 GPUs at a time."}, shown[slice])

	in.Kernels = nil
	assert.Empty(t, items(t, render(t, in)), "no kernel, nothing to hold")
	assert.NotContains(t, items(t, render(t, researchers())), wholeGPU, "one resource needs no name")
}

func TestKernelsThatCanNeverStartAreNotListed(t *testing.T) {
	pool := func(n int32) *int32 { return &n }
	for _, row := range []struct {
		name  string
		gpus  map[string]int64
		quota groups.GPUQuota // of the slices
		want  bool
	}{
		{"no GPU", nil, groups.GPUQuota{}, true},
		{"all that a kernel may", map[string]int64{slice: 2}, groups.GPUQuota{PerKernel: 2, PerUser: 2}, true},
		{"more than a kernel may", map[string]int64{slice: 3}, groups.GPUQuota{PerKernel: 2, PerUser: 9}, false},
		{"more than a user may", map[string]int64{slice: 3}, groups.GPUQuota{PerKernel: 9, PerUser: 2}, false},
		{"the whole pool", map[string]int64{slice: 3}, groups.GPUQuota{PerKernel: 9, PerUser: 9, Pool: pool(3)}, true},
		{"more than the pool", map[string]int64{slice: 3}, groups.GPUQuota{PerKernel: 9, PerUser: 9, Pool: pool(2)}, false},
		{"the limits of whole GPUs", map[string]int64{slice: 1}, groups.GPUQuota{PerKernel: 1, PerUser: 1}, true},
		{"the limits of slices", map[string]int64{wholeGPU: 5}, groups.GPUQuota{PerKernel: 9, PerUser: 9}, false},
		{"both", map[string]int64{wholeGPU: 4, slice: 1}, groups.GPUQuota{PerKernel: 1, PerUser: 1}, true},
		{"too much of one", map[string]int64{wholeGPU: 4, slice: 2}, groups.GPUQuota{PerKernel: 1, PerUser: 1}, false},
		{"what nobody gives", map[string]int64{"amd.com/gpu": 1}, groups.GPUQuota{PerKernel: 9, PerUser: 9}, false},
	} {
		in := researchers()
		row.quota.Resource = slice
		in.Allowance.GPUs = []groups.GPUQuota{{Resource: wholeGPU, PerKernel: 4, PerUser: 4}, row.quota}
		in.Kernels = []KernelChoice{{Name: "python-gpu", DisplayName: "it", GPUs: row.gpus}}
		_, listed := items(t, render(t, in))["it"]
		assert.Equal(t, row.want, listed, row.name)
	}
}
