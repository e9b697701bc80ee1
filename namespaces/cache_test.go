package namespaces

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var errAsked = errors.New("it was asked")

// askedCache fails when it is asked, as controller-runtime's does for namespaces that it does not hold.
type askedCache struct{ cache.Cache }

func (askedCache) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errAsked
}

func (askedCache) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errAsked
}

func TestNothingIsFoundOutsideOfAScope(t *testing.T) {
	some, err := New("own", []string{"team"})
	require.NoError(t, err)
	c := coveredCache{askedCache{}, some}
	for namespace, inside := range map[string]bool{"own": true, "team": true, "": true, "other": false} {
		got := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "x"}, &corev1.Pod{})
		pods := corev1.PodList{Items: make([]corev1.Pod, 1)}
		listed := c.List(t.Context(), &pods, client.InNamespace(namespace))
		if inside {
			assert.ErrorIs(t, got, errAsked, namespace)
			assert.ErrorIs(t, listed, errAsked, namespace)
			continue
		}
		assert.True(t, apierrors.IsNotFound(got), namespace)
		require.NoError(t, listed)
		assert.Empty(t, pods.Items)
	}
	everywhere, err := New("own", []string{Everywhere})
	require.NoError(t, err)
	assert.ErrorIs(t, coveredCache{askedCache{}, everywhere}.Get(t.Context(), client.ObjectKey{Namespace: "other"}, &corev1.Pod{}), errAsked)
}
