package kernels

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/test/webhooks"
)

// writing counts what the controllers of a cluster write, whether or not it changes anything.
type writing struct {
	next http.RoundTripper
	mu   sync.Mutex
	all  []string
}

// RoundTrip implements http.RoundTripper.
func (w *writing) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet && req.URL.Query().Get("dryRun") == "" && !strings.Contains(req.URL.Path, "/leases") {
		w.mu.Lock()
		w.all = append(w.all, req.Method+" "+req.URL.Path)
		w.mu.Unlock()
	}
	return w.next.RoundTrip(req)
}

// since gives what was written since it was called last.
func (w *writing) since() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.all
	w.all = nil
	return all
}

// countedCluster is a cluster in a namespace whose webhooks were installed by change first.
func countedCluster(t *testing.T, change func(*cluster)) (*cluster, *writing) {
	counted := &writing{}
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.stop()
	change(c)
	c.wrap = func(next http.RoundTripper) http.RoundTripper { counted.next = next; return counted }
	c.start()
	return c, counted
}

// settled demands that nothing is written once everybody has been made to look again, several times.
func (c *cluster) settled(w *writing, objects ...client.Object) {
	c.Helper()
	for before := -1; before != 0; { // what is on its way
		before = len(w.since())
		time.Sleep(1500 * time.Millisecond)
	}
	for i := range 3 {
		for _, o := range objects {
			require.True(c, c.get(o.GetName(), o))
			looked := o.DeepCopyObject().(client.Object)
			annotations := looked.GetAnnotations()
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations["test/looked"] = time.Now().String()
			looked.SetAnnotations(annotations)
			require.NoError(c, c.api.Patch(c.ctx, looked, client.MergeFrom(o)), "%d", i)
		}
		time.Sleep(500 * time.Millisecond)
	}
	assert.Empty(c, w.since(), "nobody has changed anything of theirs")
}

// withSidecar is the status of a kernel's Pod with a container of a mesh, which may have ended.
func withSidecar(ip string, ready bool, sidecar corev1.ContainerState) func(*corev1.PodStatus) {
	return func(s *corev1.PodStatus) {
		kerneltest.Running(ip, ready)(s)
		for i := range s.ContainerStatuses {
			s.ContainerStatuses[i].Ready = true
		}
		s.ContainerStatuses = append([]corev1.ContainerStatus{{Name: "mesh", Image: "i", Ready: ready, State: sidecar}}, s.ContainerStatuses...)
		s.InitContainerStatuses = []corev1.ContainerStatus{{Name: "mesh-init", Image: "i", Ready: true, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}}
	}
}

