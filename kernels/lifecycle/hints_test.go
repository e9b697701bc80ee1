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
	attached := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e"}, Type: "Warning", Reason: "FailedAttachVolume", LastTimestamp: metav1.Time{Time: time.Now()}}
	attached.Message = `Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) notebook-1`
	attached.InvolvedObject = corev1.ObjectReference{Kind: "Pod", Namespace: c.Name, Name: "k-1", UID: pod.UID}
	c.Make(attached)
	assert.Equal(t, "a volume of it can be in use on one node at a time (ReadWriteOnce), and is in use on another: "+attached.Message, r.hintOf(t.Context(), k, pod))
	k.Status.StartTime = &metav1.Time{Time: time.Now()}
	assert.Empty(t, r.hintOf(t.Context(), k, pod), "too soon to be worried")
}

// TestGrowth reads what autoscalers write about Pods that wait for a node.
func TestGrowth(t *testing.T) {
	c := kerneltest.NewNamespace(t)
	pod := &corev1.Pod{}
	pod.Name = "k-1"
	pod.Spec.Containers = []corev1.Container{{Name: "kernel", Image: "i"}}
	c.Make(pod)
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes are available"}}
	k := kerneltest.Kernel("k", "gw", "gpu")
	k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelStarting, Run: 1, StartTime: &metav1.Time{Time: time.Now()}}
	r := &kernelReconciler{live: c, now: time.Now}
	said := func() string {
		p := plan{status: *k.Status.DeepCopy()}
		p.watchStart(observed{kernel: k, pod: pod, now: time.Now(), growth: r.growthOf(t.Context(), k, pod)}, pod)
		assert.Equal(t, askGrowth, p.lookAgain)
		return p.status.Message
	}
	at := time.Now().Add(-time.Minute)
	event := func(name, component, reason, message string) {
		at = at.Add(time.Second)
		e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: name}, Reason: reason, Message: message, LastTimestamp: metav1.Time{Time: at}}
		e.InvolvedObject = corev1.ObjectReference{Kind: "Pod", Namespace: c.Name, Name: "k-1", UID: pod.UID}
		e.Source.Component = component
		c.Make(e)
	}
	event("a", "default-scheduler", "FailedScheduling", "0/1 nodes are available")
	assert.Equal(t, "No node can take the kernel's Pod: 0/1 nodes are available", said(), "nobody has said anything of growth")
	event("b", "cluster-autoscaler", "NotTriggerScaleUp", "1 max node group size reached")
	assert.Equal(t, "No node can take the kernel's Pod, and the cluster adds none: 1 max node group size reached", said())
	event("c", "cluster-autoscaler", "TriggeredScaleUp", "pod triggered scale-up: [{gpu 0->1 (max: 4)}]")
	assert.Equal(t, "The cluster adds a node for the kernel: pod triggered scale-up: [{gpu 0->1 (max: 4)}]", said())
	event("d", "karpenter", "FailedScheduling", "no instance type satisfied the resources")
	assert.Equal(t, "No node can take the kernel's Pod, and the cluster adds none: no instance type satisfied the resources", said())
	event("e", "karpenter", "Nominated", "Pod should schedule on: nodeclaim/gpu-x7k2p")
	assert.Equal(t, "The cluster adds a node for the kernel: Pod should schedule on: nodeclaim/gpu-x7k2p", said())
	pod.Spec.NodeName = "new"
	assert.Empty(t, r.growthOf(t.Context(), k, pod), "it has a node")
}

func TestMain(m *testing.M) { os.Exit(kerneltest.Main(m, "../..")) }
