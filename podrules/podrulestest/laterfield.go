package podrulestest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// laterField is one that no release knows.
const laterField = "fieldOfALaterRelease"

// AddLaterField lets kinds, given by their plural names, have a field in spec and in
// status that this release does not know, as a later one's definition would.
func AddLaterField(t *testing.T, c client.Client, plurals ...string) {
	t.Helper()
	for _, plural := range plurals {
		// The API server writes the status of a definition when it likes.
		require.NoError(t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			crd := &unstructured.Unstructured{}
			crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
			require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: plural + ".kubeflow.tkestack.io"}, crd))
			versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
			require.NoError(t, err)
			for _, part := range []string{"spec", "status"} {
				require.NoError(t, unstructured.SetNestedMap(versions[0].(map[string]any), map[string]any{"type": "string"},
					"schema", "openAPIV3Schema", "properties", part, "properties", laterField))
			}
			require.NoError(t, unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions"))
			return c.Update(t.Context(), crd)
		}))
	}
}

// SetLaterFields sets both fields of an object. The API server takes a moment to
// know them.
func SetLaterFields(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	require.Eventually(t, func() bool {
		return c.Patch(t.Context(), o, later("spec"), client.FieldValidation("Strict")) == nil && keepsLaterField(t.Context(), c, o, "spec")
	}, 30*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool {
		return c.Status().Patch(t.Context(), o, later("status")) == nil && keepsLaterField(t.Context(), c, o, "status")
	}, 30*time.Second, 50*time.Millisecond)
}

func later(part string) client.Patch {
	return client.RawPatch("application/merge-patch+json", []byte(`{"`+part+`": {"`+laterField+`": "kept"}}`))
}

// AssertLaterFields: nobody has dropped the fields.
func AssertLaterFields(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	for _, part := range []string{"spec", "status"} {
		assert.True(t, keepsLaterField(t.Context(), c, o, part), "%s of %T %s has lost what this release does not know", part, o, o.GetName())
	}
}

func keepsLaterField(ctx context.Context, c client.Client, o client.Object, part string) bool {
	kind, err := c.GroupVersionKindFor(o)
	if err != nil {
		return false
	}
	raw := &unstructured.Unstructured{}
	raw.SetGroupVersionKind(kind)
	if err := c.Get(ctx, client.ObjectKeyFromObject(o), raw); err != nil {
		return false
	}
	value, _, _ := unstructured.NestedString(raw.Object, part, laterField)
	return value == "kept"
}
