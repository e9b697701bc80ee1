package v1alpha1

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestEveryKindIsSetAside: of an object that cannot be read metadata and status
// stay, and its spec comes out as it went in.
func TestEveryKindIsSetAside(t *testing.T) {
	scheme := runtime.NewScheme()
	require.NoError(t, AddToScheme(scheme))
	seen := 0
	for name := range scheme.KnownTypes(GroupVersion) {
		o, err := scheme.New(GroupVersion.WithKind(name))
		require.NoError(t, err)
		kind, is := o.(interface {
			client.Object
			Malformed() error
			Replaced()
		})
		if !is {
			continue // a list, or one of Kubernetes' own
		}
		seen++
		t.Run(name, func(t *testing.T) {
			condition := `{"type":"Ready","status":"True","reason":"x","message":"","lastTransitionTime":"2026-01-02T03:04:05Z"}`
			text := `{"apiVersion":"kubeflow.tkestack.io/v1alpha1","kind":"` + name + `","metadata":{"name":"a","resourceVersion":"7"},` +
				`"spec":[1,{"b":2}],"status":{"observedGeneration":3,"conditions":[` + condition + `]}}`
			require.NoError(t, json.Unmarshal([]byte(text), kind))
			require.ErrorAs(t, kind.Malformed(), new(*MalformedError))
			assert.ErrorContains(t, kind.Malformed(), "spec: ")
			assert.Equal(t, "a", kind.GetName())

			again, err := json.Marshal(kind)
			require.NoError(t, err)
			var fields map[string]json.RawMessage
			require.NoError(t, json.Unmarshal(again, &fields))
			assert.JSONEq(t, `[1,{"b":2}]`, string(fields["spec"]))
			assert.JSONEq(t, `{"observedGeneration":3,"conditions":[`+condition+`]}`, withoutZeros(t, fields["status"]))

			// a patch of the copy has nothing but what was changed
			changed := kind.DeepCopyObject().(client.Object)
			require.Error(t, changed.(interface{ Malformed() error }).Malformed())
			changed.SetLabels(map[string]string{"a": "b"})
			patch, err := client.MergeFrom(kind).Data(changed)
			require.NoError(t, err)
			assert.JSONEq(t, `{"metadata":{"labels":{"a":"b"}}}`, string(patch))

			// a spec that is written anew takes the place of the former
			kind.Replaced()
			assert.NoError(t, kind.Malformed())
			again, err = json.Marshal(kind)
			require.NoError(t, err)
			assert.NotContains(t, string(again), `[1,`)

			// one that can be read is not told from any other struct
			require.NoError(t, json.Unmarshal([]byte(`{"metadata":{"name":"b"},"unknown":1}`), kind))
			assert.NoError(t, kind.Malformed())
			assert.Equal(t, "b", kind.GetName())
			assert.Empty(t, kind.GetLabels(), "something of the former object is left")
			assert.Error(t, UnmarshalStrict([]byte(`{metadata: {name: b}, unknown: 1}`), kind))
			assert.Error(t, UnmarshalStrict([]byte(`{metadata: {name: b}, spec: [1]}`), kind))
			assert.NoError(t, UnmarshalStrict([]byte(`{metadata: {name: b}, spec: {}}`), kind))
		})
	}
	assert.Equal(t, 6, seen)
}

func withoutZeros(t *testing.T, status json.RawMessage) string {
	t.Helper()
	var fields map[string]any
	require.NoError(t, json.Unmarshal(status, &fields))
	text, err := json.Marshal(fields)
	require.NoError(t, err)
	return string(text)
}

// TestAListWithOneBadObject is decoded whole.
func TestAListWithOneBadObject(t *testing.T) {
	var list JupyterNotebookList
	require.NoError(t, json.Unmarshal([]byte(`{"items":[
		{"metadata":{"name":"good"},"spec":{"user":"a","template":{"spec":{"containers":[{"name":"n","env":[{"name":"A","value":"1"}]}]}}}},
		{"metadata":{"name":"bad"},"spec":{"user":"b","stopped":true,"server":3,"template":{"spec":{"containers":[{"name":"n","env":[{"name":"A","value":1}]}]}}},"status":{"phase":"Ready"}}
	]}`), &list))
	require.Len(t, list.Items, 2)
	assert.NoError(t, list.Items[0].Malformed())
	bad := &list.Items[1]
	assert.ErrorContains(t, bad.Malformed(), "cannot unmarshal number")
	assert.Equal(t, JupyterNotebookSpec{User: "b", Stopped: true}, bad.Spec, "whose it is can be read, each field by itself")
	assert.Equal(t, NotebookReady, bad.Status.Phase)
}

func TestAStatusThatCannotBeRead(t *testing.T) {
	var k JupyterKernel
	require.NoError(t, json.Unmarshal([]byte(`{"metadata":{"name":"k"},"spec":{"user":"a"},"status":{"run":"x"}}`), &k))
	assert.ErrorContains(t, k.Malformed(), "status: ")
	assert.Equal(t, "a", k.Spec.User)
	assert.Equal(t, JupyterKernelStatus{}, k.Status)
	text, err := json.Marshal(&k)
	require.NoError(t, err)
	assert.Contains(t, string(text), `"user":"a"`)
	assert.Error(t, json.Unmarshal([]byte(`{"metadata":{"name":5}}`), &k), "there is nothing to name it by")
	assert.Error(t, json.Unmarshal([]byte(`[]`), &k))
	require.NoError(t, json.Unmarshal([]byte(`{"metadata":{"name":"k","creationTimestamp":null}}`), &k))
	assert.Equal(t, metav1.Time{}, k.CreationTimestamp)
}
