package kernels

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
)

// askReturn asks for a run as another kernelspec, in one change.
func (c *cluster) askReturn(name, kernelSpec string, run int64) {
	c.Helper()
	k := c.kernel(name)
	before := k.DeepCopy()
	k.Spec.KernelSpec, k.Spec.Run = kernelSpec, run
	require.NoError(c, c.api.Patch(c.ctx, k, client.MergeFrom(before)))
}

// asBefore waits until a kernel that could not return in a run is parked as it was.
func (c *cluster) asBefore(name, kernelSpec string, run int64) *v1alpha1.JupyterKernel {
	c.Helper()
	c.phase(name, run, v1alpha1.KernelParked)
	c.eventually("it is what it was", func() bool { return c.kernel(name).Spec.KernelSpec == kernelSpec })
	return c.kernel(name)
}

// TestAKernelReturnsAsAnother: with what is kept of it, on what it needs now; and where that
// cannot be it is parked as it was.
func TestAKernelReturnsAsAnother(t *testing.T) {
	c := startCluster(t, func(cfg *Config) {
		cfg.KeepSeeds = keys.FixedKeepSeeds(bytes.Repeat([]byte{5}, keys.Size))
		cfg.Pods.Keep = podspec.Keep{Enabled: true, IdleSeconds: 300, TTL: time.Hour}
	})
	c.node("return", 2)
	c.gateway("gw")
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "nb"}}
	nb.Spec.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: resource.MustParse("1Gi")}}
	nb.Spec.Gateway, nb.Spec.User = &corev1.ObjectReference{Name: "gw"}, "alice"
	nb.Spec.KernelOptions = &v1alpha1.KernelOptions{Policies: []string{"research"}}
	c.create(nb, kerneltest.GPUSpec("cpu", 0), kerneltest.GPUSpec("gpu", 1), kerneltest.GPUSpec("large", 2), kerneltest.GPUSpec("secret", 1),
		kerneltest.Policy("research", func(k *v1alpha1.PolicyKernels) {
			k.Allowed, k.GPUsPerKernel, k.GPUsPerUser = []string{"cpu", "gpu", "large", "broken"}, 1, 1
		}))
	broken := kerneltest.GPUSpec("broken", 0)
	broken.Spec.Template = &corev1.ObjectReference{Name: "privileged"}
	template := &v1alpha1.JupyterKernelTemplate{ObjectMeta: metav1.ObjectMeta{Name: "privileged"}}
	template.Spec.Template = &v1alpha1.PodTemplate{}
	template.Spec.Template.Spec.HostNetwork = true
	template.Spec.Template.Spec.Containers = []corev1.Container{{Name: "kernel"}}
	c.create(template, broken)
	c.create(kerneltest.Kernel("k", "gw", "cpu", kerneltest.Owned("alice", "research"), func(k *v1alpha1.JupyterKernel) { k.Spec.Notebook = "nb" }))
	pod := c.ready("k", 1, "return")
	assert.Equal(t, "cpu", c.phase("k", 1, v1alpha1.KernelReady).Status.KernelSpec)

	k := c.kernel("k")
	err := c.api.Patch(t.Context(), k, client.RawPatch(types.MergePatchType, []byte(`{"spec": {"kernelSpec": "gpu"}}`)))
	require.True(t, apierrors.IsInvalid(err), "%v", err)
	assert.ErrorContains(t, err, "changes only together with spec.run")

	kept := &v1alpha1.KeptState{Outcome: "whole", Run: 1, Variables: 3, Bytes: 70000}
	c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","kept":{"outcome":"whole","run":1,"variables":3,"bytes":70000}}`))
	assert.Equal(t, kept, c.phase("k", 1, v1alpha1.KernelParked).Status.Kept)

	// What its policies do not allow, what is too much for one kernel, what no Pod can be made of:
	// it is parked as it was, with what is kept.
	for i, refused := range []struct {
		spec, why string
		cause     v1alpha1.KernelCause
	}{
		{"secret", `is not among spec.kernels.allowed of policy research`, v1alpha1.CauseRefused},
		{"large", `allows 1. It is`, v1alpha1.CauseRefused},
		{"broken", `host`, v1alpha1.CauseInvalid},
	} {
		run := int64(i + 2)
		c.askReturn("k", refused.spec, run)
		k := c.asBefore("k", "cpu", run)
		assert.Equal(t, refused.cause, k.Status.Cause, refused.spec)
		assert.Contains(t, k.Status.Message, `The kernel cannot return as "`+refused.spec+`": `)
		assert.Contains(t, k.Status.Message, refused.why)
		assert.Contains(t, k.Status.Message, `It is parked as it was, as "cpu".`)
		assert.Equal(t, kept, k.Status.Kept, refused.spec)
		assert.Empty(t, k.Status.Held)
	}

	// The GPU is somebody else's share of the quota: it waits, gives up its place, and is what it was.
	c.create(kerneltest.Kernel("other", "gw", "gpu", kerneltest.Owned("alice", "research")))
	second := c.ready("other", 1, "return")
	c.askReturn("k", "gpu", 5)
	c.eventually("it waits", func() bool { return c.queue("k") != nil })
	c.askPark("k", v1alpha1.KernelPark{Run: 5, By: "alice"})
	assert.Equal(t, kept, c.asBefore("k", "cpu", 5).Status.Kept)

	// It gets the GPU, and what is loaded is what was kept of the run that had variables.
	c.askReturn("k", "gpu", 6)
	c.eventually("it waits", func() bool { return c.queue("k") != nil })
	c.report(second, kerneltest.Exited(0, "Completed", `{"reason":"idle"}`))
	pod = c.ready("k", 6, "return")
	k = c.phase("k", 6, v1alpha1.KernelReady)
	assert.Equal(t, "gpu", k.Status.KernelSpec)
	assert.Equal(t, int64(1), podspec.FromList(k.Status.Held)["nvidia.com/gpu"])
	assert.Contains(t, pod.Spec.Containers[0].Env, corev1.EnvVar{Name: "ELASTICHUB_AGENT_KEEP_LOADS", Value: "1"})

	// The next run is what the last was, also where that ended badly.
	c.report(pod, kerneltest.Exited(1, "Error", `{"reason":"terminated","kept":{"outcome":"whole","run":6,"variables":4,"bytes":80000}}`))
	assert.Equal(t, "gpu", c.phase("k", 6, v1alpha1.KernelDead).Status.KernelSpec)
	assert.Equal(t, "gpu", c.kernel("k").Spec.KernelSpec)
}
