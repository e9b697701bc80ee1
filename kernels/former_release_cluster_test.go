package kernels

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/offers"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/namespaces"
)

// TestPodsOfTheFormerReleaseAreKept: its labels for users and for dotted names
// of kernels were others. Nothing that runs is lost, made twice or counted twice.
func TestPodsOfTheFormerReleaseAreKept(t *testing.T) {
	c := startCluster(t)
	c.node("former", 4)
	c.gateway("gw")
	dotted := "my.kernel"
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.Kernel(dotted, "gw", "gpu", func(k *v1alpha1.JupyterKernel) { k.Spec.User = "first.last" }))
	pod := c.ready(dotted, 1, "former")
	c.stop()
	require.True(t, c.get(pod.Name, pod))
	// Its agent was the first process of the kernel's container, and one of the init containers had the agent's name.
	pod.Labels[v1alpha1.LabelKernel] = "my-kernel--e0ab1d7b"
	pod.Labels[v1alpha1.LabelHubUsername] = "first-last--23e1b5a0"
	require.NoError(t, c.api.Delete(c.ctx, pod, client.GracePeriodSeconds(0)))
	c.gone(pod)
	pod.ResourceVersion, pod.UID, pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = "", "", nil, nil
	kernel := *podspec.KernelContainer(&pod.Spec)
	kernel.Command, kernel.LivenessProbe = []string{"/opt/elastichub/elastichub", "agent", "--", "python3"}, nil
	pod.Spec.InitContainers = []corev1.Container{{Name: "agent", Image: "elastichub:former", SecurityContext: kernel.SecurityContext}}
	pod.Spec.Containers = []corev1.Container{kernel}
	status := corev1.PodStatus{}
	require.NoError(t, c.api.Create(c.ctx, pod))
	kerneltest.Running("10.0.0.9", true)(&status)
	status.ContainerStatuses = status.ContainerStatuses[1:]
	pod.Status = status
	require.NoError(t, c.api.Status().Update(c.ctx, pod))

	c.start()
	c.create(kerneltest.Kernel("next", "gw", "gpu", func(k *v1alpha1.JupyterKernel) { k.Spec.User = "first.last" }))
	c.ready("next", 1, "former")
	time.Sleep(300 * time.Millisecond)
	k := c.kernel(dotted)
	assert.Equal(t, v1alpha1.KernelReady, k.Status.Phase)
	assert.Equal(t, int64(1), k.Status.Run)
	var pods corev1.PodList
	require.NoError(t, c.api.List(c.ctx, &pods, client.InNamespace(c.namespace)))
	assert.Len(t, pods.Items, 2)
	reader := offers.New(namespaces.Only(c.namespace), c.cfg.Pods, c.api, nil)
	held, _, err := reader.Held(c.ctx, "first.last")
	require.NoError(t, err)
	assert.Equal(t, int64(2), held["nvidia.com/gpu"])

	// Its end is seen.
	c.report(pod, func(s *corev1.PodStatus) {
		kerneltest.Exited(0, "Completed", `{"reason":"idle","message":"Idle for 60 s.","exitCode":0}`)(s)
		s.ContainerStatuses = s.ContainerStatuses[:1]
		s.ContainerStatuses[0].Name = v1alpha1.KernelContainer
	})
	k = c.phase(dotted, 1, v1alpha1.KernelParked)
	assert.Equal(t, "Idle for 60 s.", k.Status.Message)
	c.gone(pod)
}

// TestGatewayOfTheFormerReleaseIsUpdated although its selector, which nobody
// can change, has another label value for the same name.
func TestGatewayOfTheFormerReleaseIsUpdated(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	gw := c.gateway("a--b")
	var d appsv1.Deployment
	var svc corev1.Service
	c.eventually("what this release makes", func() bool { return c.get("a--b", &d) && c.get("a--b", &svc) })
	c.stop()

	// as if the former release had made them
	former := map[string]string{v1alpha1.LabelGateway: "a-b--90827a2e", v1alpha1.LabelComponent: v1alpha1.ComponentGateway}
	require.NotEqual(t, former, d.Spec.Selector.MatchLabels)
	require.NoError(t, c.api.Delete(c.ctx, &d))
	c.gone(&d)
	d.ResourceVersion, d.UID = "", ""
	d.Spec.Selector.MatchLabels = former
	d.Spec.Template.Labels = former
	d.Spec.Template.Spec.Containers[0].Image = "elastichub:former"
	svc.Spec.Selector = former
	require.NoError(t, c.api.Create(c.ctx, &d))
	require.NoError(t, c.api.Update(c.ctx, &svc))
	require.True(t, metav1.IsControlledBy(&d, gw))

	c.start()
	c.eventually("new image", func() bool {
		return c.get("a--b", &d) && d.Spec.Template.Spec.Containers[0].Image == "elastichub:test"
	})
	require.True(t, c.get("a--b", &svc))
	assert.Equal(t, former, d.Spec.Selector.MatchLabels)
	assert.Equal(t, former, svc.Spec.Selector)
	assert.Equal(t, "a-b--90827a2e", d.Spec.Template.Labels[v1alpha1.LabelGateway])
}
