package lifecycle

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
)

// TestAKernelThatStartsIsAskedWhatItHas once code may have run in it, also if nobody here
// has seen it ready: what it had would be gone without a word.
func TestAKernelThatStartsIsAskedWhatItHas(t *testing.T) {
	pod := func(state corev1.ContainerState) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: state}}}}
	}
	runs := pod(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
	for name, test := range map[string]struct {
		phase v1alpha1.KernelPhase
		pod   *corev1.Pod
		force bool
		want  parkAnswer
	}{
		"queued":             {v1alpha1.KernelQueued, nil, false, parkNow},
		"has no image":       {v1alpha1.KernelStarting, pod(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}), false, parkNow},
		"runs":               {v1alpha1.KernelStarting, runs, false, parkLater},
		"runs, and by force": {v1alpha1.KernelStarting, runs, true, parkNow},
	} {
		k := kerneltest.Kernel("k", "gw", "gpu")
		k.Spec.Run, k.Spec.Park = 1, &v1alpha1.KernelPark{Run: 1, Force: test.force}
		k.Status = v1alpha1.JupyterKernelStatus{Phase: test.phase, Run: 1}
		assert.Equal(t, test.want, (&kernelReconciler{}).askToPark(t.Context(), k, test.pod, budgetFinding{}), name)
	}
}
