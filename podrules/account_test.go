package podrules

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func TestAnAccountIsForWhomItsOwnerNames(t *testing.T) {
	for mark, is := range map[string]bool{
		"": false, "research": true, "staff, research": true, "*": true, "staff,*": true,
		"researcher": false, "Research": false, ",": false, "staff research": false,
	} {
		account := &corev1.ServiceAccount{}
		account.Annotations = map[string]string{v1alpha1.AnnotationForPolicies: mark}
		assert.Equal(t, is, IsForPolicy(account, "research"), "%q", mark)
		assert.False(t, mark != "*" && mark != "staff,*" && IsForPolicy(account, ""), "%q", mark)
	}
	assert.False(t, IsForPolicy(&corev1.ServiceAccount{}, "research"), "not marked")
}

func TestAnAccountComesWithoutAToken(t *testing.T) {
	spec := &corev1.PodSpec{ServiceAccountName: "admin"}
	Harden(spec)
	assert.Empty(t, spec.ServiceAccountName)
	RunAs(spec, "bucket")
	assert.Equal(t, "bucket", spec.ServiceAccountName)
	assert.False(t, *spec.AutomountServiceAccountToken)
}
