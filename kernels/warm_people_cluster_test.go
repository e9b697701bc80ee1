package kernels

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/podrules"
)

const notebookNode = "node-of-notebooks"

// server makes the notebook of a user, whose home only one node can have at a time, and
// a Pod of it that runs; its server started so long ago.
func (c *cluster) server(user, node string, since time.Duration, policies ...string) *v1alpha1.JupyterNotebook {
	c.Helper()
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "nb-" + user}}
	nb.Spec.User, nb.Spec.EnvSecret, nb.Spec.Gateway = user, "env-"+user, &corev1.ObjectReference{Name: "gw"}
	nb.Spec.KernelOptions = &v1alpha1.KernelOptions{Policies: policies}
	nb.Spec.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: resource.MustParse("1Gi")}}
	c.create(nb, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "env-" + user}, StringData: map[string]string{"JUPYTERHUB_USER": user}})
	c.serverOn(nb.Name, nb.Name+"-1", node)
	c.serverIs(nb, v1alpha1.NotebookReady, since)
	return nb
}

func (c *cluster) serverOn(notebook, name, node string) *corev1.Pod {
	c.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelComponent: v1alpha1.ComponentNotebook, v1alpha1.LabelNotebook: notebook,
	}}}
	pod.Spec.Containers = []corev1.Container{{Name: "notebook", Image: "notebook:test"}}
	pod.Spec.NodeName = node
	c.create(pod)
	return pod
}

func (c *cluster) serverIs(nb *v1alpha1.JupyterNotebook, phase v1alpha1.NotebookPhase, since time.Duration) {
	c.Helper()
	change := nb.DeepCopy()
	require.True(c, c.get(nb.Name, change))
	change.Status.Phase, change.Status.StartTime = phase, &metav1.Time{Time: time.Now().Add(-since)}
	require.NoError(c, c.api.Status().Update(c.ctx, change))
}

// claims are the names of the claims that a Pod mounts.
func claims(pod *corev1.Pod) (names []string) {
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		}
	}
	return names
}

// warmFor waits until the warm Pods are those for these notebooks, "" for nobody's.
func (c *cluster) warmFor(notebooks ...string) {
	c.Helper()
	slices.Sort(notebooks)
	var got []string
	c.eventually("warm Pods for these alone", func() bool {
		got = nil
		for _, pod := range c.warmPods() {
			got = append(got, pod.Labels[v1alpha1.LabelWarmFor])
		}
		slices.Sort(got)
		return slices.Equal(notebooks, got)
	})
}

func (c *cluster) setBudget(n int32) {
	c.Helper()
	change(c, "gw", &v1alpha1.JupyterGateway{}, func(gw *v1alpha1.JupyterGateway) { gw.Spec.Warm = n })
}

// ofNotebook is a kernel as a notebook server asks for it.
func ofNotebook(user string, policies ...string) func(*v1alpha1.JupyterKernel) {
	return func(k *v1alpha1.JupyterKernel) {
		k.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
		k.Spec.Notebook, k.Spec.User, k.Spec.Policies = "nb-"+user, user, policies
		k.Spec.WorkingDir = "/home/jovyan/work"
		k.Spec.Env = []corev1.EnvVar{{Name: podrules.EnvSession, Value: "/home/jovyan/work/a.ipynb"}, {Name: "KERNEL_TOPIC", Value: "x"}}
	}
}

