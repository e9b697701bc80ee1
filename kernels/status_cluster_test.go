package kernels

import (
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
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/gateways"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/podrules/podrulestest"
)

// firstCondition is what `kubectl wait` and tools that judge the health of objects read.
func firstCondition(t *testing.T, conditions []metav1.Condition) metav1.Condition {
	t.Helper()
	require.NotEmpty(t, conditions)
	require.Equal(t, v1alpha1.ConditionReady, conditions[0].Type, "Ready is not the first")
	return conditions[0]
}

// TestEveryKindSaysWhetherItIsReady: the condition Ready is the first of each kind,
// and speaks, as observedGeneration does, of the object's own generation.
func TestEveryKindSaysWhetherItIsReady(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw")
	template := &v1alpha1.JupyterKernelTemplate{ObjectMeta: metav1.ObjectMeta{Name: "tmpl"}}
	c.create(template, kerneltest.GPUSpec("gpu", 1), kerneltest.Kernel("k", "gw", "gpu"))

	saysOf := func(generation int64, conditions []metav1.Condition, is bool, reason string) bool {
		if len(conditions) == 0 || conditions[0].ObservedGeneration != generation || conditions[0].Reason != reason {
			return false
		}
		assert.Equal(t, is, firstCondition(t, conditions).Status == metav1.ConditionTrue, reason)
		return true
	}

	// a kernel: its phase, and why it is over
	kernel := func(is bool, reason string) {
		c.eventually("kernel "+reason, func() bool {
			k := c.kernel("k")
			return saysOf(k.Generation, k.Status.Conditions, is, reason) && k.Status.ObservedGeneration == k.Generation
		})
	}
	kernel(false, "Starting")
	pod := c.ready("k", 1, "")
	kernel(true, "Ready")
	k := c.kernel("k")
	change(c, "k", k, func(k *v1alpha1.JupyterKernel) { k.Spec.QueuePriority = 1 })
	require.Equal(t, int64(2), k.Generation)
	kernel(true, "Ready")
	c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"Idle.","exitCode":0}`))
	c.eventually("kernel rests", func() bool {
		k := c.kernel("k")
		resting := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionResting)
		return resting != nil && resting.Reason == "Idle" && resting.Message == "Idle." && resting.ObservedGeneration == k.Generation &&
			k.Status.ObservedGeneration == k.Generation
	})
	assert.Nil(t, meta.FindStatusCondition(c.kernel("k").Status.Conditions, v1alpha1.ConditionReady))

	// a kernelspec and a template
	var ks v1alpha1.JupyterKernelSpec
	c.eventually("kernelspec", func() bool {
		return c.get("gpu", &ks) && saysOf(1, ks.Status.Conditions, true, "Usable") && ks.Status.ObservedGeneration == 1
	})
	c.eventually("template", func() bool {
		return c.get("tmpl", template) && saysOf(1, template.Status.Conditions, true, "Usable") && template.Status.ObservedGeneration == 1
	})
	change(c, "tmpl", template, func(t *v1alpha1.JupyterKernelTemplate) {
		t.Spec.Template = &v1alpha1.PodTemplate{PodTemplateSpec: corev1.PodTemplateSpec{Spec: corev1.PodSpec{HostNetwork: true}}}
	})
	c.eventually("template", func() bool {
		return c.get("tmpl", template) && saysOf(2, template.Status.Conditions, false, "Invalid") && template.Status.ObservedGeneration == 2
	})

	// a gateway: its own generation and not its Deployment's; the Deployment's
	// conditions beside ours; a copy for clients of the former release
	var gw v1alpha1.JupyterGateway
	gateway := func(is bool, reason string) {
		c.eventually("gateway "+reason, func() bool {
			return c.get("gw", &gw) && saysOf(gw.Generation, gw.Status.Conditions, is, reason) && gw.Status.ObservedGeneration == gw.Generation
		})
	}
	gateway(false, "NoReplicaReady")
	assert.Equal(t, gw.Status.Conditions, gw.Status.GatewayConditions)
	assert.Contains(t, gw.Status.Selector, v1alpha1.LabelGateway+"=gw")
	change(c, "gw", &gw, func(gw *v1alpha1.JupyterGateway) {
		gw.Spec.Resources = &corev1.ResourceRequirements{
			Requests: corev1.ResourceList{"cpu": resource.MustParse("2")}, Limits: corev1.ResourceList{"cpu": resource.MustParse("1")},
		}
	})
	gateway(false, string(gateways.ReasonRefused))
}

// TestWritesKeepWhatThisReleaseDoesNotKnow: in a roll-out the replicas of two
// releases write the same objects.
func TestWritesKeepWhatThisReleaseDoesNotKnow(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	podrulestest.AddLaterField(t, c.api, "jupyterkernels", "jupyterkernelspecs", "jupyterkerneltemplates", "jupytergateways")
	gw := c.gateway("gw")
	ks, template := kerneltest.GPUSpec("gpu", 1), &v1alpha1.JupyterKernelTemplate{ObjectMeta: metav1.ObjectMeta{Name: "tmpl"}}
	c.create(ks, template, kerneltest.Kernel("k", "gw", "gpu"))
	c.pod("k", 1)
	all := []client.Object{gw, ks, template, c.kernel("k")}
	for _, o := range all {
		podrulestest.SetLaterFields(t, c.api, o)
	}
	pod := c.ready("k", 1, "")
	c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"Idle.","exitCode":0}`))
	c.phase("k", 1, v1alpha1.KernelParked)
	c.askRun("k", 2)
	c.ready("k", 2, "")
	change(c, "gw", gw, func(gw *v1alpha1.JupyterGateway) { gw.Spec.CullIdleTimeout = ptr.To[int32](7) })
	change(c, "tmpl", template, func(t *v1alpha1.JupyterKernelTemplate) { t.Spec.Template = &v1alpha1.PodTemplate{} })
	change(c, "gpu", ks, func(ks *v1alpha1.JupyterKernelSpec) { ks.Spec.DisplayName = "other" })
	c.eventually("written", func() bool {
		return c.get("gw", gw) && gw.Status.ObservedGeneration == gw.Generation && c.get("gpu", ks) && ks.Status.ObservedGeneration == ks.Generation &&
			c.get("tmpl", template) && template.Status.ObservedGeneration == template.Generation
	})
	for _, o := range all {
		podrulestest.AssertLaterFields(t, c.api, o)
	}
}

