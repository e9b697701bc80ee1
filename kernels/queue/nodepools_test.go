package queue

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/kernels/admission"
)

func burst(n int) NodePool {
	return NodePool{
		Name: "burst", Labels: map[string]string{"pool": "burst"}, Resources: admission.Resources{"nvidia.com/gpu": 2}, MaxNodes: n,
		Taints: []corev1.Taint{{Key: "gpu", Value: "only", Effect: corev1.TaintEffectNoSchedule}},
	}
}

func TestAPoolOffersTheNodesThatItLacks(t *testing.T) {
	of := func(pool string, unschedulable bool) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"pool": pool}}, Spec: corev1.NodeSpec{Unschedulable: unschedulable}}
	}
	nodes := []corev1.Node{of("burst", false), of("other", false), of("burst", true)}
	list := withComing([]NodePool{burst(4)}, nil, nodes)
	require.Len(t, list, 2, "one that takes no Pods counts for the autoscaler, too")
	assert.NotEqual(t, list[0].Name, list[1].Name)
	for _, n := range list {
		assert.True(t, n.Coming)
		assert.Equal(t, admission.Resources{"nvidia.com/gpu": 2}, n.Free)
	}
	grown := withComing([]NodePool{burst(1)}, []Node{{Labels: nodes[0].Labels}, {Labels: nodes[1].Labels}}, nodes)
	require.Len(t, grown, 2, "it has more than it may have")
	assert.Equal(t, []bool{true, false}, []bool{grown[0].Grown, grown[1].Grown})

	fits := eligible(list, &corev1.PodSpec{NodeSelector: map[string]string{"pool": "burst"}, Tolerations: []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}})
	assert.True(t, fits(list[0].Name))
	fits = eligible(list, &corev1.PodSpec{NodeSelector: map[string]string{"pool": "burst"}})
	assert.False(t, fits(list[0].Name), "it does not tolerate the taint")
	gpus := corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}
	fits = eligible(list, &corev1.PodSpec{NodeSelector: map[string]string{"pool": "other"}, Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Limits: gpus}}}})
	assert.False(t, fits(list[0].Name), "it wants another pool")
}

func TestPoolsAreCheckedByName(t *testing.T) {
	require.NoError(t, ValidatePools("pools", []NodePool{burst(1)}))
	wrong := burst(0)
	wrong.Labels, wrong.Resources, wrong.Taints = nil, admission.Resources{"cpu": 2}, []corev1.Taint{{Key: "a", Effect: "Sometimes"}}
	err := ValidatePools("pools", []NodePool{burst(1), wrong})
	require.Error(t, err)
	for _, want := range []string{
		`pools[1].name: "burst" is empty, or another pool's`,
		"pools[1].labels: at least one is needed",
		"pools[1].resources[cpu]: 2 is not a number of devices",
		"pools[1].maxNodes: 0 is not between 1 and 1000",
		`pools[1].taints: "a:Sometimes" is not a key`,
	} {
		assert.ErrorContains(t, err, want)
	}
	assert.NotContains(t, err.Error(), "pools[0]")
}
