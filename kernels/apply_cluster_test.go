package kernels

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/gateways"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/portal/acts"
)

// manifestOf is an object as somebody has it in a file.
func manifestOf(t *testing.T, namespace string, o client.Object) *unstructured.Unstructured {
	t.Helper()
	kind, err := metaKind(o)
	require.NoError(t, err)
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	require.NoError(t, err)
	delete(fields, "status")
	delete(fields["metadata"].(map[string]any), "creationTimestamp")
	manifest := &unstructured.Unstructured{Object: fields}
	manifest.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	manifest.SetNamespace(namespace)
	return manifest
}

func metaKind(o client.Object) (string, error) {
	kinds, _, err := kerneltest.Scheme.ObjectKinds(o)
	if err != nil {
		return "", err
	}
	return kinds[0].Kind, nil
}

// TestServerSideApplyNeverConflicts, whatever we have written meanwhile, and reverts nothing of that.
func TestServerSideApplyNeverConflicts(t *testing.T) {
	t.Parallel()
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	template := &v1alpha1.JupyterKernelTemplate{ObjectMeta: metav1.ObjectMeta{Name: "template"}}
	template.Spec.Template = &v1alpha1.PodTemplate{}
	template.Spec.Template.Spec.Containers = []corev1.Container{{Name: "kernel", Env: []corev1.EnvVar{{Name: "A", Value: "b"}}}}
	ks := kerneltest.GPUSpec("cpu", 0)
	ks.Spec.Template, ks.Spec.IdleTimeoutSeconds, ks.Spec.ShmSize = &corev1.ObjectReference{Name: "template"}, ptr.To[int64](600), ptr.To(resource.MustParse("64Mi"))
	gw := &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: "gw"}}
	gw.Spec = v1alpha1.JupyterGatewaySpec{Kernels: []string{"cpu"}, Replicas: ptr.To[int32](2), CullIdleTimeout: ptr.To[int32](60), Image: "enterprise-gateway:2.6.0"}
	k := kerneltest.Kernel("k", "gw", "cpu", kerneltest.Owned("ann", "lab"))
	k.Spec.Run, k.Spec.Env = 0, []corev1.EnvVar{{Name: "KERNEL_X", Value: "y"}} // the counter is the gateway's
	bare := bareKernel("bare", "image:1", nil)
	var manifests []*unstructured.Unstructured
	for _, o := range []client.Object{template, ks, gw, kerneltest.Policy("lab", func(p *v1alpha1.PolicyKernels) { p.Allowed = []string{"cpu"} }), k, bare} {
		manifests = append(manifests, manifestOf(t, c.namespace, o))
	}
	apply := func(what string) {
		t.Helper()
		for _, manifest := range manifests {
			err := c.api.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(manifest.DeepCopy()), client.FieldOwner("team"))
			require.NoError(t, err, "%s: %s", what, manifest.GetKind())
		}
	}
	write := func(changes acts.Changes, owner string) {
		t.Helper()
		now := c.kernel("k")
		patch, err := acts.PatchOf(now, changes)
		require.NoError(t, err)
		require.NoError(t, c.api.Patch(t.Context(), now, patch, client.FieldOwner(owner)))
	}
	apply("first")
	c.eventually("owned", func() bool { return len(c.kernel("k").OwnerReferences) == 1 })
	apply("waits")
	pod := c.ready("k", 1, "")
	c.ready("bare", 1, "")
	c.eventually("gateway", func() bool {
		return c.get("gw", gw) && meta.IsStatusConditionTrue(gw.Status.Conditions, gateways.ConditionImageReplaced)
	})
	apply("runs")

	// kept by hand, and then parked
	require.NoError(t, c.api.Patch(t.Context(), c.kernel("k"), client.RawPatch(types.MergePatchType,
		[]byte(`{"metadata":{"annotations":{"`+v1alpha1.AnnotationSnoozeUntil+`":"`+time.Now().Add(time.Hour).Format(time.RFC3339)+`"}}}`)), client.FieldOwner("elastichub-console")))
	c.eventually("kept", func() bool { return c.kernel("k").Status.SnoozedUntil != nil })
	apply("kept")
	assert.NotEmpty(t, c.kernel("k").Annotations[v1alpha1.AnnotationSnoozeUntil])
	park, err := acts.ReleaseKernel(c.kernel("k"), "root", "a talk", false)
	require.NoError(t, err)
	write(park, "elastichub-console")
	apply("to be parked")
	assert.NotNil(t, c.kernel("k").Spec.Park)
	c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","exitCode":0}`))
	c.phase("k", 1, v1alpha1.KernelParked)
	apply("parked")

	// woken by its gateway, and moved in the queue
	write(acts.Changes{"spec": map[string]any{"run": 2}}, "elastichub")
	apply("woken")
	assert.Equal(t, int64(2), c.kernel("k").Spec.Run)
	moved := c.kernel("k")
	moved.Status.Phase = v1alpha1.KernelQueued
	move, err := acts.MoveKernel(moved, nil, acts.First, "root", "a talk")
	require.NoError(t, err)
	write(move, "elastichub-console")
	apply("moved")
	assert.Equal(t, int32(1), c.kernel("k").Spec.QueuePriority)
	pod = c.ready("k", 2, "")

	// a return as what cannot be, which the leader takes back
	c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","exitCode":0}`))
	c.phase("k", 2, v1alpha1.KernelParked)
	broken := kerneltest.GPUSpec("broken", 0)
	broken.Spec.Image = ""
	c.create(broken)
	write(acts.Changes{"spec": map[string]any{"kernelSpec": "broken", "run": 3}}, "elastichub-console")
	c.phase("k", 3, v1alpha1.KernelParked)
	c.eventually("taken back", func() bool { return c.kernel("k").Spec.KernelSpec == "cpu" })
	apply("taken back")
	assert.Equal(t, int64(3), c.kernel("k").Spec.Run)

	// refused, and mended
	_ = unstructured.SetNestedField(manifests[0].Object, true, "spec", "template", "spec", "hostNetwork")
	_ = unstructured.SetNestedField(manifests[5].Object, true, "spec", "template", "spec", "hostNetwork")
	apply("refused")
	c.eventually("told", func() bool {
		return c.get("template", template) && meta.IsStatusConditionFalse(template.Status.Conditions, v1alpha1.ConditionReady)
	})
	c.kill(c.pod("bare", 1))
	c.phase("bare", 2, v1alpha1.KernelDead)
	unstructured.RemoveNestedField(manifests[0].Object, "spec", "template", "spec", "hostNetwork")
	unstructured.RemoveNestedField(manifests[5].Object, "spec", "template", "spec", "hostNetwork")
	apply("mended")
	c.eventually("told", func() bool {
		return c.get("template", template) && meta.IsStatusConditionTrue(template.Status.Conditions, v1alpha1.ConditionReady)
	})
	c.ready("bare", 3, "")
	apply("at last")
}