// TestAWarmPodWithAHome is made for one person's notebook, on the node of its volume, is
// booked to nobody, and becomes that person's kernel alone.
func TestAWarmPodWithAHome(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.create(kerneltest.Policy("all", func(k *v1alpha1.PolicyKernels) { k.Allowed = []string{v1alpha1.DefaultKernelName} }))
	c.gateway("gw", warmGateway(1))
	c.warmFor("") // there is no notebook: it may be for anybody
	alice := c.server("alice", notebookNode, time.Minute, "all")
	c.warmFor("nb-alice")
	warm := c.warmUp(1, "")[0]
	assert.Equal(t, []string{"home-nb-alice"}, claims(&warm))
	assert.Equal(t, notebookNode, podspec.PinnedTo(&warm.Spec))
	assert.Equal(t, "ServerStarted", warm.Annotations[v1alpha1.AnnotationWarmWhy])
	assert.NotContains(t, warm.Labels, v1alpha1.LabelHubUsername)
	assert.NotContains(t, warm.Annotations, v1alpha1.LabelHubUsername)
	assert.NotContains(t, warm.Labels, v1alpha1.LabelNotebook)
	c.eventually("it counts for nobody", func() bool {
		var p v1alpha1.GroupPolicy
		return c.get("all", &p) && p.Status.Kernels == 0
	})

	// bob, whose Pod would be the same but for the home, has one of his own
	c.server("bob", notebookNode, time.Hour, "all")
	c.create(kerneltest.Kernel("bobs", "gw", v1alpha1.DefaultKernelName, ofNotebook("bob", "all")))
	pod := c.pod("bobs", 1)
	assert.Empty(t, c.kernel("bobs").Status.Warm)
	assert.Equal(t, []string{"home-nb-bob"}, claims(pod))

	c.create(kerneltest.Kernel("alices", "gw", v1alpha1.DefaultKernelName, ofNotebook("alice", "all")))
	k := c.phase("alices", 1, v1alpha1.KernelReady)
	assert.Equal(t, warm.Name, k.Status.PodName)
	require.True(t, c.get(k.Status.PodName, pod))
	assert.Equal(t, "alice", pod.Labels[v1alpha1.LabelHubUsername])
	assert.Equal(t, alice.Name, pod.Labels[v1alpha1.LabelNotebook])
	assert.NotContains(t, pod.Labels, v1alpha1.LabelWarmFor)
	assert.NotContains(t, pod.Annotations, v1alpha1.AnnotationWarmWhy)
	agent := c.agents.state(k.Status.PodIP)
	assert.Equal(t, map[string]string{"JUPYTERHUB_USER": "alice", podrules.EnvSession: "/home/jovyan/work/a.ipynb", "KERNEL_TOPIC": "x"}, agent.variables)
	assert.Equal(t, &protocol.Directory{Path: "/home/jovyan/work", Roots: []string{"/home/jovyan"}}, agent.directory)
	assert.Equal(t, 600*time.Second, agent.timeout)
	c.eventually("now it counts", func() bool {
		var p v1alpha1.GroupPolicy
		return c.get("all", &p) && p.Status.Kernels == 2
	})
	assert.Equal(t, map[string]float64{"taken": 1, "none": 1, "lost": 0}, c.gauge("elastichub_kernel_warm_starts_total"))
	c.warmFor("nb-alice") // the next
	for _, pod := range c.warmPods() {
		assert.NotEqual(t, warm.Name, pod.Name)
	}
}

