package setaside

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func notebook(t *testing.T, name, spec string) *v1alpha1.JupyterNotebook {
	t.Helper()
	nb := &v1alpha1.JupyterNotebook{}
	require.NoError(t, json.Unmarshal([]byte(`{"metadata": {"namespace": "hub", "name": "`+name+`", "uid": "u", "generation": 3}, "spec": `+spec+`}`), nb))
	return nb
}

// TestTell against a real API server is test/malformed.
func TestTell(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	require.NoError(t, errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)))
	refused := apierrors.NewInvalid(schema.GroupKind{Kind: "JupyterNotebook"}, "nb", nil)
	conflict := apierrors.NewConflict(schema.GroupResource{}, "nb", errors.New("changed"))
	malformed, sound := notebook(t, "nb", `{"template": "x"}`), notebook(t, "nb", `{}`)
	require.Error(t, malformed.Malformed())
	var down error
	c := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			if down != nil {
				return down
			}
			return c.Create(ctx, o, options...)
		},
	}).Build()
	events := func() []corev1.Event {
		var list corev1.EventList
		require.NoError(t, c.List(t.Context(), &list))
		return list.Items
	}

	require.NoError(t, Tell(t.Context(), c, malformed, nil))
	assert.ErrorIs(t, Tell(t.Context(), c, malformed, conflict), conflict)
	assert.ErrorIs(t, Tell(t.Context(), c, sound, refused), refused, "whatever this is, it is not told by an Event")
	down = errors.New("no API server")
	require.ErrorIs(t, Tell(t.Context(), c, malformed, refused), down)
	assert.Empty(t, events())

	down = nil
	require.NoError(t, Tell(t.Context(), c, malformed, refused))
	require.NoError(t, Tell(t.Context(), c, malformed, refused))
	require.Len(t, events(), 1)
	event := events()[0]
	assert.Equal(t, corev1.ObjectReference{APIVersion: "kubeflow.tkestack.io/v1alpha1", Kind: "JupyterNotebook", Namespace: "hub", Name: "nb", UID: "u"}, event.InvolvedObject)
	assert.Equal(t, [3]string{"hub", "Warning", "Malformed"}, [3]string{event.Namespace, event.Type, event.Reason})
	assert.Contains(t, event.Message, malformed.Malformed().Error())

	malformed.Generation++
	require.NoError(t, Tell(t.Context(), c, malformed, refused))
	assert.Len(t, events(), 2, "another state of it")
}

func TestNamesOfEventsAreNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"nb", strings.Repeat("a", 253), strings.Repeat("a.", 126) + "b", strings.Repeat("-a", 126)[1:] + "bc"} {
		assert.Empty(t, validation.IsDNS1123Subdomain(eventName(notebook(t, name, `{}`))), name)
	}
}
