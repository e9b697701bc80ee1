package kernels

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/podspec"
)

func (c *cluster) askRun(name string, run int64) {
	c.Helper()
	k := c.kernel(name)
	before := k.DeepCopy()
	k.Spec.Run = run
	require.NoError(c, c.api.Patch(c.ctx, k, client.MergeFrom(before)))
}

func TestLifeOfAKernel(t *testing.T) {
	c := startCluster(t)
	c.node("life", 2)
	gw := c.gateway("gw")
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.Kernel("k1", "gw", "gpu"))

	// admitted at once, with its key and its GPU
	pod := c.pod("k1", 1)
	k := c.phase("k1", 1, v1alpha1.KernelStarting)
	assert.Equal(t, int64(1), podspec.FromList(k.Status.Held)["nvidia.com/gpu"])
	assert.Equal(t, "10", fmt.Sprint(*pod.Spec.TerminationGracePeriodSeconds))
	var secret corev1.Secret
	require.True(t, c.get("k1-1", &secret))
	key, err := podspec.ReadGatewayKey(t.Context(), c.api, c.namespace, "gw")
	require.NoError(t, err)
	derived, err := key.Derive(string(k.UID), 1)
	require.NoError(t, err)
	assert.Equal(t, derived[0].Hex(), string(secret.Data[podspec.KeyName]))
	assert.True(t, metav1.IsControlledBy(&secret, k))
	assert.True(t, metav1.IsControlledBy(pod, k))
	c.eventually("owner", func() bool { return owners(c.kernel("k1"))["JupyterGateway"] == gw.UID })

	// the address is told while it starts, readiness when it is ready
	c.bind(pod, "life")
	c.report(pod, kerneltest.Running("10.0.0.7", false))
	c.eventually("address", func() bool { return c.kernel("k1").Status.PodIP == "10.0.0.7" })
	k = c.kernel("k1")
	assert.Equal(t, v1alpha1.KernelStarting, k.Status.Phase)
	assert.Equal(t, "k1-1", k.Status.PodName)
	assert.Equal(t, "life", k.Status.Node)
	c.report(pod, kerneltest.Running("10.0.0.7", true))
	k = c.phase("k1", 1, v1alpha1.KernelReady)
	assert.NotNil(t, k.Status.StartTime)
	assert.NotNil(t, k.Status.ReadyTime)
	assert.True(t, meta.IsStatusConditionTrue(k.Status.Conditions, lifecycle.ConditionRunning))

	// idle: parked, the GPU free, Pod and Secret gone
	c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"Idle for 60 s.","exitCode":0}`))
	k = c.phase("k1", 1, v1alpha1.KernelParked)
	assert.Equal(t, v1alpha1.CauseIdle, k.Status.Cause)
	assert.Equal(t, "Idle for 60 s.", k.Status.Message)
	assert.Empty(t, k.Status.Held)
	assert.Empty(t, k.Status.PodIP)
	assert.NotNil(t, k.Status.CompletionTime)
	c.gone(pod)
	c.gone(&secret)

	// the next run
	c.askRun("k1", 2)
	second := c.ready("k1", 2, "life")
	k = c.kernel("k1")
	assert.Empty(t, k.Status.Cause)
	assert.Nil(t, k.Status.CompletionTime)
	assert.Equal(t, "k1-2", k.Status.PodName)

	// a run asked for while one is there: the old Pod goes first, and is counted until then
	c.askRun("k1", 3)
	c.phase("k1", 3, v1alpha1.KernelQueued)
	c.eventually("deletion of the former Pod", func() bool { return c.get("k1-2", second) && second.DeletionTimestamp != nil })
	assert.NotEmpty(t, c.kernel("k1").Status.Held)
	assert.False(t, c.get("k1-3", &corev1.Pod{}))
	c.kill(second)
	c.pod("k1", 3)

	// deleted: nothing is left
	require.NoError(t, c.api.Delete(t.Context(), c.kernel("k1")))
	third := &corev1.Pod{}
	third.Name = "k1-3"
	c.gone(third)
}

func TestEndsOfAPod(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw")
	ks := kerneltest.GPUSpec("gpu", 1)
	ks.Spec.Template = &corev1.ObjectReference{Name: "hour"}
	hour := &v1alpha1.JupyterKernelTemplate{ObjectMeta: metav1.ObjectMeta{Name: "hour"}}
	hour.Spec.Template = &v1alpha1.PodTemplate{}
	hour.Spec.Template.Spec.ActiveDeadlineSeconds = ptr.To[int64](3600)
	c.create(hour, ks)
	for name, tc := range map[string]struct {
		end     func(*corev1.PodStatus)
		cause   v1alpha1.KernelCause
		message string
	}{
		"oom":      {kerneltest.Exited(1, "OOMKilled", `{"reason":"kernel-exited","message":"x","exitCode":-9}`), v1alpha1.CauseOutOfMemory, "The kernel ran out of memory."},
		"exited":   {kerneltest.Exited(1, "Error", `{"reason":"kernel-exited","message":"The kernel exited with code 3.","exitCode":3}`), v1alpha1.CauseKernelExited, "The kernel exited with code 3."},
		"start":    {kerneltest.Exited(1, "Error", `{"reason":"start-failed","message":"No answer.","exitCode":1}`), v1alpha1.CauseStartFailed, "No answer."},
		"shutdown": {kerneltest.Exited(0, "Completed", `{"reason":"shutdown","message":"Shut down.","exitCode":0}`), v1alpha1.CauseShutdown, "Shut down."},
		"evicted":  {failed("Evicted", "low on memory"), v1alpha1.CauseEvicted, "The kernel's Pod was taken away: the node ended it: low on memory."},
		"preempted": {func(s *corev1.PodStatus) {
			kerneltest.Exited(1, "Error", `{"reason":"terminated","message":"x","exitCode":0}`)(s)
			s.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "PreemptionByScheduler", Message: "default-scheduler: preempting to accommodate a higher priority pod"}}
		}, v1alpha1.CauseEvicted, "The kernel's Pod was taken away: a Pod of higher priority needed its place on the node far (preemption; its own priority is 0)."},
		"drained": {func(s *corev1.PodStatus) {
			kerneltest.Exited(1, "Error", `{"reason":"terminated","message":"x","exitCode":0}`)(s)
			s.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting"}}
		}, v1alpha1.CauseEvicted, "The kernel's Pod was taken away: the node far is being emptied (drain), or somebody asked for its eviction."},
		"node pressure": {func(s *corev1.PodStatus) {
			failed("Evicted", "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container kernel was using 3Gi, request is 1Gi, has larger consumption of memory. ")(s)
			s.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "TerminationByKubelet", Message: s.Message}}
		}, v1alpha1.CauseEvicted, "The kernel's Pod was taken away: the node far ran short of memory (50Mi were left, and it keeps 100Mi free). Its container kernel used 3Gi and had asked for 1Gi."},
		"tainted": {func(s *corev1.PodStatus) {
			kerneltest.Exited(1, "Error", `{"reason":"terminated","message":"x","exitCode":0}`)(s)
			s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "PodFailed"},
				{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager", Message: "Taint manager: deleting due to NoExecute taint"}}
		}, v1alpha1.CauseEvicted, "The kernel's Pod was taken away: the node far does not answer, or takes no such Pods any more (a taint NoExecute)."},
		"node silent": {func(s *corev1.PodStatus) { // the node controller says that it is not ready, and no kubelet
			s.Phase = corev1.PodFailed
			s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse},
				{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager", Message: "Taint manager: deleting due to NoExecute taint"}}
		}, v1alpha1.CauseNodeLost, "The kernel's Pod was taken away: the node far does not answer, or takes no such Pods any more (a taint NoExecute)."},
		"node gone": {func(s *corev1.PodStatus) {
			s.Phase = corev1.PodFailed
			s.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC", Message: "PodGC: node no longer exists"}}
		}, v1alpha1.CauseNodeLost, "The node far, where the kernel ran, is gone."},
		"node restarted": {kerneltest.Exited(255, "Unknown", ""), v1alpha1.CauseNodeLost, "The node far restarted or lost the kernel's container."},
		"killed":         {kerneltest.Exited(137, "Error", ""), v1alpha1.CauseKernelExited, "The kernel's agent ended with exit code 137; the kernel was ended with it."},
		"deadline":       {failed("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"), v1alpha1.CauseDeadline, "The kernel's Pod has run for 1h0m0s, the longest that is allowed."},
		"shutting down":  {failed("NodeShutdown", "Pod was terminated in response to imminent node shutdown."), v1alpha1.CauseEvicted, "The kernel's Pod was taken away: the node far shuts down."},
		"mystery":        {func(s *corev1.PodStatus) { s.Phase, s.Message = corev1.PodFailed, "odd" }, v1alpha1.CauseUnknown, "The kernel's Pod ended: odd"},
		"never": {func(s *corev1.PodStatus) {
			s.Phase = corev1.PodPending
			s.ContainerStatuses = []corev1.ContainerStatus{{Name: "kernel", Image: "i", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImageNeverPull", Message: "not present"}}}}
		}, v1alpha1.CauseImage, "The image gpu:test cannot be had (ErrImageNeverPull): not present"},
	} {
		t.Run(name, func(t *testing.T) {
			c := *c
			c.T, c.ctx = t, t.Context()
			name := strings.ReplaceAll(name, " ", "-")
			c.create(kerneltest.Kernel(name, "gw", "gpu"))
			pod := c.pod(name, 1)
			if tc.cause != v1alpha1.CauseImage {
				c.bind(pod, "far")
			}
			if tc.cause != v1alpha1.CauseImage && tc.cause != v1alpha1.CauseStartFailed {
				c.report(pod, kerneltest.Running("10.0.0.9", true))
				c.phase(name, 1, v1alpha1.KernelReady)
			}
			c.report(pod, tc.end)
			k := c.phase(name, 1, v1alpha1.KernelDead)
			assert.Equal(t, tc.cause, k.Status.Cause)
			assert.Equal(t, tc.message, k.Status.Message)
			c.gone(pod)
			c.eventually("nothing held", func() bool { return len(c.kernel(name).Status.Held) == 0 })
		})
	}
}

func failed(reason, message string) func(*corev1.PodStatus) {
	return func(s *corev1.PodStatus) { s.Phase, s.Reason, s.Message = corev1.PodFailed, reason, message }
}

func TestPodTakenAway(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw")
	c.create(kerneltest.Kernel("k", "gw", v1alpha1.DefaultKernelName))
	pod := c.ready("k", 1, "")
	require.NoError(t, c.api.Delete(t.Context(), pod, client.GracePeriodSeconds(0)))
	k := c.phase("k", 1, v1alpha1.KernelDead)
	assert.Equal(t, v1alpha1.CauseUnknown, k.Status.Cause)
	assert.Equal(t, "The kernel's Pod was deleted.", k.Status.Message)
	assert.False(t, c.get("k-2", &corev1.Pod{}), "it does not come back by itself")
}

func TestIdleDeletes(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw", func(gw *v1alpha1.JupyterGateway) { gw.Spec.OnIdle = v1alpha1.OnIdleDelete })
	c.create(kerneltest.Kernel("k", "gw", v1alpha1.DefaultKernelName))
	pod, k := c.ready("k", 1, ""), c.kernel("k")
	c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"","exitCode":0}`))
	c.gone(k)
	c.gone(pod)
}

