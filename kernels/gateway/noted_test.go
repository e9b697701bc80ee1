package gateway

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/tracing"
)

// TestNotesAreLeftOutWhereTheyAreRefused: a kernel starts under the admission policy of a former chart, too.
func TestNotesAreLeftOutWhereTheyAreRefused(t *testing.T) {
	k := &v1alpha1.JupyterKernel{}
	k.Annotations = map[string]string{v1alpha1.AnnotationRequest: "of-before", "other": "kept"}
	var tried []string
	write := func() error {
		tried = append(tried, k.Annotations[v1alpha1.AnnotationRequest])
		if len(tried) == 1 {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "jupyterkernels"}, k.Name, nil)
		}
		return nil
	}
	require.NoError(t, noted(tracing.WithRequest(t.Context(), "of-now"), k, write))
	assert.Equal(t, []string{"of-now", "of-before"}, tried)
	assert.Equal(t, "kept", k.Annotations["other"])
}
