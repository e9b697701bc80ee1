package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/doctor"
)

// registry answers as one that wants to know who asks.
func registry(t *testing.T, status int) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://") + "/elastichub"
}

// says are the checks and what they found, without the fixes, of which none may be missing.
func says(t *testing.T, report doctor.Report) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, p := range report.Problems {
		assert.NotEmpty(t, p.Fix, p.Check)
		found[p.Check] += p.What
	}
	return found
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	withTLS := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(withTLS.Close)
	for name, want := range map[string]string{
		registry(t, http.StatusOK):           "",
		registry(t, http.StatusUnauthorized): "",
		registry(t, http.StatusNotFound):     "as no registry does",
		"":                                   "REGISTRY is not given",
		"elastichub":                         "is not HOST[:PORT][/PATH]",
		"Registry.example.org/a":             "is not HOST[:PORT][/PATH]",
		"registry.example.org/a/":            "is not HOST[:PORT][/PATH]",
		"https://registry.example.org":       "is not HOST[:PORT][/PATH]",
		closed.Addr().String() + "/a":        "does not answer",
		"registry.invalid:5000":              "does not answer",
		strings.TrimPrefix(withTLS.URL, "https://") + "/a": "as no registry does",
	} {
		problems := checkRegistry(t.Context(), name)
		if want == "" {
			assert.Empty(t, problems, name)
			continue
		}
		if assert.Len(t, problems, 1, name) {
			assert.Contains(t, problems[0].What, want, name)
			assert.NotEmpty(t, problems[0].Fix, name)
		}
	}
}

// TestClusters: what a real API server answers, of an administrator and of somebody else.
func TestClusters(t *testing.T) {
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
	api, err := client.New(config, client.Options{})
	require.NoError(t, err)
	write := func(text []byte) string {
		file := filepath.Join(t.TempDir(), "kubeconfig")
		require.NoError(t, os.WriteFile(file, text, 0o600))
		return file
	}
	s := site{kubeconfig: write(environment.KubeConfig), namespace: "demo", registry: registry(t, http.StatusOK)}

	report := s.examine(t.Context())
	assert.Equal(t, map[string]string{"storage-class": "the cluster has no StorageClass, so that the Hub's database and the homes have no volume"}, says(t, report))
	assert.Equal(t, []string{"no node offers nvidia.com/gpu: the demo runs, and a kernel that asks for a GPU waits in the queue and says so"}, report.NotChecked)

	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "slow"}, Provisioner: "example.org/slow"}
	require.NoError(t, api.Create(t.Context(), class))
	report = s.examine(t.Context())
	assert.Equal(t, map[string]string{"storage-class": "the cluster has no default StorageClass (only slow), so that the Hub's database and the homes have no volume"}, says(t, report))
	class.Annotations = map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}
	require.NoError(t, api.Update(t.Context(), class))
	assert.Empty(t, says(t, s.examine(t.Context())))

	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}}
	require.NoError(t, api.Create(t.Context(), node))
	node.Status.Capacity = corev1.ResourceList{gpuResource: resource.MustParse("1")}
	node.Status.Allocatable = node.Status.Capacity
	require.NoError(t, api.Status().Update(t.Context(), node))
	assert.Empty(t, s.examine(t.Context()).NotChecked)

	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	require.NoError(t, api.Create(t.Context(), namespace))
	assert.Contains(t, says(t, s.examine(t.Context()))["namespace"], "a namespace demo that make run has not made")
	namespace.Labels = map[string]string{labelMadeBy: madeByRun}
	require.NoError(t, api.Update(t.Context(), namespace))
	assert.Empty(t, says(t, s.examine(t.Context())))
	require.NoError(t, api.Delete(t.Context(), namespace)) // which takes a controller to end
	assert.Equal(t, map[string]string{"namespace": "the namespace demo is being deleted"}, says(t, s.examine(t.Context())))
	s.namespace = "other"

	text, err := os.ReadFile("../../elastichub/crds/kubeflow.tkestack.io_jupytergateways.yaml")
	require.NoError(t, err)
	kind := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal(text, &kind.Object))
	require.NoError(t, api.Create(t.Context(), kind))
	assert.Empty(t, says(t, s.examine(t.Context())), "the same kind")
	require.NoError(t, api.Patch(t.Context(), kind, client.RawPatch(types.MergePatchType, []byte(`{"spec": {"names": {"shortNames": ["former"]}}}`))))
	assert.Contains(t, says(t, s.examine(t.Context()))["kinds"], "other versions than this checkout of jupytergateways.kubeflow.tkestack.io,")
	require.NoError(t, api.Patch(t.Context(), kind, client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"labels": {"elastichub.io/made-by": "make-run"}}}`))))
	assert.Empty(t, says(t, s.examine(t.Context())), "a kind that run has made")

	reader, err := environment.AddUser(envtest.User{Name: "reader"}, nil)
	require.NoError(t, err)
	require.NoError(t, api.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "reader"}},
	}))
	asReader, err := reader.KubeConfig()
	require.NoError(t, err)
	as := s
	as.kubeconfig = write(asReader)
	found := says(t, as.examine(t.Context()))
	assert.Equal(t, "the account of the kubeconfig may not create namespaces, create customresourcedefinitions, create clusterroles, bind clusterroles, list nodes, list storageclasses", found["rights"])
	assert.NotContains(t, found, "storage-class", "which it may not see")

	as.kubeconfig, as.namespace, as.registry = "/nowhere", "De:mo", ""
	found = says(t, as.examine(t.Context()))
	assert.Contains(t, found["kubeconfig"], "no such file")
	assert.Contains(t, found["namespace"], "NAMESPACE=De:mo")
	assert.Contains(t, found["registry"], "REGISTRY is not given")
	as.kubeconfig = write([]byte("kind: Config\n"))
	assert.Contains(t, says(t, as.examine(t.Context())), "kubeconfig", "no context")
	away, err := clientcmd.Load(environment.KubeConfig)
	require.NoError(t, err)
	for _, cluster := range away.Clusters {
		cluster.Server = "https://127.0.0.1:1"
	}
	asAway, err := clientcmd.Write(*away)
	require.NoError(t, err)
	as.kubeconfig = write(asAway)
	assert.Contains(t, says(t, as.examine(t.Context()))["cluster"], "does not answer")
}
