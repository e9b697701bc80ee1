package queue

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestRoom is that of the nodes that the Pod may be on, of which the largest count.
func TestRoom(t *testing.T) {
	t.Parallel()
	list := func(cpu, gpu string) corev1.ResourceList {
		all := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
		if gpu != "" {
			all["nvidia.com/gpu"] = resource.MustParse(gpu)
		}
		return all
	}
	node := func(name, cpu, gpu string, change func(*corev1.Node)) corev1.Node {
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pool": "a"}}}
		n.Status.Allocatable = list(cpu, gpu)
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		change(&n)
		return n
	}
	as := func(*corev1.Node) {}
	nodes := []corev1.Node{
		node("a", "8", "2", as), node("b", "4", "", as),
		node("cordoned", "64", "8", func(n *corev1.Node) { n.Spec.Unschedulable = true }),
		node("lost", "64", "8", func(n *corev1.Node) { n.Status.Conditions = nil }),
		node("kept", "64", "8", func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "team", Value: "x", Effect: corev1.TaintEffectNoSchedule}}
		}),
		node("elsewhere", "64", "8", func(n *corev1.Node) { n.Labels = nil }),
	}
	pod := func(on, cpu, gpu string, phase corev1.PodPhase) corev1.Pod {
		p := corev1.Pod{Spec: corev1.PodSpec{NodeName: on, Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: list(cpu, gpu), Limits: list(cpu, gpu)}}}}}
		p.Status.Phase = phase
		return p
	}
	pods := []corev1.Pod{pod("a", "6", "2", corev1.PodRunning), pod("a", "1", "", corev1.PodSucceeded), pod("b", "500m", "", corev1.PodPending)}
	wants := &corev1.PodSpec{NodeSelector: map[string]string{"pool": "a"}}
	room := roomFor(wants, nodes, pods)
	text := func(all corev1.ResourceList) map[string]string {
		out := map[string]string{}
		for name, q := range all {
			out[string(name)] = q.String()
		}
		return out
	}
	assert.Equal(t, 2, room.Nodes)
	assert.Equal(t, map[string]string{"cpu": "3500m", "nvidia.com/gpu": "0"}, text(room.Free))
	assert.Equal(t, map[string]string{"cpu": "8", "nvidia.com/gpu": "2"}, text(room.Allocatable))
	wants.Tolerations = []corev1.Toleration{{Key: "team", Operator: corev1.TolerationOpExists}}
	assert.Equal(t, 3, roomFor(wants, nodes, pods).Nodes)
}
