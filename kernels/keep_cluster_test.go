package kernels

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
)

// TestKeyOfAKeptKernel: it is the kernel's in all of its runs, in the Secret of those
// Pods alone whose kernel is kept; and the short limit reaches agents.
func TestKeyOfAKeptKernel(t *testing.T) {
	seed, another := bytes.Repeat([]byte{5}, keys.Size), bytes.Repeat([]byte{6}, keys.Size)
	var rotated atomic.Bool
	c := startCluster(t, func(cfg *Config) {
		cfg.ClusterCapacity, cfg.KeepSeeds = false, func() [][]byte {
			if rotated.Load() {
				return [][]byte{another, seed}
			}
			return [][]byte{seed}
		}
		cfg.Pods.Keep = podspec.Keep{IdleSeconds: 300, TTL: time.Hour}
	})
	c.gateway("gw", func(gw *v1alpha1.JupyterGateway) {
		gw.Spec.CullIdleTimeout, gw.Spec.Keep = ptr.To[int32](3600), &v1alpha1.GatewayKeep{Enabled: ptr.To(true)}
	})
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "nb"}}
	nb.Spec.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: resource.MustParse("1Gi")}}
	nb.Spec.Gateway = &corev1.ObjectReference{Name: "gw"}
	c.create(kerneltest.GPUSpec("cpu", 0), nb)
	c.create(kerneltest.Kernel("kept", "gw", "cpu", func(k *v1alpha1.JupyterKernel) { k.Spec.Notebook = "nb" }), kerneltest.Kernel("bare", "gw", "cpu"))
	secret := func(name string) map[string][]byte {
		var s corev1.Secret
		c.eventually("Secret", func() bool { return c.get(name, &s) })
		return s.Data
	}
	c.pod("kept", 1)
	c.pod("bare", 1)
	key, err := keys.DeriveKeep(seed, c.namespace, string(c.kernel("kept").UID))
	require.NoError(t, err)
	assert.Equal(t, key.Hex()+"\n", string(secret("kept-1")[podspec.KeepKeyName]))
	assert.NotContains(t, secret("bare-1"), podspec.KeepKeyName)

	pod := c.ready("kept", 1, "")
	change(c, "gw", &v1alpha1.JupyterGateway{}, func(gw *v1alpha1.JupyterGateway) { gw.Spec.Keep.IdleSeconds = ptr.To[int64](60) })
	c.eventually("the agent knows", func() bool { return c.agents.state("10.0.0.9").short == time.Minute })
	c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","kept":{"outcome":"part","run":1,"variables":3,"bytes":70000,"lost":["gen (generator)"]}}`))
	want := &v1alpha1.KeptState{Outcome: "part", Run: 1, Variables: 3, Bytes: 70000, Lost: []string{"gen (generator)"}}
	assert.Equal(t, want, c.phase("kept", 1, v1alpha1.KernelParked).Status.Kept)
	c.eventually("it is counted", func() bool { return c.gauge("elastichub_kernel_states_total")["part"] == 1 })
	assert.Equal(t, map[string]float64{"": 70000}, c.gauge("elastichub_kernel_state_bytes"))
	rotated.Store(true)
	c.askRun("kept", 2)
	pod = c.pod("kept", 2)
	assert.Contains(t, pod.Spec.Containers[0].Env, corev1.EnvVar{Name: "ELASTICHUB_AGENT_KEEP_LOADS", Value: "1"})
	next, err := keys.DeriveKeep(another, c.namespace, string(c.kernel("kept").UID))
	require.NoError(t, err)
	assert.Equal(t, next.Hex()+"\n"+key.Hex()+"\n", string(secret("kept-2")[podspec.KeepKeyName]), "seals with the new one, and opens what the former has sealed")

	// Its Pod is taken away before anybody has seen it ready, but it was: what is kept of
	// this run is not to be forgotten for a new attempt at the same.
	c.report(pod, kerneltest.Exited(1, "Error", `{"reason":"terminated","kept":{"outcome":"whole","run":2,"variables":4,"bytes":80000}}`))
	want = &v1alpha1.KeptState{Outcome: "whole", Run: 2, Variables: 4, Bytes: 80000}
	assert.Equal(t, want, c.phase("kept", 2, v1alpha1.KernelDead).Status.Kept)
}

// TestAShutdownKeepsNothing: the agent of a kernel that is kept is told before the Pod
// goes; that of another, as ever, not.
func TestAShutdownKeepsNothing(t *testing.T) {
	c := startCluster(t, func(cfg *Config) {
		cfg.ClusterCapacity, cfg.KeepSeeds = false, keys.FixedKeepSeeds(bytes.Repeat([]byte{5}, keys.Size))
		cfg.Pods.Keep = podspec.Keep{Enabled: true, IdleSeconds: 300, TTL: time.Hour}
	})
	c.gateway("gw")
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "nb"}}
	nb.Spec.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: resource.MustParse("1Gi")}}
	nb.Spec.Gateway = &corev1.ObjectReference{Name: "gw"}
	c.create(kerneltest.GPUSpec("cpu", 0), nb)
	for i, name := range []string{"kept", "bare", "silent", "just-ready"} {
		c.create(kerneltest.Kernel(name, "gw", "cpu", func(k *v1alpha1.JupyterKernel) {
			if name != "bare" {
				k.Spec.Notebook = "nb"
			}
		}))
		ip := fmt.Sprintf("10.0.1.%d", i)
		c.report(c.pod(name, 1), kerneltest.Running(ip, name != "just-ready"))
		c.eventually("its address is known", func() bool { return c.kernel(name).Status.PodIP == ip })
		c.agents.at(ip, func(a *fakeAgent) { a.silent = name == "silent" })
		k := c.kernel(name)
		c.change(k, `{"spec": {"shutdown": {}}}`)
		c.gone(k)
		assert.Equal(t, name == "kept" || name == "just-ready", c.agents.state(ip).ended, name)
	}
}
