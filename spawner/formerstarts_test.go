package spawner

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func TestFormerStarts(t *testing.T) {
	t.Parallel()
	nb := &v1alpha1.JupyterNotebook{}
	assert.False(t, isFormerStart(nb, "s1"))
	for _, start := range []string{"s1", "s2", "s1"} {
		nb.Annotations = map[string]string{v1alpha1.AnnotationFormerStarts: formerStarts(nb, start)}
	}
	assert.Equal(t, "s1,s2", nb.Annotations[v1alpha1.AnnotationFormerStarts])
	for _, start := range strings.Split("abcdefghij", "") {
		nb.Annotations[v1alpha1.AnnotationFormerStarts] = formerStarts(nb, start)
	}
	assert.Equal(t, "j,i,h,g,f,e,d,c", nb.Annotations[v1alpha1.AnnotationFormerStarts])
	assert.False(t, isFormerStart(nb, "s1"))
	assert.True(t, isFormerStart(nb, "c"))
}

// TestRequestsInAnotherOrder: what a Hub has given up comes late.
func TestRequestsInAnotherOrder(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	one, two := c.replica(true), c.replica(false)
	first, second := testRequest("bob", "", "s1"), testRequest("bob", "", "s2")
	runs := func(start string) {
		t.Helper()
		var nb v1alpha1.JupyterNotebook
		require.NoError(t, c.get("jupyter-bob", &nb))
		assert.Equal(t, start, nb.Spec.Start)
		assert.False(t, nb.Spec.Stopped)
	}

	require.ErrorIs(t, one.StopStart(t.Context(), first.Key, "s1"), ErrNotFound)
	_, err := one.Start(t.Context(), first)
	require.NoError(t, err)
	_, err = two.Start(t.Context(), second)
	require.NoError(t, err)
	runs("s2")

	state, err := one.Start(t.Context(), first)
	require.NoError(t, err)
	assert.Equal(t, "s2", state.Start, "an older start does not take over")
	require.NoError(t, one.StopStart(t.Context(), first.Key, "s1"), "an older stop is not the newer start's")
	runs("s2")

	require.NoError(t, two.StopStart(t.Context(), first.Key, "s3"), "the stop has overtaken its start")
	third := testRequest("bob", "", "s3")
	_, err = one.Start(t.Context(), third)
	require.NoError(t, err)
	runs("s2")

	require.NoError(t, one.StopStart(t.Context(), first.Key, "s2"))
	require.NoError(t, two.StopStart(t.Context(), first.Key, "s2"), "once more does nothing")
	_, err = two.Start(t.Context(), second)
	require.NoError(t, err)
	var nb v1alpha1.JupyterNotebook
	require.NoError(t, c.get("jupyter-bob", &nb))
	assert.True(t, nb.Spec.Stopped, "a repeated start does not undo the stop")
}
