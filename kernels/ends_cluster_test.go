package kernels

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
)

// serverPod is a Pod of a notebook; on a node it goes only when the kubelet says so.
func (c *cluster) serverPod(notebook, name string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		v1alpha1.LabelNotebook: notebook, v1alpha1.LabelComponent: v1alpha1.ComponentNotebook}}}
	pod.Spec.NodeName = "outliving"
	pod.Spec.Containers = []corev1.Container{{Name: v1alpha1.NotebookContainer, Image: "notebook:test"}}
	c.create(pod)
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
	require.NoError(c, c.api.Status().Update(c.ctx, pod))
	return pod
}

func (c *cluster) change(o client.Object, patch string) {
	c.Helper()
	require.NoError(c, c.api.Patch(c.ctx, o, client.RawPatch(types.MergePatchType, []byte(patch))))
}

// TestKernelsOutliveTheirServer: what a server asks for on its way out is taken back,
// and only its owner's stop ends the kernels of a server that is stopped.
func TestKernelsOutliveTheirServer(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw")
	c.node("outliving", 0)
	for _, name := range []string{"nb", "other"} {
		nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: name}}
		nb.Spec.Gateway = &corev1.ObjectReference{Name: "gw"}
		c.create(nb)
	}
	of := func(notebook string) func(*v1alpha1.JupyterKernel) {
		return func(k *v1alpha1.JupyterKernel) { k.Spec.Notebook = notebook }
	}
	const fromServer = `{"spec":{"shutdown":{"by":"notebook","at":"2999-01-01T00:00:00Z"}}}`
	first := c.serverPod("nb", "server-1")
	for _, name := range []string{"shut", "work", "parked"} {
		c.create(kerneltest.Kernel(name, "gw", v1alpha1.DefaultKernelName, of("nb")))
	}
	c.create(kerneltest.Kernel("others", "gw", v1alpha1.DefaultKernelName, of("other")))
	work, others := c.ready("work", 1, ""), c.ready("others", 1, "")
	c.report(c.ready("parked", 1, ""), kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"","exitCode":0}`))
	c.phase("parked", 1, v1alpha1.KernelParked)

	shut := c.kernel("shut")
	c.change(shut, fromServer)
	c.gone(shut)

	takenBack := func(name string) {
		t.Helper()
		c.eventually("the request is taken back", func() bool { return c.kernel(name).Spec.Shutdown == nil })
	}
	// The node shuts down: so far nothing is said of its Pods.
	ready := func(status corev1.ConditionStatus) {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "outliving"}}
		patch := `{"status":{"conditions":[{"type":"Ready","status":"` + string(status) + `"}]}}`
		require.NoError(t, c.api.Status().Patch(c.ctx, node, client.RawPatch(types.StrategicMergePatchType, []byte(patch))))
	}
	ready(corev1.ConditionFalse)
	c.change(c.kernel("work"), fromServer)
	takenBack("work")
	ready(corev1.ConditionTrue)

	// A drain: the server deletes its kernels while its Pod goes away and the next one is
	// there, and even afterwards the next one has not done that.
	at := func(at time.Time) string {
		return `{"spec":{"shutdown":{"by":"notebook","at":"` + at.UTC().Format(time.RFC3339) + `"}}}`
	}
	require.NoError(t, c.api.Delete(c.ctx, first))
	c.serverPod("nb", "server-2")
	for _, name := range []string{"work", "parked"} {
		c.change(c.kernel(name), at(time.Now()))
		takenBack(name)
	}
	require.NoError(t, c.api.Delete(c.ctx, first, client.GracePeriodSeconds(0)))
	c.change(c.kernel("work"), at(time.Now().Add(-time.Hour)))
	takenBack("work")
	assert.Equal(t, v1alpha1.KernelReady, c.kernel("work").Status.Phase)
	require.True(t, c.get(work.Name, work))
	assert.Nil(t, work.DeletionTimestamp)

	// elastichub stops a server: nothing of it ends. The owner does: all ends.
	nb, other := &v1alpha1.JupyterNotebook{}, &v1alpha1.JupyterNotebook{}
	require.True(t, c.get("nb", nb) && c.get("other", other))
	c.change(nb, `{"metadata":{"annotations":{"elastichub.io/stop-cause":"MaxRun"}},"spec":{"stopped":true}}`)
	c.change(other, `{"spec":{"stopped":true}}`)
	c.gone(&v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Name: "others"}})
	c.gone(others)
	assert.Equal(t, v1alpha1.KernelReady, c.kernel("work").Status.Phase)
	assert.Equal(t, v1alpha1.KernelParked, c.kernel("parked").Status.Phase)
	require.NoError(t, c.api.Delete(c.ctx, nb))
	c.gone(&v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Name: "parked"}})
	c.gone(work)
}
