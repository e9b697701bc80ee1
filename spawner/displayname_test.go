package spawner

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func TestAServerIsCalledAsItsStartSays(t *testing.T) {
	c := newCluster(t)
	s := c.replica(false)
	for i, name := range []string{"My own ✓ server", ""} {
		req := testRequest("alice", "one", []string{"s1", "s2"}[i])
		req.DisplayName = name
		_, err := s.Start(t.Context(), req)
		require.NoError(t, err)
		var nb v1alpha1.JupyterNotebook
		require.NoError(t, c.get(Name(req.Key), &nb))
		called, noted := nb.Annotations[v1alpha1.AnnotationDisplayName]
		assert.Equal(t, name, called)
		assert.Equal(t, name != "", noted)
	}
}
