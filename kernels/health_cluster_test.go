package kernels

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health/healthtest"
	"github.com/elastichub/elastichub/kernels/gateways"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
)

// judged waits until an object is judged so by kstatus and Argo CD.
func (c *cluster) judged(kind, name, want string) {
	c.Helper()
	c.eventually(kind+" "+name+" "+want, func() bool {
		return healthtest.Judged(c.T, c.api, "../docs", kind, c.namespace, name) == want
	})
}

const (
	judgedComing = "InProgress Progressing"
	judgedWell   = "Current Healthy"
	judgedFailed = "Failed Degraded"
)

// replicas reports a gateway's Deployment as its controller would.
func (c *cluster) replicas(name string, ready int32) {
	c.Helper()
	require.NoError(c, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		var d appsv1.Deployment
		c.eventually("Deployment "+name, func() bool { return c.get(name, &d) })
		d.Status.Replicas, d.Status.ReadyReplicas, d.Status.AvailableReplicas = ready, ready, ready
		d.Status.ObservedGeneration = d.Generation
		return c.api.Status().Update(c.ctx, &d)
	}))
}

// TestHealth of kernels, gateways, kernelspecs and templates in each phase, as kstatus, Argo
// CD and kubectl read it, and the Events that tell of it.
func TestHealth(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	kubectl := func(arguments ...string) string {
		t.Helper()
		said, err := healthtest.Kubectl(t, kerneltest.APIServer(t), c.namespace, arguments...)
		require.NoError(t, err, said)
		return said
	}
	c.stop()
	gw := &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: "gw"}}
	template := &v1alpha1.JupyterKernelTemplate{ObjectMeta: metav1.ObjectMeta{Name: "tmpl"}}
	k := kerneltest.Kernel("k", "gw", "gpu", func(k *v1alpha1.JupyterKernel) { k.Spec.User = "alice" })
	c.create(gw, template, kerneltest.GPUSpec("gpu", 1), k)
	for kind, name := range map[string]string{"JupyterGateway": "gw", "JupyterKernel": "k", "JupyterKernelSpec": "gpu", "JupyterKernelTemplate": "tmpl"} {
		c.judged(kind, name, judgedComing) // no controller has looked at it
	}
	c.start()

	// A gateway: comes, serves, is scaled, refused, and to have none.
	c.judged("JupyterGateway", "gw", judgedComing)
	c.replicas("gw", 1)
	c.judged("JupyterGateway", "gw", judgedWell)
	kubectl("wait", "--for=condition=Ready", "--timeout=30s", "jg/gw")
	kubectl("scale", "jg", "gw", "--replicas=2")
	c.eventually("scaled", func() bool {
		var d appsv1.Deployment
		return c.get("gw", &d) && *d.Spec.Replicas == 2
	})
	change(c, "gw", gw, func(gw *v1alpha1.JupyterGateway) {
		gw.Spec.Resources = &corev1.ResourceRequirements{
			Requests: corev1.ResourceList{"cpu": resource.MustParse("2")}, Limits: corev1.ResourceList{"cpu": resource.MustParse("1")},
		}
	})
	c.judged("JupyterGateway", "gw", judgedFailed)
	require.True(t, c.get("gw", gw))
	assert.Contains(t, meta.FindStatusCondition(gw.Status.Conditions, v1alpha1.ConditionStalled).Message, "It serves as before this change, with 1 ready.")
	change(c, "gw", gw, func(gw *v1alpha1.JupyterGateway) { gw.Spec.Resources = nil })
	c.judged("JupyterGateway", "gw", judgedWell)
	kubectl("scale", "jg", "gw", "--replicas=0")
	c.replicas("gw", 0)
	c.judged("JupyterGateway", "gw", judgedWell)
	kubectl("wait", "--for=condition=Resting", "--timeout=30s", "jg/gw")
	assert.Regexp(t, `^NAME +READY +REPLICAS +IDLE +REASON +AGE\ngw +0 `, strings.ReplaceAll(kubectl("get", "jg", "gw"), "<none>", "0"))
	c.saidOf(gw, "NoReplicaReady", "Serving", "Refused!", "ScaledToZero")

	// Names that no Service can have are refused for good.
	for _, name := range []string{"9gw", "a.b", strings.Repeat("g", 64)} {
		c.create(&v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: name}})
		c.judged("JupyterGateway", name, judgedFailed)
	}

	// A kernelspec that waits for its template, and a template that cannot be used.
	later := kerneltest.GPUSpec("later", 0)
	later.Spec.Template = &corev1.ObjectReference{Name: "absent"}
	c.create(later)
	c.judged("JupyterKernelSpec", "gpu", judgedWell)
	c.judged("JupyterKernelSpec", "later", judgedComing)
	c.judged("JupyterKernelTemplate", "tmpl", judgedWell)
	change(c, "tmpl", template, func(t *v1alpha1.JupyterKernelTemplate) {
		t.Spec.Template = &v1alpha1.PodTemplate{PodTemplateSpec: corev1.PodTemplateSpec{Spec: corev1.PodSpec{HostNetwork: true}}}
	})
	c.judged("JupyterKernelTemplate", "tmpl", judgedFailed)
	c.saidOf(template, "Usable", "Invalid!")

	// A kernel: starts, is ready, parked, back, and dead.
	c.judged("JupyterKernel", "k", judgedComing)
	pod := c.ready("k", 1, "")
	c.judged("JupyterKernel", "k", judgedWell)
	kubectl("wait", "--for=condition=Ready", "--timeout=30s", "jk/k")
	c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"Idle.","exitCode":0}`))
	c.judged("JupyterKernel", "k", judgedWell)
	kubectl("wait", "--for=condition=Resting", "--timeout=30s", "jk/k")
	assert.Regexp(t, `^NAME +USER +KERNEL +PHASE +CAUSE +QUEUE +IDLE +PARK AT +AGE\nk +alice +gpu +Parked +Idle +\d+s\n$`, kubectl("get", "jk", "k"))
	said, err := healthtest.Kubectl(t, kerneltest.APIServer(t), c.namespace, "wait", "--for=condition=Ready", "--timeout=1s", "jk/k")
	assert.Error(t, err, "a parked kernel is not ready: %s", said)
	c.askRun("k", 2)
	pod = c.ready("k", 2, "")
	c.report(pod, kerneltest.Exited(137, "OOMKilled", ""))
	c.judged("JupyterKernel", "k", judgedFailed)
	k = c.kernel("k")
	assert.Equal(t, string(k.Status.Cause), k.Status.Reason)
	assert.True(t, meta.IsStatusConditionTrue(k.Status.Conditions, "Failed"))
	assert.Nil(t, meta.FindStatusCondition(k.Status.Conditions, "Succeeded"), "never both")
	c.saidOf(k, "Admitted", "Ready", "Parked", string(k.Status.Cause)+"!")

	// One whose kernelspec does not exist says so in its row.
	lost := kerneltest.Kernel("lost", "gw", "absent")
	c.create(lost)
	c.judged("JupyterKernel", "lost", judgedComing)
	c.eventually("its reason", func() bool { return c.kernel("lost").Status.Reason != "" })
	lost = c.kernel("lost")
	assert.Regexp(t, `lost +ann +absent +Queued +`+lost.Status.Reason+` `, kubectl("get", "jk", "lost"))
	assert.Contains(t, kubectl("get", "jk", "lost", "-o", "wide"), "absent")
	c.saidOf(lost, lost.Status.Reason+"!")
}

// TestWhatBecameOfAKernelThatIsGone is told, where its gateway deletes idle ones, and what
// a limit refused.
func TestWhatBecameOfAKernelThatIsGone(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw", func(gw *v1alpha1.JupyterGateway) { gw.Spec.OnIdle = v1alpha1.OnIdleDelete })
	k := kerneltest.Kernel("k", "gw", "gpu")
	refused := kerneltest.Kernel("refused", "gw", "gpu", kerneltest.Owned("ann", "lab"))
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.Policy("lab", func(p *v1alpha1.PolicyKernels) { p.Allowed = []string{"other"} }), k, refused)
	c.report(c.ready("k", 1, ""), kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"Idle.","exitCode":0}`))
	c.gone(k)
	c.saidOf(k, "Admitted", "Ready", "Deleted")
	c.phase("refused", 1, v1alpha1.KernelDead)
	c.judged("JupyterKernel", "refused", judgedFailed)
	c.saidOf(refused, "Refused!")
}

