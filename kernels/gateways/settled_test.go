package gateways

import (
	"testing"

	"github.com/stretchr/testify/assert"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestASettledDeploymentIsNotWritten until somebody changes it, or what it should be.
func TestASettledDeploymentIsNotWritten(t *testing.T) {
	t.Parallel()
	wanted := &appsv1.Deployment{}
	wanted.Namespace, wanted.Name, wanted.UID, wanted.Generation = "ns", "gw", "1", 3
	wanted.Spec.Template.Spec.Containers = []corev1.Container{{Name: "gateway", Image: "elastichub:1"}}
	filled := wanted.DeepCopy()
	filled.Spec.Template.Spec.DNSPolicy = corev1.DNSClusterFirst
	var s settled
	assert.False(t, s.is(filled, wanted), "nobody knows")
	s.note(filled, wanted)
	assert.True(t, s.is(filled, wanted))
	for what, change := range map[string]func(has, want *appsv1.Deployment){
		"edited":            func(has, want *appsv1.Deployment) { has.Generation, want.Generation = 4, 4 },
		"made anew":         func(has, want *appsv1.Deployment) { has.UID, want.UID = "2", "2" },
		"a label is lost":   func(_, want *appsv1.Deployment) { want.Labels = map[string]string{"a": "b"} },
		"another is wanted": func(_, want *appsv1.Deployment) { want.Spec.Template.Spec.Containers[0].Image = "elastichub:2" },
	} {
		has, want := filled.DeepCopy(), wanted.DeepCopy()
		change(has, want)
		assert.False(t, s.is(has, want), what)
	}
	assert.False(t, s.is(&corev1.Service{}, &corev1.Service{}))
	s.forget(client.ObjectKeyFromObject(wanted))
	assert.False(t, s.is(filled, wanted))
}