// TestWarmPodsFollowPeople: they end with the notebook, go where its volume is, change
// with its policies, and are there for whom a kernel is expected of.
func TestWarmPodsFollowPeople(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	lab := kerneltest.Policy("lab", func(k *v1alpha1.PolicyKernels) { k.Allowed = []string{v1alpha1.DefaultKernelName} })
	none := kerneltest.Policy("none", func(k *v1alpha1.PolicyKernels) { k.Allowed = []string{"other"} })
	one := kerneltest.Policy("one", func(k *v1alpha1.PolicyKernels) { k.Allowed, k.PerUser = []string{v1alpha1.DefaultKernelName}, 1 })
	c.create(lab, none, one)
	c.gateway("gw", warmGateway(3))
	carol := c.server("carol", notebookNode, 10*time.Minute, "lab")
	c.server("dave", notebookNode, time.Minute, "none")   // may have none
	c.server("erin", notebookNode, 30*time.Hour, "lab")   // nobody has seen a kernel of hers
	frank := c.server("frank", notebookNode, 0, "lab")    // the last to come
	grace := c.server("grace", notebookNode, 0, "lab")    // stops at once
	c.server("heidi", notebookNode, 2*time.Minute, "one") // has all she may
	c.create(kerneltest.Kernel("heidis", "gw", v1alpha1.DefaultKernelName, ofNotebook("heidi", "one")))
	c.admitted("heidis")
	c.warmFor("nb-carol", "nb-frank", "nb-grace")
	c.warmUp(3, "")

	// the server stops, or is being replaced
	change(c, grace.Name, &v1alpha1.JupyterNotebook{}, func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Stopped = true })
	c.warmFor("nb-carol", "nb-frank")
	c.serverIs(frank, v1alpha1.NotebookStarting, 0)
	c.warmFor("nb-carol")

	// another node has its volume now
	pod := &corev1.Pod{}
	require.True(t, c.get("nb-frank-1", pod))
	c.kill(pod)
	c.serverOn(frank.Name, "nb-frank-2", "elsewhere")
	c.serverIs(frank, v1alpha1.NotebookReady, 0)
	c.warmFor("nb-carol", "nb-frank")
	for _, pod := range c.warmPods() {
		want := map[string]string{"nb-carol": notebookNode, "nb-frank": "elsewhere"}[pod.Labels[v1alpha1.LabelWarmFor]]
		assert.Equal(t, want, podspec.PinnedTo(&pod.Spec))
	}

	// the policy says something else
	old := c.warmUp(2, "")
	change(c, "lab", &v1alpha1.GroupPolicy{}, func(p *v1alpha1.GroupPolicy) { p.Spec.Env = []v1alpha1.PolicyEnv{{Name: "LAB", Value: "2"}} })
	c.eventually("others in their place", func() bool {
		now := c.warmPods()
		return len(now) == 2 && !slices.ContainsFunc(now, func(p corev1.Pod) bool {
			return slices.ContainsFunc(old, func(o corev1.Pod) bool { return o.Name == p.Name }) ||
				!slices.Contains(podspec.KernelContainer(&p.Spec).Env, corev1.EnvVar{Name: "LAB", Value: "2"})
		})
	})
	change(c, "lab", &v1alpha1.GroupPolicy{}, func(p *v1alpha1.GroupPolicy) { p.Spec.Kernels.Allowed = []string{"other"} })
	c.warmFor()
	change(c, "lab", &v1alpha1.GroupPolicy{}, func(p *v1alpha1.GroupPolicy) { p.Spec.Kernels.Allowed = []string{v1alpha1.DefaultKernelName} })
	c.warmFor("nb-carol", "nb-frank")

	// a page of a parked kernel comes before whoever has just come
	c.setBudget(1)
	c.warmFor("nb-frank")
	c.create(kerneltest.Kernel("erins", "gw", v1alpha1.DefaultKernelName, ofNotebook("erin", "lab")))
	c.report(c.ready("erins", 1, ""), kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"Idle.","exitCode":0}`))
	c.phase("erins", 1, v1alpha1.KernelParked)
	c.warmFor("nb-frank")
	change(c, "erins", &v1alpha1.JupyterKernel{}, func(k *v1alpha1.JupyterKernel) {
		k.Annotations = map[string]string{v1alpha1.AnnotationPageOpen: time.Now().UTC().Format(time.RFC3339)}
	})
	c.warmFor("nb-erin")
	assert.Equal(t, "PageOpen", c.warmPods()[0].Annotations[v1alpha1.AnnotationWarmWhy])
	warm := c.warmUp(1, "")[0]
	c.askRun("erins", 2)
	assert.Equal(t, warm.Name, c.phase("erins", 2, v1alpha1.KernelReady).Status.PodName)

	// a notebook that is gone takes it along
	c.setBudget(3)
	c.warmFor("nb-carol", "nb-erin", "nb-frank")
	require.NoError(t, c.api.Delete(t.Context(), carol))
	c.warmFor("nb-erin", "nb-frank")
	c.eventually("it is known how many", func() bool { return c.gauge("elastichub_kernel_warm_pods_for_people")[""] == 2 })
}

// admitted waits until a kernel holds what it may have.
func (c *cluster) admitted(name string) {
	c.Helper()
	c.pod(name, 1)
	c.phase(name, 1, v1alpha1.KernelStarting)
}

// TestWarmPodsOfPeopleGiveWay to whoever waits for their GPU, or for a node.
func TestWarmPodsOfPeopleGiveWay(t *testing.T) {
	c := startCluster(t)
	c.node(notebookNode, 1)
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.GPUSpec("other", 1), kerneltest.Policy("one", func(k *v1alpha1.PolicyKernels) {
		k.Allowed, k.GPUsPerKernel, k.GPUsPerUser = []string{"gpu", "other"}, 1, 1
	}))
	c.gateway("gw", func(gw *v1alpha1.JupyterGateway) {
		gw.Spec.WarmKernels = []v1alpha1.WarmKernel{{KernelSpec: "gpu", Count: 2}}
	})
	c.server("alice", notebookNode, time.Minute, "one")
	c.warmFor("nb-alice")
	c.warmUp(1, notebookNode)
	c.eventually("it is known what it holds", func() bool { return c.gauge("elastichub_kernel_warm_resources_held")["nvidia.com/gpu"] == 1 })
	assert.Empty(t, c.gauge("elastichub_kernel_resources_held"), "nobody holds it")

	c.create(kerneltest.Kernel("bobs", "gw", "other", kerneltest.Owned("bob", "one")))
	c.warmFor()
	var list corev1.PodList
	require.NoError(t, c.api.List(t.Context(), &list, client.InNamespace(c.namespace)))
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp != nil {
			c.kill(&list.Items[i])
		}
	}
	bobs := c.ready("bobs", 1, notebookNode)
	assert.Empty(t, c.warmPods(), "there is no room for it")
	require.NoError(t, c.api.Delete(t.Context(), c.kernel("bobs")))
	c.kill(bobs)
	c.warmFor("nb-alice")

	// a notebook for which the scheduler finds no node
	pod := c.serverOn("nb-bob", "nb-bob-1", "")
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable}}
	require.NoError(t, c.api.Status().Update(t.Context(), pod))
	bob := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "nb-bob"}}
	bob.Spec.Gateway = &corev1.ObjectReference{Name: "gw"}
	c.create(bob)
	c.serverIs(bob, v1alpha1.NotebookStarting, 0)
	c.warmFor()
}

// TestAWarmPodTakesAState: the agent is told last whose state it keeps, with the key that
// no Secret of the Pod has, and which it loads.
func TestAWarmPodTakesAState(t *testing.T) {
	seed := bytes.Repeat([]byte{5}, keys.Size)
	c := startCluster(t, func(cfg *Config) {
		cfg.ClusterCapacity, cfg.KeepSeeds = false, keys.FixedKeepSeeds(seed)
		cfg.Pods.Keep = podspec.Keep{Enabled: true, IdleSeconds: 300, TTL: time.Hour, MaxBytes: 1 << 30}
	})
	c.create(kerneltest.Policy("all", func(k *v1alpha1.PolicyKernels) { k.Allowed = []string{v1alpha1.DefaultKernelName} }))
	c.gateway("gw", warmGateway(1))
	c.server("alice", notebookNode, time.Minute, "all")
	c.warmFor("nb-alice")
	warm := c.warmUp(1, "")[0]
	var secret corev1.Secret
	require.True(t, c.get(warm.Name, &secret))
	assert.NotContains(t, secret.Data, podspec.KeepKeyName)
	c.create(kerneltest.Kernel("k", "gw", v1alpha1.DefaultKernelName, ofNotebook("alice", "all")))
	k := c.phase("k", 1, v1alpha1.KernelReady)
	require.Equal(t, warm.Name, k.Status.PodName)
	key, err := keys.DeriveKeep(seed, c.namespace, string(k.UID))
	require.NoError(t, err)
	want := &protocol.KeepState{Kernel: string(k.UID), Keys: []string{key.Hex()}, Run: 1, TTLSeconds: 3600, MaxBytes: 1 << 30}
	agent := c.agents.state(k.Status.PodIP)
	assert.Equal(t, want, agent.keep)
	assert.Equal(t, 300*time.Second, agent.short)

	pod := &corev1.Pod{}
	require.True(t, c.get(warm.Name, pod))
	c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","kept":{"outcome":"whole","run":1,"variables":3,"bytes":70000}}`))
	c.phase("k", 1, v1alpha1.KernelParked)
	warm = c.warmUp(1, "")[0]
	c.askRun("k", 2)
	k = c.phase("k", 2, v1alpha1.KernelReady)
	assert.Equal(t, warm.Name, k.Status.PodName)
	want.Run, want.Loads = 2, 1
	assert.Equal(t, want, c.agents.state(k.Status.PodIP).keep)
}

