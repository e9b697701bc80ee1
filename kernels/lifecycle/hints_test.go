package lifecycle

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
)

// TestHints reads real events.
func TestHints(t *testing.T) {
	c := kerneltest.NewNamespace(t)
	pod := &corev1.Pod{}
	pod.Name = "k-1"
	pod.Spec.Containers = []corev1.Container{{Name: "kernel", Image: "i"}}
	pod.Spec.NodeName = "far"
	c.Make(pod)
	event := func(name, kind, reason string, uid string, ago time.Duration) {
		e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: kind, Reason: reason, Message: "it is so"}
		e.InvolvedObject = corev1.ObjectReference{Kind: "Pod", Namespace: c.Name, Name: "k-1", UID: pod.UID}
		if uid != "" {
			e.InvolvedObject.UID = "other"
		}
		e.LastTimestamp = metav1.Time{Time: time.Now().Add(-ago)}
		c.Make(e)
	}
	event("a", "Warning", "FailedMount", "", time.Minute)
	event("b", "Warning", "FailedCreatePodSandBox", "", time.Second)
	event("c", "Normal", "Pulling", "", 0)
	event("d", "Warning", "Foreign", "other", 0)
	k := kerneltest.Kernel("k", "gw", "gpu")
	k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelStarting, Run: 1, StartTime: &metav1.Time{Time: time.Now().Add(-hintAfter)}}
	r := &kernelReconciler{live: c, now: time.Now}
	assert.Equal(t, "FailedCreatePodSandBox: it is so", r.hintOf(t.Context(), k, pod))
	k.Status.StartTime = &metav1.Time{Time: time.Now()}
	assert.Empty(t, r.hintOf(t.Context(), k, pod), "too soon to be worried")
}

func TestMain(m *testing.M) { os.Exit(kerneltest.Main(m, "../..")) }