func TestReferencesMayComeLater(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.create(kerneltest.Kernel("k", "gw", "late", func(k *v1alpha1.JupyterKernel) { k.Spec.Notebook = "nb" }))
	waitsFor := func(reason string) {
		t.Helper()
		c.eventually(reason, func() bool {
			k := c.kernel("k")
			cond := meta.FindStatusCondition(k.Status.Conditions, lifecycle.ConditionResolved)
			return k.Status.Phase == v1alpha1.KernelQueued && cond != nil && cond.Reason == reason && k.Status.Message != ""
		})
	}
	waitsFor("GatewayMissing")
	c.gateway("gw")
	waitsFor("KernelSpecMissing")
	ks := kerneltest.GPUSpec("late", 0)
	ks.Spec.Template = &corev1.ObjectReference{Name: "tmpl", Namespace: c.namespace}
	c.create(ks)
	waitsFor("TemplateMissing")
	c.create(&v1alpha1.JupyterKernelTemplate{ObjectMeta: metav1.ObjectMeta{Name: "tmpl"}})
	waitsFor("NotebookMissing")
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "nb"}}
	nb.Spec.Gateway = &corev1.ObjectReference{Name: "gw"}
	c.create(nb)
	c.pod("k", 1)
	k := c.phase("k", 1, v1alpha1.KernelStarting)
	assert.Equal(t, nb.UID, owners(k)["JupyterNotebook"])
	assert.Empty(t, k.Status.Message)

	// the notebook stops: so does the kernel
	before := nb.DeepCopy()
	nb.Spec.Stopped = true
	require.NoError(t, c.api.Patch(t.Context(), nb, client.MergeFrom(before)))
	c.gone(k)
}

