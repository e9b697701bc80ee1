package groups

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups/internal/policytest"
)

func faultsOf(p v1alpha1.GroupPolicy) []string {
	var all []string
	for _, f := range ValidatePolicy(p) {
		all = append(all, string(f.Type)+" "+f.Field)
	}
	return all
}

func TestValidatePolicy(t *testing.T) {
	for _, row := range policytest.Rows() {
		t.Run(row.Name, func(t *testing.T) {
			p := policytest.Policy("p", 0, "a")
			row.Spoil(&p.Spec)
			assert.Equal(t, row.Want, faultsOf(p))
		})
	}
}

func TestValidatePolicyNothingSet(t *testing.T) {
	assert.Equal(t, []string{"FieldValueRequired spec.groups", "FieldValueInvalid spec.cpu.min", "FieldValueInvalid spec.cpu.max",
		"FieldValueInvalid spec.memory.min", "FieldValueInvalid spec.memory.max", "FieldValueRequired spec.images"}, faultsOf(v1alpha1.GroupPolicy{}))
}