// TestClusterRolesThatCannotBeBound keep no gateway from serving, and it says so.
func TestClusterRolesThatCannotBeBound(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.stop()
	c.as = "service-of-" + c.namespace
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: c.as}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get", "list", "watch", "create", "update", "patch", "delete"},
	}}}
	more := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "more-" + c.namespace}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"users"}, Verbs: []string{"impersonate"},
	}}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: c.as}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: c.as},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: c.as}},
	}
	for _, o := range []client.Object{role, more, binding} {
		require.NoError(t, c.api.Create(t.Context(), o))
	}
	c.start()
	for name, want := range map[string]v1alpha1.Reason{"absent": gateways.ReasonNotFound, more.Name: gateways.ReasonForbidden} {
		gw := c.gateway("gw-"+strings.ToLower(string(want)), func(gw *v1alpha1.JupyterGateway) { gw.Spec.ClusterRole = ptr.To(name) })
		c.replicas(gw.Name, 1)
		c.judged("JupyterGateway", gw.Name, judgedWell)
		require.True(t, c.get(gw.Name, gw))
		bound := meta.FindStatusCondition(gw.Status.Conditions, gateways.ConditionClusterRoleBound)
		require.NotNil(t, bound, name)
		assert.Equal(t, metav1.ConditionFalse, bound.Status, name)
		assert.Equal(t, string(want), bound.Reason, bound.Message)
	}
}