// TestGatewayMadeAgain: a gateway that is removed and made again at once has a key of
// its own, in a Secret of another name, and what its kernels' agents know is of no
// more use: they end, and the next cell brings them back.
func TestGatewayMadeAgain(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "nb"}, Spec: v1alpha1.JupyterNotebookSpec{Template: &v1alpha1.PodTemplate{}}}
	c.create(nb, kerneltest.GPUSpec("gpu", 1))
	former := c.gateway("gw")
	c.create(kerneltest.Kernel("k", "gw", "gpu", func(k *v1alpha1.JupyterKernel) { k.Spec.Notebook = "nb" }))
	pod := c.ready("k", 1, "")
	c.eventually("owner", func() bool { return owners(c.kernel("k"))["JupyterNotebook"] == nb.UID })

	c.stop() // nothing sees that there is no gateway for a moment
	time.Sleep(1100 * time.Millisecond)
	require.NoError(t, c.api.Delete(t.Context(), former))
	for _, o := range []client.Object{ // as the garbage collector does
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "gw"}}, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "gw"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "gw-gateway"}}, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "gw-gateway"}},
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "gw-gateway"}}, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "gw-gateway"}},
	} {
		o.SetNamespace(c.namespace)
		require.NoError(t, c.api.Delete(t.Context(), o))
	}
	again := &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: "gw"}}
	c.create(again)
	c.start()
	c.eventually("key", func() bool { return c.get(podspec.KeySecretName(again), &corev1.Secret{}) })
	assert.NotEqual(t, podspec.KeySecretName(former), podspec.KeySecretName(again))
	c.eventually("mounted", func() bool {
		var d appsv1.Deployment
		return c.get("gw", &d) && metav1.IsControlledBy(&d, again) && d.Spec.Template.Spec.Volumes[0].Secret.SecretName == podspec.KeySecretName(again)
	})

	k := c.phase("k", 1, v1alpha1.KernelDead)
	assert.Equal(t, v1alpha1.CauseOrphaned, k.Status.Cause)
	c.kill(pod)
	c.askRun("k", 2)
	c.ready("k", 2, "")
	key, err := podspec.ReadGatewayKey(t.Context(), c.api, c.namespace, "gw")
	require.NoError(t, err)
	derived, err := key.Derive(string(k.UID), 2)
	require.NoError(t, err)
	var secret corev1.Secret
	require.True(t, c.get("k-2", &secret))
	assert.Equal(t, derived[0].Hex(), string(secret.Data[podspec.KeyName]))
}