// TestASidecarInEveryPod: a webhook puts a mesh into Pods of kernels and templates of gateways, and has
// other images run. Kernels start, are judged by their own containers, are taken from the pool and end;
// and nobody repairs what the webhook has done.
func TestASidecarInEveryPod(t *testing.T) {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	c, writes := countedCluster(t, func(c *cluster) {
		webhooks.Mutate(t, c.api, c.namespace, "", "pods", func() *corev1.Pod { return &corev1.Pod{} }, webhooks.Sidecar)
		webhooks.Mutate(t, c.api, c.namespace, "apps", "deployments", func() *appsv1.Deployment { return &appsv1.Deployment{} }, func(d *appsv1.Deployment) {
			for i := range d.Spec.Template.Spec.Containers {
				if strings.HasPrefix(d.Spec.Template.Spec.Containers[i].Image, "mirror.") {
					return
				}
			}
			pod := &corev1.Pod{ObjectMeta: d.Spec.Template.ObjectMeta, Spec: d.Spec.Template.Spec}
			webhooks.Sidecar(pod)
			d.Spec.Template.ObjectMeta, d.Spec.Template.Spec = pod.ObjectMeta, pod.Spec
		})
		webhooks.Mutate(t, c.api, c.namespace, "", "services", func() *corev1.Service { return &corev1.Service{} }, func(s *corev1.Service) {
			s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP // ours has none
		})
		webhooks.Minded(t, c.api, c.namespace)
	})
	c.gateway("gw", func(gw *v1alpha1.JupyterGateway) { gw.Spec.Kernels = []string{"gpu"} })
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.Kernel("k", "gw", "gpu"))
	pod := c.pod("k", 1)
	require.Equal(t, "mesh", pod.Spec.Containers[0].Name, "it stands before all others")
	assert.Equal(t, v1alpha1.KernelContainer, podspec.KernelContainerOf(pod).Name)
	assert.True(t, podspec.HasAgentContainer(&pod.Spec))
	c.bind(pod, "far")

	t.Run("a sidecar that is not ready is named", func(t *testing.T) {
		c.report(pod, withSidecar("10.0.0.9", false, running))
		c.eventually("told", func() bool {
			return c.kernel("k").Status.Message == "The kernel is ready, but the container mesh of its Pod is not."
		})
		c.report(pod, withSidecar("10.0.0.9", true, running))
		assert.Empty(t, c.phase("k", 1, v1alpha1.KernelReady).Status.Message)
	})
	t.Run("nothing is written for ever", func(t *testing.T) {
		d := &appsv1.Deployment{}
		require.True(t, c.get("gw", d))
		assert.Equal(t, "mesh", d.Spec.Template.Spec.Containers[0].Name)
		generation := d.Generation
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "gw-gateway"}} // by which its gateway is looked at again
		c.settled(writes, account, c.kernel("k"), pod)
		require.True(t, c.get("gw", d))
		assert.Equal(t, generation, d.Generation, "no roll")
	})
	t.Run("a kernel ends whose sidecar goes on", func(t *testing.T) {
		c.report(pod, func(s *corev1.PodStatus) {
			withSidecar("10.0.0.9", false, running)(s)
			kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"Idle.","exitCode":0}`)(s)
			s.Phase = corev1.PodRunning // since the mesh runs
			s.ContainerStatuses = append(s.ContainerStatuses, corev1.ContainerStatus{Name: "mesh", Image: "i", Ready: true, State: running})
		})
		k := c.phase("k", 1, v1alpha1.KernelParked)
		assert.Equal(t, "Idle.", k.Status.Message)
		c.eventually("its Pod is deleted", func() bool { return !c.get(pod.Name, pod) || pod.DeletionTimestamp != nil })
	})
	t.Run("a warm Pod keeps what the webhook wrote", func(t *testing.T) {
		change(c, "gw", &v1alpha1.JupyterGateway{}, func(gw *v1alpha1.JupyterGateway) { gw.Spec.Warm = 1 })
		var warm corev1.Pod
		c.eventually("a warm Pod", func() bool {
			all := c.warmPods()
			if len(all) == 1 {
				warm = all[0]
			}
			return len(all) == 1
		})
		c.bind(&warm, "far")
		c.report(&warm, withSidecar("10.1.0.1", true, running))
		c.eventually("ready", func() bool { return c.gauge("elastichub_kernel_warm_pods")["ready"] == 1 })
		c.settled(writes, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "gw-gateway"}})
		c.create(kerneltest.Kernel("taken", "gw", "gpu"))
		k := c.phase("taken", 1, v1alpha1.KernelReady)
		require.Equal(t, warm.Name, k.Status.Warm, "it is not lost for what was added")
		require.True(t, c.get(warm.Name, &warm))
		assert.Equal(t, "on", warm.Labels["mesh.example.org/tls"])
		assert.NotEmpty(t, warm.Annotations["mesh.example.org/status"])
		assert.Empty(t, warm.Labels[v1alpha1.LabelWarmFor])
	})
}

// TestAWebhookThatRefusesIsQuoted, with whatever status code it does.
func TestAWebhookThatRefusesIsQuoted(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw")
	c.create(kerneltest.GPUSpec("gpu", 1))
	webhooks.Refuse(t, c.api, c.namespace, "", "pods", http.StatusConflict, "no GPUs on Sundays")
	webhooks.Minded(t, c.api, c.namespace)
	c.create(kerneltest.Kernel("k", "gw", "gpu"))
	k := c.phase("k", 1, v1alpha1.KernelDead)
	assert.Equal(t, v1alpha1.CauseInvalid, k.Status.Cause)
	assert.Equal(t, "The cluster refused the kernel's Pod: the cluster's admission webhook "+webhooks.Name+" does not allow it: no GPUs on Sundays.", k.Status.Message)
	assert.Empty(t, k.Status.Held)
}

// TestAWebhookThatIsAwayIsWaitedFor: it is down, or takes longer than it may. A pool of the same gateway
// keeps nobody from the queue.
func TestAWebhookThatIsAwayIsWaitedFor(t *testing.T) {
	for name, hangs := range map[string]bool{"down": false, "hangs": true} {
		t.Run(name, func(t *testing.T) {
			var back func()
			c, writes := countedCluster(t, func(c *cluster) {
				back = webhooks.Away(t, c.api, c.namespace, "", "pods", hangs)
				webhooks.Minded(t, c.api, c.namespace)
			})
			gw := c.gateway("gw", warmGateway(1), func(gw *v1alpha1.JupyterGateway) { gw.Spec.Kernels = []string{"cpu"} })
			c.create(kerneltest.GPUSpec("cpu", 0), kerneltest.GPUSpec("gpu", 1), kerneltest.Kernel("k", "gw", "gpu"))
			var k *v1alpha1.JupyterKernel
			c.eventually("it waits", func() bool {
				k = c.kernel("k")
				return meta.IsStatusConditionFalse(k.Status.Conditions, lifecycle.ConditionTaken)
			})
			assert.Equal(t, v1alpha1.KernelQueued, k.Status.Phase)
			assert.Equal(t, "WebhookUnavailable", k.Status.Reason)
			assert.Contains(t, k.Status.Message, "Waiting: the cluster's admission webhook "+webhooks.Name+" does not answer, and nothing is made without it")
			others := func(in time.Duration) (others []string) {
				writes.since()
				time.Sleep(in)
				for _, w := range writes.since() {
					if !strings.HasPrefix(w, "POST /api/v1/namespaces/"+c.namespace+"/pods") { // the pool's, in pauses
						others = append(others, w)
					}
				}
				return others
			}
			c.eventually("its Events are written", func() bool { return len(others(2*time.Second)) == 0 })
			assert.Empty(t, others(8*time.Second), "to wait writes nothing")
			back()
			c.pod("k", 1)
			c.eventually("a warm Pod, too", func() bool { return len(c.warmPods()) == 1 })
			require.True(t, c.get("gw", gw))
		})
	}
}

// TestLimitsOfTheNamespace: defaults of a LimitRange go into Pods and are no reason to make them anew; what is
// beyond its bounds, or more than a whole quota, is refused at once, by field and bound.
func TestLimitsOfTheNamespace(t *testing.T) {
	c, writes := countedCluster(t, func(*cluster) {})
	gw := c.gateway("gw")
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	limits := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "limits"}}
	limits.Spec.Limits = []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Default: list("2", "1Gi"), DefaultRequest: list("100m", "64Mi"), Max: list("4", "8Gi")}}
	large, whole := kerneltest.GPUSpec("large", 1), kerneltest.GPUSpec("whole", 2)
	large.Spec.Resources.Limits[corev1.ResourceCPU] = resource.MustParse("8")
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "gpus"}}
	quota.Spec.Hard = corev1.ResourceList{"requests.nvidia.com/gpu": resource.MustParse("1")}
	c.create(limits, kerneltest.GPUSpec("gpu", 1), large, whole, quota)
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: corev1.ResourceList{"requests.nvidia.com/gpu": resource.MustParse("0")}}
	require.NoError(t, c.api.Status().Update(t.Context(), quota))
	c.eventually("the API server minds it", func() bool {
		probe := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "probe"}}
		probe.Spec.Containers = []corev1.Container{{Name: "probe", Image: "probe", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("2")}}}}
		return c.api.Create(t.Context(), probe, client.DryRunAll) != nil
	})

	c.create(kerneltest.Kernel("large", "gw", "large"), kerneltest.Kernel("whole", "gw", "whole"))
	k := c.phase("large", 1, v1alpha1.KernelDead)
	assert.Equal(t, v1alpha1.CauseInvalid, k.Status.Cause)
	assert.Equal(t, "The cluster refused the kernel's Pod: a LimitRange of its namespace does not allow it: cpu for each Container has to be at most 4, and the limit is 8. "+
		"Choose another size, or ask an administrator.", k.Status.Message)
	k = c.phase("whole", 1, v1alpha1.KernelDead)
	assert.Equal(t, "The cluster refused the kernel's Pod: the quota gpus of its namespace never leaves enough: it asks for 2 of requests.nvidia.com/gpu, where the whole quota is 1. "+
		"Choose less, or have an administrator raise the quota.", k.Status.Message)

	c.create(kerneltest.Kernel("k", "gw", "gpu"))
	pod := c.ready("k", 1, "far")
	assert.Equal(t, "2", podspec.KernelContainerOf(pod).Resources.Limits.Cpu().String(), "a default of the LimitRange")
	c.settled(writes, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: gw.Name + "-gateway"}}, c.kernel("k"), pod)
}
