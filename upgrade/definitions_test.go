package upgrade

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/elastichub/elastichub/api/v1alpha1"
	chart "github.com/elastichub/elastichub/charts/elastichub"
	"github.com/elastichub/elastichub/test/apiserver"
)

const gatewaysKind = "jupytergateways.kubeflow.tkestack.io"

// apiServer is a real one, without kinds, that ends with the test.
func apiServer(t *testing.T) (client.Client, *envtest.Environment) {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS is not set: a kube-apiserver is needed")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no kube-apiserver")
	}
	ctrl.SetLogger(logr.Discard())
	environment := apiserver.Environment()
	config, err := environment.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, environment.Stop()) })
	config.QPS, config.Burst = 500, 1000
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, apiextensionsv1.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	c, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	return c, environment
}

// kindFile is one of the chart's definitions.
func kindFile(t *testing.T, name string) string {
	t.Helper()
	text, err := chart.CRDs.ReadFile("crds/" + name + ".yaml")
	require.NoError(t, err)
	return string(text)
}

// otherwise is a text in which something stands in the place of something else.
func otherwise(t *testing.T, text, former, next string) string {
	t.Helper()
	require.Equal(t, 1, strings.Count(text, former), former)
	return strings.Replace(text, former, next, 1)
}

// TestApplyKinds: an empty cluster gets the kinds, an older definition becomes the new one
// whoever wrote it, doing it again changes nothing, and a newer one is not brought back.
func TestApplyKinds(t *testing.T) {
	t.Parallel()
	c, _ := apiServer(t)
	text := kindFile(t, "kubeflow.tkestack.io_jupytergateways")
	older := otherwise(t, text, "shortNames:\n    - jg\n", "shortNames:\n    - old\n")
	var out bytes.Buffer
	require.NoError(t, ApplyKinds(t.Context(), c, fstest.MapFS{"crds/a.yaml": {Data: []byte(older)}}, RefuseNewer, &out))
	assert.Equal(t, gatewaysKind+"\n", out.String())
	crd := &apiextensionsv1.CustomResourceDefinition{}
	read := func() []string {
		require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: gatewaysKind}, crd))
		return crd.Spec.Names.ShortNames
	}
	require.Equal(t, []string{"old"}, read())
	write := func(change func()) {
		require.NoError(t, retry.RetryOnConflict(retry.DefaultBackoff, func() error { // the API server writes its status
			read()
			change()
			return c.Update(t.Context(), crd, client.FieldOwner("helm"))
		}))
	}

	// as Helm installs it: by an update, of another manager
	write(func() { crd.Spec.Names.ShortNames = []string{"older"} })
	out.Reset()
	require.NoError(t, ApplyKinds(t.Context(), c, chart.CRDs, RefuseNewer, &out))
	assert.Len(t, strings.Fields(out.String()), 6)
	assert.Equal(t, []string{"jg"}, read())
	require.Eventually(t, func() bool { // the last that the API server writes by itself
		read()
		return slices.Equal([]string{"jg"}, crd.Status.AcceptedNames.ShortNames)
	}, time.Minute, 20*time.Millisecond)
	version := crd.ResourceVersion
	require.NoError(t, ApplyKinds(t.Context(), c, chart.CRDs, RefuseNewer, &out))
	assert.Equal(t, []string{"jg"}, read())
	assert.Equal(t, version, crd.ResourceVersion)

	write(func() {
		crd.Annotations[v1alpha1.AnnotationRelease] = "9.0.0"
		crd.Spec.Names.ShortNames = []string{"newer"}
	})
	out.Reset()
	require.ErrorContains(t, ApplyKinds(t.Context(), c, chart.CRDs, RefuseNewer, &out), gatewaysKind+" is of 9.0.0, and this is ")
	assert.Empty(t, out.String(), "none is written")
	require.NoError(t, ApplyKinds(t.Context(), c, chart.CRDs, KeepNewer, &out))
	assert.Contains(t, out.String(), gatewaysKind+" stays as 9.0.0 has it, which is newer\n")
	assert.Equal(t, []string{"newer"}, read())
}
