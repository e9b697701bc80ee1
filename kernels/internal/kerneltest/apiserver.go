package kerneltest

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/test/apiserver"
)

// Scheme knows Kubernetes' kinds and ours.
var Scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	return s
}()

var apiServer *rest.Config // nil without KUBEBUILDER_ASSETS

// Main runs the tests of a package with an API server, where there is one. root
// is the way from the package to the root of the module.
func Main(m *testing.M, root string) int {
	ctrl.SetLogger(logr.Discard())
	if os.Getenv("TEST_LOG") != "" {
		ctrl.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, nil)))
	}
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return m.Run()
	}
	environment := apiserver.Environment(filepath.Join(root, "charts", "elastichub", "crds"))
	environment.ControlPlane.GetAPIServer().Configure().Append("feature-gates", "DRAExtendedResource=true")
	started, err := environment.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "envtest:", err)
		return 1
	}
	started.QPS, started.Burst = 500, 1000
	apiServer = started
	code := m.Run()
	if err := environment.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "envtest:", err)
	}
	return code
}

// APIServer is the real API server of the package's tests. Without one the test
// is skipped, but in CI it fails.
func APIServer(t *testing.T) *rest.Config {
	t.Helper()
	if apiServer == nil && os.Getenv("CI") == "true" {
		t.Fatal("KUBEBUILDER_ASSETS must be set in CI")
	}
	if apiServer == nil {
		t.Skip("KUBEBUILDER_ASSETS is not set")
	}
	return apiServer
}

// Namespace is one of the API server, of the test's own, in which no controller
// runs.
type Namespace struct {
	*testing.T
	client.Client
	Name string
}

// NewNamespace makes one.
func NewNamespace(t *testing.T) Namespace {
	t.Helper()
	api, err := client.New(APIServer(t), client.Options{Scheme: Scheme})
	require.NoError(t, err)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "kernels-"}}
	require.NoError(t, api.Create(t.Context(), namespace))
	return Namespace{T: t, Client: api, Name: namespace.Name}
}

// Make creates objects in the namespace.
func (n Namespace) Make(objects ...client.Object) {
	n.Helper()
	for _, o := range objects {
		o.SetNamespace(n.Name)
		require.NoError(n, n.Create(n.Context(), o), o.GetName())
	}
}

// Find reads an object of the namespace, and reports whether it is there and stays.
func (n Namespace) Find(name string, into client.Object) bool {
	n.Helper()
	err := n.Get(n.Context(), client.ObjectKey{Namespace: n.Name, Name: name}, into)
	require.NoError(n, client.IgnoreNotFound(err))
	return err == nil && into.GetDeletionTimestamp() == nil
}