// TestTheSameVolumesAreNotTheSamePerson: bob's Pod would have what alice's has, volumes
// and all, and he gets hers no more for that.
func TestTheSameVolumesAreNotTheSamePerson(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.create(kerneltest.Policy("all", func(k *v1alpha1.PolicyKernels) { k.Allowed = []string{v1alpha1.DefaultKernelName} }))
	c.gateway("gw", warmGateway(1))
	for user, since := range map[string]time.Duration{"alice": time.Minute, "bob": time.Hour} {
		nb := c.server(user, notebookNode, since, "all")
		change(c, nb.Name, &v1alpha1.JupyterNotebook{}, func(nb *v1alpha1.JupyterNotebook) {
			nb.Spec.Storage = &v1alpha1.NotebookStorage{Shared: []v1alpha1.SharedVolume{{Name: "data", Claim: "data", MountPath: "/home/jovyan"}}}
		})
	}
	c.eventually("a Pod for alice, with the shared volume alone", func() bool {
		pods := c.warmPods()
		return len(pods) == 1 && slices.Equal(claims(&pods[0]), []string{"data"})
	})
	warm := c.warmUp(1, "")[0]
	assert.Equal(t, "nb-alice", warm.Labels[v1alpha1.LabelWarmFor])
	assert.Empty(t, podspec.PinnedTo(&warm.Spec), "it may be anywhere")
	c.create(kerneltest.Kernel("bobs", "gw", v1alpha1.DefaultKernelName, ofNotebook("bob", "all")))
	assert.Equal(t, []string{"data"}, claims(c.pod("bobs", 1)))
	assert.Empty(t, c.kernel("bobs").Status.Warm)
	c.create(kerneltest.Kernel("alices", "gw", v1alpha1.DefaultKernelName, ofNotebook("alice", "all")))
	assert.Equal(t, warm.Name, c.phase("alices", 1, v1alpha1.KernelReady).Status.Warm)
}
