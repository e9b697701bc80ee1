package queue

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/namespaces"
)

func TestACordonedNodeIsOnlyAReason(t *testing.T) {
	of := func(name string, ready corev1.ConditionStatus, cordoned bool) corev1.Node {
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{Unschedulable: cordoned}}
		n.Status.Allocatable = corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("2")}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
		if cordoned {
			n.Spec.Taints = []corev1.Taint{
				{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}, {Key: "gpu", Effect: corev1.TaintEffectNoSchedule},
			}
		}
		return n
	}
	list := nodesWithRoom([]corev1.Node{of("away", corev1.ConditionFalse, true), of("cordoned", corev1.ConditionTrue, true), of("there", corev1.ConditionTrue, false)}, nil, nil, namespaces.Only("jupyter"))
	require.Len(t, list, 2)
	two := admission.Resources{"nvidia.com/gpu": 2}
	assert.Equal(t, admission.Node{Name: "cordoned", Cordoned: true, Total: two, Free: admission.Resources{}}, list[0].Node)
	assert.Equal(t, admission.Node{Name: "there", Total: two, Free: two}, list[1].Node)
	tolerant := &corev1.PodSpec{Tolerations: []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}}
	assert.True(t, list[0].accepts(tolerant), "but for its being cordoned")
	assert.False(t, list[0].accepts(&corev1.PodSpec{}))
}
