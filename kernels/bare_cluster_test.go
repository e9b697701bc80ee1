package kernels

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/lifecycle"
)

// bareKernel is a kernel as elastic-jupyter-operator had it.
func bareKernel(name, image string, limits corev1.ResourceList) *v1alpha1.JupyterKernel {
	k := &v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Name: name}}
	k.Spec.Template = &v1alpha1.PodTemplate{}
	k.Spec.Template.Spec.Containers = []corev1.Container{{Name: "kernel", Image: image, Resources: corev1.ResourceRequirements{Limits: limits}}}
	return k
}

func withoutImage(reason string) func(*corev1.PodStatus) {
	return func(s *corev1.PodStatus) {
		s.Phase = corev1.PodPending
		s.ContainerStatuses = []corev1.ContainerStatus{{Name: "kernel", Image: "i", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "no such thing"}}}}
	}
}

// TestATemplateOfABareKernelIsLive: an edit makes the Pod anew, wherever the kernel stands.
func TestATemplateOfABareKernelIsLive(t *testing.T) {
	t.Parallel()
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.create(bareKernel("k", "image:1", nil))
	edit := func(image string) {
		change(c, "k", &v1alpha1.JupyterKernel{}, func(k *v1alpha1.JupyterKernel) { k.Spec.Template.Spec.Containers[0].Image = image })
	}
	applied := func(status metav1.ConditionStatus, reason v1alpha1.Reason) {
		t.Helper()
		c.eventually("condition", func() bool {
			found := meta.FindStatusCondition(c.kernel("k").Status.Conditions, lifecycle.ConditionTemplateApplied)
			return found != nil && found.Status == status && found.Reason == string(reason)
		})
	}
	pod := c.ready("k", 1, "")
	assert.Nil(t, meta.FindStatusCondition(c.kernel("k").Status.Conditions, lifecycle.ConditionTemplateApplied))
	change(c, "k", &v1alpha1.JupyterKernel{}, func(k *v1alpha1.JupyterKernel) { k.Labels = map[string]string{"a": "b"} })

	// running: the former Pod goes first
	require.NoError(t, c.api.Patch(t.Context(), pod, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.org/wait"]}}`))))
	edit("image:2")
	c.phase("k", 2, v1alpha1.KernelQueued)
	applied(metav1.ConditionFalse, lifecycle.ReasonTemplateChanged)
	c.eventually("end of the former Pod", func() bool { return c.get("k-1", pod) && pod.DeletionTimestamp != nil })
	require.NoError(t, c.api.Patch(t.Context(), pod, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
	c.kill(pod)
	assert.Equal(t, "image:2", c.ready("k", 2, "").Spec.Containers[0].Image)
	applied(metav1.ConditionTrue, lifecycle.ReasonPodReplaced)

	// over: refused, and then ended by itself
	edit("")
	c.kill(c.pod("k", 2))
	assert.Equal(t, v1alpha1.CauseInvalid, c.phase("k", 3, v1alpha1.KernelDead).Status.Cause)
	edit("image:4")
	c.report(c.pod("k", 4), kerneltest.Exited(0, "Completed", ""))
	c.phase("k", 4, v1alpha1.KernelDead)
	edit("image:5")
	c.ready("k", 5, "")

	// by spec.run as ever
	c.askRun("k", 6)
	c.kill(c.pod("k", 5))
	c.ready("k", 6, "")
}

// TestABareKernelWaitsForItsImage: nobody would ask for its next run. One that holds something
// gives it back between the attempts.
func TestABareKernelWaitsForItsImage(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	c.node("bare", 1)
	c.create(bareKernel("cpu", "absent:1", nil), bareKernel("gpu", "absent:1", corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}))
	told := func(name, message string) {
		t.Helper()
		c.eventually("reason", func() bool {
			s := c.kernel(name).Status
			startable := meta.FindStatusCondition(s.Conditions, lifecycle.ConditionStartable)
			return startable != nil && startable.Status == metav1.ConditionFalse && strings.Contains(startable.Message, message) && strings.Contains(s.Conditions[0].Message, message)
		})
	}
	for _, reason := range []string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"} {
		c.report(c.pod("cpu", 1), withoutImage(reason))
		c.eventually(reason, func() bool {
			startable := meta.FindStatusCondition(c.kernel("cpu").Status.Conditions, lifecycle.ConditionStartable)
			return startable != nil && startable.Reason == reason
		})
	}
	c.report(c.pod("cpu", 1), withoutImage("InvalidImageName")) // no grace: others are dead at once
	told("cpu", "The image absent:1 cannot be had (InvalidImageName)")
	assert.Equal(t, v1alpha1.KernelStarting, c.kernel("cpu").Status.Phase)

	// the GPU is free for others, and the kernel in the queue
	pod := c.pod("gpu", 1)
	c.report(pod, withoutImage("InvalidImageName"))
	c.eventually("given back", func() bool {
		return !c.get(pod.Name, pod) && c.kernel("gpu").Status.Failures == 1 || pod.DeletionTimestamp != nil
	})
	c.kill(pod)
	second := c.pod("gpu", 1)
	c.report(second, withoutImage("InvalidImageName"))
	c.eventually("pause", func() bool {
		s := c.kernel("gpu").Status
		return s.NotBefore != nil && s.Phase == v1alpha1.KernelQueued
	})
	told("gpu", "cannot be had (InvalidImageName)")
	c.kill(second)
	c.eventually("free", func() bool { return len(c.kernel("gpu").Status.Held) == 0 })

	// mended, without waiting for the pause; and an image that has come
	change(c, "gpu", &v1alpha1.JupyterKernel{}, func(k *v1alpha1.JupyterKernel) { k.Spec.Template.Spec.Containers[0].Image = "there:1" })
	assert.Equal(t, "there:1", c.ready("gpu", 2, "bare").Spec.Containers[0].Image)
	c.ready("cpu", 1, "")
	assert.Nil(t, meta.FindStatusCondition(c.kernel("cpu").Status.Conditions, lifecycle.ConditionStartable))
}
