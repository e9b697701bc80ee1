package kernels

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/podrules"
)

// warmPods lists the living warm Pods that are nobody's, by name.
func (c *cluster) warmPods() []corev1.Pod {
	c.Helper()
	var list corev1.PodList
	require.NoError(c, c.api.List(c.ctx, &list, client.InNamespace(c.namespace)))
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return !podspec.IsWarm(&p) || !podstate.Alive(&p) || p.DeletionTimestamp != nil
	})
}

// warmUp waits for n warm Pods and makes them ready, each at its own address.
func (c *cluster) warmUp(n int, node string) []corev1.Pod {
	c.Helper()
	var pods []corev1.Pod
	c.eventually(fmt.Sprintf("%d warm Pods", n), func() bool { pods = c.warmPods(); return len(pods) == n })
	for i := range pods {
		if podstate.Ready(&pods[i]) {
			continue
		}
		if node != "" && pods[i].Spec.NodeName == "" {
			c.bind(&pods[i], node)
		}
		c.warmed++
		c.report(&pods[i], kerneltest.Running(fmt.Sprintf("10.1.0.%d", c.warmed), true))
	}
	c.eventually("the pool is known to be ready", func() bool { return c.gauge("elastichub_kernel_warm_pods")["ready"] == float64(n) })
	return pods
}

func warmGateway(n int32) func(*v1alpha1.JupyterGateway) {
	return func(gw *v1alpha1.JupyterGateway) {
		gw.Spec.Warm, gw.Spec.CullIdleTimeout = n, ptr.To[int32](600)
	}
}