// saidOf waits until the Events of an object are those.
func (c *cluster) saidOf(o client.Object, want ...string) {
	c.Helper()
	deadline := time.Now().Add(30 * time.Second)
	var said []string
	for said = healthtest.Told(c.T, c.api, o); len(said) < len(want) && time.Now().Before(deadline); said = healthtest.Told(c.T, c.api, o) {
		time.Sleep(20 * time.Millisecond)
	}
	assert.Equal(c, want, said, o.GetName())
}

// TestABareKernelThatFails keeps the last lines of its log, and one that has done its work
// is no failure.
func TestABareKernelThatFails(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	bare := func(name string) {
		k := &v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Name: name}}
		k.Spec.Template = &v1alpha1.PodTemplate{PodTemplateSpec: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "kernel", Image: "kernel:test"}},
		}}}
		c.create(k)
	}
	bare("bad")
	bare("good")
	exit := func(code int32, log string) func(*corev1.PodStatus) {
		return func(s *corev1.PodStatus) {
			s.Phase = corev1.PodSucceeded
			if code != 0 {
				s.Phase = corev1.PodFailed
			}
			s.ContainerStatuses = []corev1.ContainerStatus{{Name: "kernel", State: corev1.ContainerState{
				Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Error", Message: log},
			}}}
		}
	}
	pod := c.pod("bad", 1)
	assert.Equal(t, corev1.TerminationMessageFallbackToLogsOnError, pod.Spec.Containers[0].TerminationMessagePolicy)
	c.report(pod, exit(3, strings.Repeat("line\n", 200)+"ModuleNotFoundError: No module named 'torch'\n"))
	k := c.phase("bad", 1, v1alpha1.KernelDead)
	assert.Regexp(t, `^The kernel's container ended with exit code 3: …(?s:.*)No module named 'torch'$`, k.Status.Message)
	assert.Less(t, len(k.Status.Message), 700)
	c.judged("JupyterKernel", "bad", judgedFailed)
	c.report(c.pod("good", 1), exit(0, ""))
	c.phase("good", 1, v1alpha1.KernelDead)
	c.judged("JupyterKernel", "good", judgedWell)
	assert.Nil(t, meta.FindStatusCondition(c.kernel("good").Status.Conditions, "Failed"))
}