func TestInvalidIsSaidAndMakesNothing(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw")
	noImage := kerneltest.GPUSpec("bare", 0)
	noImage.Spec.Image = ""
	c.create(noImage, kerneltest.Kernel("k1", "gw", "bare"))
	k := c.phase("k1", 1, v1alpha1.KernelDead)
	assert.Equal(t, v1alpha1.CauseInvalid, k.Status.Cause)
	assert.Equal(t, "JupyterKernelSpec bare: spec.image: neither the kernelspec nor its template names an image", k.Status.Message)

	template := &v1alpha1.PodTemplate{}
	template.Spec.HostNetwork = true
	template.Spec.Containers = []corev1.Container{{Name: "x", Image: "x"}}
	c.create(&v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Name: "k2"}, Spec: v1alpha1.JupyterKernelCRDSpec{Template: template}})
	k = c.phase("k2", 1, v1alpha1.KernelDead)
	assert.Equal(t, "JupyterKernel k2: spec.template.spec.hostNetwork: must not be true", k.Status.Message)

	// what only the API server finds wrong
	odd := kerneltest.GPUSpec("odd", 0)
	odd.Spec.Env = []corev1.EnvVar{{Name: "A=B", Value: "x"}}
	c.create(odd, kerneltest.Kernel("k3", "gw", "odd"))
	k = c.phase("k3", 1, v1alpha1.KernelDead)
	assert.Equal(t, v1alpha1.CauseInvalid, k.Status.Cause)
	assert.Contains(t, k.Status.Message, "The cluster refused the kernel's Pod")
	var pods corev1.PodList
	require.NoError(t, c.api.List(t.Context(), &pods, client.InNamespace(c.namespace)))
	assert.Empty(t, pods.Items)
}