func TestWarmStart(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	gw := c.gateway("gw", warmGateway(2))
	warmPods := c.warmUp(2, "")
	var secret corev1.Secret
	for _, pod := range warmPods {
		assert.True(t, metav1.IsControlledBy(&pod, gw))
		assert.Empty(t, pod.Labels[v1alpha1.LabelHubUsername])
		for _, v := range pod.Spec.Containers[0].Env { // the agent's
			if v.Name == protocol.EnvIdleTimeout {
				assert.Equal(t, "0", v.Value, "it is never idle by itself")
			}
		}
		require.True(t, c.get(pod.Name, &secret))
		assert.True(t, metav1.IsControlledBy(&secret, &pod))
	}

	c.create(kerneltest.Kernel("k1", "gw", v1alpha1.DefaultKernelName))
	k := c.phase("k1", 1, v1alpha1.KernelReady)
	taken := slices.IndexFunc(warmPods, func(p corev1.Pod) bool { return p.Name == k.Status.Warm })
	require.GreaterOrEqual(t, taken, 0)
	assert.Equal(t, k.Status.Warm, k.Status.PodName)
	pod := &corev1.Pod{}
	require.True(t, c.get(k.Status.PodName, pod))
	assert.Equal(t, warmPods[taken].UID, pod.UID)
	assert.Equal(t, pod.Status.PodIP, k.Status.PodIP)
	assert.NotNil(t, k.Status.StartTime)
	assert.Len(t, pod.OwnerReferences, 1)
	assert.True(t, metav1.IsControlledBy(pod, k))
	assert.Equal(t, "k1", pod.Labels[v1alpha1.LabelKernel])
	assert.Equal(t, "1", pod.Labels[v1alpha1.LabelRun])
	assert.Equal(t, "ann", pod.Labels[v1alpha1.LabelHubUsername])

	// the agent has the secret that gateways derive, and knows its idle time
	key, err := podspec.ReadGatewayKey(t.Context(), c.api, c.namespace, "gw")
	require.NoError(t, err)
	want, err := key.Derive(k.Status.Warm, 0)
	require.NoError(t, err)
	require.True(t, c.get(k.Status.Warm, &secret))
	assert.Equal(t, want[0].Hex(), string(secret.Data[podspec.KeyName]))
	agent := c.agents.state(k.Status.PodIP)
	assert.Equal(t, want[0], agent.secret)
	assert.Equal(t, 600*time.Second, agent.timeout)
	assert.True(t, agent.cull)
	assert.Empty(t, agent.variables, "there is no notebook")

	// the pool is filled up again, and what ends is the kernel's alone
	again := c.warmUp(2, "")
	assert.NotContains(t, []string{again[0].Name, again[1].Name}, k.Status.Warm)
	c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"Idle.","exitCode":0}`))
	k = c.phase("k1", 1, v1alpha1.KernelParked)
	assert.Empty(t, k.Status.Warm)
	c.gone(pod)
	c.askRun("k1", 2)
	k = c.phase("k1", 2, v1alpha1.KernelReady)
	assert.NotEmpty(t, k.Status.Warm, "a kernel that comes back may take one too")

	// deleting a kernel ends its Pod; the pool does not get it back
	require.True(t, c.get(k.Status.PodName, pod))
	require.NoError(t, c.api.Delete(t.Context(), k))
	c.eventually("end of its Pod", func() bool { return !c.get(pod.Name, pod) || pod.DeletionTimestamp != nil })
}

// TestNotWarm: whose Pod would differ gets a Pod of their own.
func TestNotWarm(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw", warmGateway(1), func(gw *v1alpha1.JupyterGateway) { // there is somebody to take what is nobody's
		gw.Spec.Auth = &v1alpha1.GatewayAuth{Clients: []v1alpha1.GatewayClient{{Name: "ci", TokenSecretRef: corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "ci"}, Key: "token"}}}}
	})
	lab := kerneltest.Policy("lab", func(k *v1alpha1.PolicyKernels) { k.Allowed = []string{v1alpha1.DefaultKernelName} })
	lab.Spec.Env = []v1alpha1.PolicyEnv{{Name: "LAB", Value: "1"}}
	plain := kerneltest.Policy("plain", func(k *v1alpha1.PolicyKernels) {
		k.Allowed, k.IdleSeconds = []string{v1alpha1.DefaultKernelName}, 77
	})
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "nb"}}
	nb.Spec.Gateway = &corev1.ObjectReference{Name: "gw"}
	nb.Spec.Storage = &v1alpha1.NotebookStorage{Shared: []v1alpha1.SharedVolume{{Name: "d", Claim: "d", MountPath: "/d"}}}
	c.create(lab, plain, nb, kerneltest.GPUSpec("other", 0))
	c.warmUp(1, "")
	for name, k := range map[string]*v1alpha1.JupyterKernel{
		"env":     kerneltest.Kernel("env", "gw", v1alpha1.DefaultKernelName, func(k *v1alpha1.JupyterKernel) { k.Spec.Env = []corev1.EnvVar{{Name: "X", Value: "1"}} }),
		"volumes": kerneltest.Kernel("volumes", "gw", v1alpha1.DefaultKernelName, func(k *v1alpha1.JupyterKernel) { k.Spec.Notebook = "nb" }),
		"policy":  kerneltest.Kernel("policy", "gw", v1alpha1.DefaultKernelName, kerneltest.Owned("bob", "lab")),
		"spec":    kerneltest.Kernel("spec", "gw", "other"),
	} {
		c.create(k)
		c.pod(name, 1)
		assert.Empty(t, c.kernel(name).Status.Warm, name)
	}
	// a policy that changes nothing in the Pod is no obstacle, its idle time is told
	c.create(kerneltest.Kernel("same", "gw", v1alpha1.DefaultKernelName, kerneltest.Owned("bob", "plain")))
	k := c.phase("same", 1, v1alpha1.KernelReady)
	assert.NotEmpty(t, k.Status.Warm)
	assert.Equal(t, 77*time.Second, c.agents.state(k.Status.PodIP).timeout)

	// a pool can be made for the members of a policy
	change(c, "gw", &v1alpha1.JupyterGateway{}, func(gw *v1alpha1.JupyterGateway) {
		gw.Spec.Warm = 0
		gw.Spec.WarmKernels = []v1alpha1.WarmKernel{{KernelSpec: v1alpha1.DefaultKernelName, Count: 1, Policies: []string{"lab"}}}
	})
	c.eventually("a Pod for the lab", func() bool {
		s := c.warmPods()
		return len(s) == 1 && slices.ContainsFunc(podspec.KernelContainer(&s[0].Spec).Env, func(v corev1.EnvVar) bool { return v.Name == "LAB" })
	})
	c.warmUp(1, "")
	c.create(kerneltest.Kernel("lab", "gw", v1alpha1.DefaultKernelName, kerneltest.Owned("bob", "lab")))
	assert.NotEmpty(t, c.phase("lab", 1, v1alpha1.KernelReady).Status.Warm)
}

func TestPoolFollowsTheKernelspec(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	ks := kerneltest.GPUSpec("cpu", 0)
	c.create(ks)
	c.gateway("gw", warmGateway(2), func(gw *v1alpha1.JupyterGateway) { gw.Spec.Kernels = []string{"cpu"} })
	old := c.warmUp(2, "")
	before := ks.DeepCopy()
	ks.Spec.Image = "gpu:next"
	require.NoError(t, c.api.Patch(t.Context(), ks, client.MergeFrom(before)))
	c.eventually("new ones", func() bool {
		s := c.warmPods()
		return len(s) == 2 && podspec.KernelContainer(&s[0].Spec).Image == "gpu:next" && podspec.KernelContainer(&s[1].Spec).Image == "gpu:next"
	})
	for i := range old {
		c.eventually("end of the old", func() bool { return !c.get(old[i].Name, &old[i]) || old[i].DeletionTimestamp != nil })
	}
	change(c, "gw", &v1alpha1.JupyterGateway{}, func(gw *v1alpha1.JupyterGateway) { gw.Spec.Warm = 0 })
	c.eventually("no pool", func() bool { return len(c.warmPods()) == 0 })
}

// TestPoolGivesWay: somebody who waits for a GPU gets that of a warm Pod.
func TestPoolGivesWay(t *testing.T) {
	c := startCluster(t)
	c.node("warm", 2)
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.GPUSpec("other", 1), kerneltest.Policy("one", func(k *v1alpha1.PolicyKernels) {
		k.Allowed, k.GPUsPerKernel, k.GPUsPerUser = []string{"gpu", "other"}, 1, 1
	}))
	c.gateway("gw", warmGateway(5), func(gw *v1alpha1.JupyterGateway) { gw.Spec.Kernels = []string{"gpu"} })
	c.warmUp(2, "warm") // for more there is no room
	c.eventually("nothing is held", func() bool {
		var p v1alpha1.GroupPolicy
		return c.get("one", &p) && p.Status.GPUs == 0
	})

	c.create(kerneltest.Kernel("other", "gw", "other", kerneltest.Owned("bob", "one")))
	c.eventually("one is given up", func() bool { return len(c.warmPods()) == 1 })
	c.phase("other", 1, v1alpha1.KernelQueued)
	var list corev1.PodList
	require.NoError(t, c.api.List(t.Context(), &list, client.InNamespace(c.namespace)))
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp != nil {
			c.kill(&list.Items[i])
		}
	}
	c.ready("other", 1, "warm")

	// the other is taken, and counts for who has it
	c.create(kerneltest.Kernel("k1", "gw", "gpu", kerneltest.Owned("ann", "one")))
	k := c.phase("k1", 1, v1alpha1.KernelReady)
	assert.NotEmpty(t, k.Status.Warm)
	assert.Equal(t, int64(1), podspec.FromList(k.Status.Held)["nvidia.com/gpu"])
	c.create(kerneltest.Kernel("k2", "gw", "gpu", kerneltest.Owned("ann", "one")))
	c.waitsFor("k2", "You use 1 of the 1 nvidia.com/gpu that policy one allows you (gpusPerUser).")
	assert.Empty(t, c.warmPods(), "there is no room for the pool")
	require.NoError(t, c.api.Delete(t.Context(), k))
	pod := &corev1.Pod{}
	require.True(t, c.get(k.Status.PodName, pod))
	c.kill(pod)
	c.phase("k2", 1, v1alpha1.KernelStarting)
}

// TestTakingSurvives kills the leader again and again while warm Pods are
// taken: no Pod is ever two kernels', none is left over.
func TestTakingSurvives(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw", warmGateway(4))
	c.warmUp(4, "")
	for round := range 4 {
		name := func(i int) string { return fmt.Sprintf("k%d-%d", round, i) }
		for i := range 5 {
			c.create(kerneltest.Kernel(name(i), "gw", v1alpha1.DefaultKernelName))
		}
		time.Sleep(time.Duration(round*7) * time.Millisecond)
		c.stop()
		if round%2 == 1 { // who had been promised one is gone before it was joined
			require.NoError(t, client.IgnoreNotFound(c.api.Delete(t.Context(), c.kernel(name(0)))))
		}
		c.start()
		c.eventually("all start", func() bool {
			for i := round % 2; i < 5; i++ {
				k := c.kernel(name(i))
				if k.Status.Phase == v1alpha1.KernelReady {
					continue
				}
				pod := &corev1.Pod{}
				if c.get(podspec.CurrentPodName(k.Name, k.Status), pod) && !podstate.Ready(pod) {
					c.warmed++
					c.report(pod, kerneltest.Running(fmt.Sprintf("10.1.0.%d", c.warmed), true))
				}
				return false
			}
			return true
		})
		c.warmUp(4, "")
	}
	var kernels v1alpha1.JupyterKernelList
	require.NoError(t, c.api.List(t.Context(), &kernels, client.InNamespace(c.namespace)))
	has := map[string]string{}
	warm := 0
	for i := range kernels.Items {
		k := &kernels.Items[i]
		require.Empty(t, has[k.Status.PodName], "two kernels have %s", k.Status.PodName)
		has[k.Status.PodName] = k.Name
		pod := &corev1.Pod{}
		require.True(t, c.get(k.Status.PodName, pod))
		assert.True(t, metav1.IsControlledBy(pod, k))
		if k.Status.Warm != "" {
			warm++
		}
	}
	assert.Greater(t, warm, 0)
	var pods corev1.PodList
	require.NoError(t, c.api.List(t.Context(), &pods, client.InNamespace(c.namespace)))
	for i := range pods.Items {
		if p := &pods.Items[i]; p.DeletionTimestamp == nil && podstate.Alive(p) && !podspec.IsWarm(p) {
			assert.NotEmpty(t, has[p.Name], "%s is a leak", p.Name)
		}
	}
	assert.Len(t, c.warmPods(), 4)
}

// TestWarmPodThatDoesNotAnswer costs a moment, not the kernel.
func TestWarmPodThatDoesNotAnswer(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw", warmGateway(1))
	pod := c.warmUp(1, "")[0]
	require.True(t, c.get(pod.Name, &pod))
	c.agents.at(pod.Status.PodIP, func(a *fakeAgent) { a.silent = true })
	c.create(kerneltest.Kernel("k1", "gw", v1alpha1.DefaultKernelName))
	c.eventually("end of the mute one", func() bool { return !c.get(pod.Name, &pod) || pod.DeletionTimestamp != nil })
	c.kill(&pod)
	c.ready("k1", 1, "")
	assert.Empty(t, c.kernel("k1").Status.Warm)
}

// TestAWarmKernelIsToldItsNotebook: where that is in the Hub, and the document, but
// none of the tokens that are beside it.
func TestAWarmKernelIsToldItsNotebook(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	policy := kerneltest.Policy("all", func(k *v1alpha1.PolicyKernels) { k.Allowed = []string{v1alpha1.DefaultKernelName} })
	policy.Spec.Env = []v1alpha1.PolicyEnv{{Name: "SCRATCH", Value: "/scratch/{username}"}, {Name: "PLAIN", Value: "x"}}
	c.create(policy)
	c.gateway("gw", func(gw *v1alpha1.JupyterGateway) {
		gw.Spec.WarmKernels = []v1alpha1.WarmKernel{{KernelSpec: v1alpha1.DefaultKernelName, Count: 1, Policies: []string{"all"}}}
	})
	warmPods := c.warmUp(1, "")
	c.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "nb-env"}, StringData: map[string]string{
		"JUPYTERHUB_USER": "ann", "JUPYTERHUB_SERVICE_PREFIX": "/user/ann/", "JUPYTERHUB_API_TOKEN": "secret", "JPY_API_TOKEN": "secret", "OTHER": "x",
	}})
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "nb"}}
	nb.Spec.User, nb.Spec.EnvSecret, nb.Spec.Gateway = "ann", "nb-env", &corev1.ObjectReference{Name: "gw"}
	nb.Spec.KernelOptions = &v1alpha1.KernelOptions{Policies: []string{"all"}}
	c.create(nb)
	k := kerneltest.Kernel("k1", "gw", v1alpha1.DefaultKernelName)
	k.Spec.Notebook, k.Spec.Policies = "nb", []string{"all"}
	k.Spec.Env = []corev1.EnvVar{{Name: podrules.EnvSession, Value: "/home/jovyan/5$$ $$(A).ipynb"}}
	c.create(k)
	k = c.phase("k1", 1, v1alpha1.KernelReady)
	assert.Equal(t, warmPods[0].Name, k.Status.PodName)
	assert.Equal(t, map[string]string{
		"JUPYTERHUB_USER": "ann", "JUPYTERHUB_SERVICE_PREFIX": "/user/ann/", podrules.EnvSession: "/home/jovyan/5$ $(A).ipynb",
		"SCRATCH": "/scratch/ann",
	}, c.agents.state(k.Status.PodIP).variables)
}
