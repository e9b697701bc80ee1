package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	chart "github.com/elastichub/elastichub/charts/elastichub"
)

// TestApplyCRDs: an empty cluster gets the kinds, an older definition becomes
// the new one whoever wrote it, and doing it again changes nothing.
func TestApplyCRDs(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS is not set: a kube-apiserver is needed")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no kube-apiserver")
	}
	environment := &envtest.Environment{}
	config, err := environment.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, environment.Stop()) })
	c, err := client.New(config, client.Options{})
	require.NoError(t, err)

	const name = "jupytergateways.kubeflow.tkestack.io"
	text, err := chart.CRDs.ReadFile("crds/kubeflow.tkestack.io_jupytergateways.yaml")
	require.NoError(t, err)
	older := strings.Replace(string(text), "shortNames:\n    - jg\n", "shortNames:\n    - old\n", 1)
	require.NotEqual(t, string(text), older)
	var out bytes.Buffer
	require.NoError(t, applyCRDs(t.Context(), c, fstest.MapFS{"crds/a.yaml": {Data: []byte(older)}}, &out))
	assert.Equal(t, name+"\n", out.String())
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	read := func() []string {
		require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: name}, crd))
		names, _, err := unstructured.NestedStringSlice(crd.Object, "spec", "names", "shortNames")
		require.NoError(t, err)
		return names
	}
	require.Equal(t, []string{"old"}, read())

	// as Helm installs it: by an update, of another manager
	require.NoError(t, retry.RetryOnConflict(retry.DefaultBackoff, func() error { // the API server writes its status
		read()
		require.NoError(t, unstructured.SetNestedStringSlice(crd.Object, []string{"older"}, "spec", "names", "shortNames"))
		return c.Update(t.Context(), crd, client.FieldOwner("helm"))
	}))
	out.Reset()
	require.NoError(t, applyCRDs(t.Context(), c, chart.CRDs, &out))
	assert.Len(t, strings.Fields(out.String()), 6)
	assert.Equal(t, []string{"jg"}, read())
	require.Eventually(t, func() bool { // the last that the API server writes by itself
		read()
		names, _, err := unstructured.NestedStringSlice(crd.Object, "status", "acceptedNames", "shortNames")
		return err == nil && slices.Equal([]string{"jg"}, names)
	}, time.Minute, 20*time.Millisecond)
	version := crd.GetResourceVersion()
	require.NoError(t, applyCRDs(t.Context(), c, chart.CRDs, &out))
	assert.Equal(t, []string{"jg"}, read())
	assert.Equal(t, version, crd.GetResourceVersion())
}