// TestOperatorsOwnTemplate runs a JupyterKernel of elastic-jupyter-operator.
func TestOperatorsOwnTemplate(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	template := &v1alpha1.PodTemplate{}
	template.Labels = map[string]string{"app": "kernel"}
	template.Spec.RestartPolicy = corev1.RestartPolicyAlways
	template.Spec.Containers = []corev1.Container{{Name: "kernel", Image: "eg-kernel:1", Command: []string{"/bootstrap"}}}
	c.create(&v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Name: "plain"}, Spec: v1alpha1.JupyterKernelCRDSpec{Template: template}})
	pod := c.pod("plain", 1)
	assert.Equal(t, corev1.RestartPolicyAlways, pod.Spec.RestartPolicy)
	assert.Equal(t, []string{"/bootstrap"}, pod.Spec.Containers[0].Command)
	assert.Equal(t, "kernel", pod.Labels["app"])
	assert.Len(t, pod.Spec.Containers, 1)
	assert.Empty(t, pod.Spec.InitContainers)
	c.report(pod, kerneltest.Running("10.0.0.8", true))
	k := c.phase("plain", 1, v1alpha1.KernelReady)
	assert.True(t, meta.IsStatusConditionTrue(k.Status.Conditions, lifecycle.ConditionRunning))
	assert.NotNil(t, k.Status.StartTime)
	assert.NotNil(t, k.Status.LastReconcileTime)
	c.report(pod, kerneltest.Exited(0, "Completed", ""))
	k = c.phase("plain", 1, v1alpha1.KernelDead)
	assert.True(t, meta.IsStatusConditionTrue(k.Status.Conditions, lifecycle.ConditionSucceeded))
	assert.False(t, meta.IsStatusConditionTrue(k.Status.Conditions, lifecycle.ConditionRunning))
	assert.NotNil(t, k.Status.CompletionTime)
}

func TestStartIsQuick(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw")
	var took []time.Duration
	for i := range 15 {
		name := fmt.Sprintf("k%d", i)
		begin := time.Now()
		c.create(kerneltest.Kernel(name, "gw", v1alpha1.DefaultKernelName))
		for !c.get(podspec.PodName(name, 1), &corev1.Pod{}) {
			require.Less(t, time.Since(begin), 10*time.Second)
			time.Sleep(time.Millisecond)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("kernel created → Pod created: median %v, worst %v", took[len(took)/2], took[len(took)-1])
	assert.Less(t, took[len(took)/2], time.Second)
}

// owners maps the kinds of an object's owners to their UIDs.
func owners(o client.Object) map[string]types.UID {
	uids := map[string]types.UID{}
	for _, owner := range o.GetOwnerReferences() {
		uids[owner.Kind] = owner.UID
	}
	return uids
}
