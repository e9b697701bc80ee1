package gather

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/doctor"
	"github.com/elastichub/elastichub/test/apiserver"
	"github.com/elastichub/elastichub/test/helm"
)

const namespace = "jupyterhub"

// site is an installation on a real API server, in which nothing is wrong.
type site struct {
	t      *testing.T
	config *rest.Config
	api    client.Client
	// values are those of the installation.
	values string
	hub    string
}

// newSite installs the chart as Helm renders it, with a policy, kernels, a node with
// GPUs, a storage class and an engine of NetworkPolicies.
func newSite(t *testing.T) *site {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS is not set: a kube-apiserver is needed")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no kube-apiserver")
	}
	crds := filepath.Join("..", "..", "charts", "elastichub", "crds")
	environment := apiserver.Environment(crds)
	environment.ControlPlane.GetAPIServer().Configure().Append("feature-gates", "DRAExtendedResource=true")
	config, err := environment.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, environment.Stop()) })
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	s := &site{t: t, config: config}
	s.api, err = client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)

	s.hub = hubOf(t, "right")
	s.values = fmt.Sprintf(`
image: {name: registry.example.org/elastichub}
notebooks: {image: registry.example.org/notebook}
kernels: {image: registry.example.org/kernel}
hub: {apiURL: %q, tokenSecret: hub-api}
groups:
  ldap:
    urls: [%q]
    startTLS: false
    allowPlaintext: true
    bindDN: cn=elastichub,dc=example,dc=org
    bindPasswordSecret: ldap-bind
    userBase: ou=people,dc=example,dc=org
`, s.hub, "ldap://"+directoryOf(t))
	s.make(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	s.make(secret("hub-api", "token", "right"))
	s.make(secret("ldap-bind", "password", "secret"))
	rendered, err := helm.Run(t, "template", "elastichub", filepath.Join("..", "..", "charts", "elastichub"), "--namespace", namespace,
		"--kube-version", "1.34", "--no-hooks", "--skip-crds", "--values", s.file(s.values))
	require.NoError(t, err, rendered)
	s.apply(rendered)
	s.apply(`
apiVersion: kubeflow.tkestack.io/v1alpha1
kind: JupyterGateway
metadata: {name: default}
spec: {kernels: [python-gpu]}
---
apiVersion: kubeflow.tkestack.io/v1alpha1
kind: JupyterKernelSpec
metadata: {name: python-gpu}
spec: {language: python, resources: {limits: {cpu: "1", memory: 1Gi, nvidia.com/gpu: 1}}}
---
apiVersion: kubeflow.tkestack.io/v1alpha1
kind: GroupPolicy
metadata: {name: research}
spec:
  groups: [research]
  cpu: {min: 500m, max: "4"}
  memory: {min: 512Mi, max: 6Gi}
  images: [{id: stable, image: registry.example.org/notebook}]
  storage: {home: {size: 10Gi}}
  kernels: {allowed: [python-gpu], gpusPerKernel: 1, gpusPerUser: 2}
`)
	s.make(&storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: "standard", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: "disks.example.org",
	})
	s.make(engine())
	s.node("gpu-1", "nvidia.com/gpu")
	return s
}

func secret(name, key, value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, StringData: map[string]string{key: value}}
}

func engine() *appsv1.DaemonSet {
	labels := map[string]string{"app": "calico-node"}
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "calico-node"},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "node", Image: "calico"}}},
			},
		},
	}
}

// hubOf is a Hub that knows one token.
func hubOf(t *testing.T, token string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Authorization") != "token "+token {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, `{"kind": "service", "name": "elastichub", "scopes": ["read:users", "read:users:groups", "servers"]}`)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/hub/api"
}

// directoryOf is a directory that takes one password and has no entries.
func directoryOf(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serveDirectory(conn)
		}
	}()
	return listener.Addr().String()
}

// Operations of LDAP, by their tags in RFC 4511.
const (
	bindRequest, bindResponse  = 0, 1
	searchRequest, searchDone  = 3, 5
	success, invalidCredential = 0, 49
)

func serveDirectory(conn net.Conn) {
	defer conn.Close()
	for {
		request, err := ber.ReadPacket(conn)
		if err != nil || len(request.Children) < 2 {
			return
		}
		id, operation := request.Children[0].Value, request.Children[1]
		tag, code := ber.Tag(searchDone), success
		switch operation.Tag {
		case bindRequest:
			tag = bindResponse
			if operation.Children[2].Data.String() != "secret" {
				code = invalidCredential
			}
		case searchRequest:
		default:
			return // unbind
		}
		answer := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
		answer.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
		result := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
		result.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""))
		result.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
		result.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
		answer.AppendChild(result)
		if _, err := conn.Write(answer.Bytes()); err != nil {
			return
		}
	}
}

// file writes a text to a file.
func (s *site) file(text string) string {
	name := filepath.Join(s.t.TempDir(), "values.yaml")
	require.NoError(s.t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// make creates an object, which goes with the test.
func (s *site) make(object client.Object) {
	s.t.Helper()
	require.NoError(s.t, s.api.Create(s.t.Context(), object))
	s.t.Cleanup(func() { _ = s.api.Delete(context.Background(), object) })
}

// apply writes objects as kubectl does.
func (s *site) apply(text string) {
	s.t.Helper()
	for document := range strings.SplitSeq(text, "\n---\n") {
		object := &unstructured.Unstructured{}
		require.NoError(s.t, yaml.Unmarshal([]byte(document), &object.Object))
		if len(object.Object) == 0 {
			continue
		}
		if object.GetNamespace() == "" {
			object.SetNamespace(namespace)
		}
		err := s.api.Apply(s.t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("test"), client.ForceOwnership)
		require.NoError(s.t, err, document)
	}
}

// node makes one that takes Pods and offers two of each resource.
func (s *site) node(name string, resources ...corev1.ResourceName) {
	s.t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	s.make(node)
	require.NoError(s.t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := s.api.Get(s.t.Context(), client.ObjectKeyFromObject(node), node); err != nil {
			return err
		}
		node.Spec.Taints = nil // not-ready, which its kubelet would take away
		return s.api.Update(s.t.Context(), node)
	}))
	node.Status.Allocatable = corev1.ResourceList{}
	for _, resource := range resources {
		node.Status.Allocatable[resource] = quantity("2")
	}
	node.Status.Capacity = node.Status.Allocatable
	require.NoError(s.t, s.api.Status().Update(s.t.Context(), node))
}

// change updates an object, and puts it back with the test.
func change[T client.Object](s *site, object T, write func(T)) {
	s.t.Helper()
	key := client.ObjectKeyFromObject(object)
	require.NoError(s.t, s.api.Get(s.t.Context(), key, object))
	before := object.DeepCopyObject().(client.Object)
	write(object)
	require.NoError(s.t, s.api.Update(s.t.Context(), object))
	s.t.Cleanup(func() {
		require.NoError(s.t, s.api.Get(context.Background(), key, object))
		before.SetResourceVersion(object.GetResourceVersion())
		require.NoError(s.t, s.api.Update(context.Background(), before))
	})
}

// remove deletes an object, and makes it again with the test.
func (s *site) remove(object client.Object) {
	s.t.Helper()
	require.NoError(s.t, s.api.Get(s.t.Context(), client.ObjectKeyFromObject(object), object))
	require.NoError(s.t, s.api.Delete(s.t.Context(), object))
	s.t.Cleanup(func() {
		object.SetResourceVersion("")
		object.SetUID("")
		require.NoError(s.t, s.api.Create(context.Background(), object))
	})
}

// examine looks at the site, with other values over its own.
func (s *site) examine(over string) doctor.Report {
	s.t.Helper()
	files := []string{s.file(s.values), s.file(over)}
	picture, err := Gather(s.t.Context(), s.config, Options{Release: "elastichub", Namespace: namespace, ValuesFiles: files})
	require.NoError(s.t, err)
	return doctor.Diagnose(picture)
}

// TestBrokenInstallations breaks a good installation in one way after the other; each is
// named by its check, and by no other, and the good one is good again afterwards.
func TestBrokenInstallations(t *testing.T) {
	whole := newSite(t)
	good := func(t *testing.T) {
		t.Helper()
		assert.Equal(t, doctor.Report{Problems: []doctor.Problem{}, NotChecked: []string{}}, (&site{t: t, config: whole.config, api: whole.api, values: whole.values}).examine(""))
	}
	good(t)
	for _, row := range []struct {
		name, check, says string
		over              string
		spoil             func(*site)
	}{
		{name: "too old", check: "kubernetes-version", says: "v1.29.3", spoil: func(s *site) {
			s.config = rest.CopyConfig(s.config)
			s.config.Wrap(func(next http.RoundTripper) http.RoundTripper { return older{next} })
		}},
		{name: "a server that the Hub does not know to run", check: "orphans", says: "jupyter-zoe (HubServerStopped)", spoil: func(s *site) {
			nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "jupyter-zoe", Namespace: namespace}}
			nb.Spec.Gateway = &corev1.ObjectReference{Name: "default"}
			s.make(nb)
			nb.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionOrphan, Status: metav1.ConditionTrue, Reason: "HubServerStopped", LastTransitionTime: metav1.Now()}}
			require.NoError(s.t, s.api.Status().Update(s.t.Context(), nb))
		}},
		{name: "a value that does not exist", check: "values", says: "idleTimeout'", over: "kernels: {idleTimeout: 5}"},
		{name: "a value that is required", check: "values", says: "notebooks.image", over: `notebooks: {image: ""}`},
		{name: "kinds of another version", check: "kinds", says: "grouppolicies.kubeflow.tkestack.io", spoil: func(s *site) {
			crd := &unstructured.Unstructured{}
			crd.SetGroupVersionKind(crdKind)
			crd.SetName("grouppolicies.kubeflow.tkestack.io")
			change(s, crd, func(crd *unstructured.Unstructured) {
				versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
				require.NoError(s.t, err)
				spec := []string{"schema", "openAPIV3Schema", "properties", "spec", "properties"}
				unstructured.RemoveNestedField(versions[0].(map[string]any), append(spec, "pod")...)
				require.NoError(s.t, unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions"))
			})
		}},
		{name: "a Role without its binding", check: "rights", says: "deployments.apps", spoil: func(s *site) {
			s.remove(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "elastichub"}})
		}},
		{name: "no rights to see nodes", check: "rights", says: "nodes of the whole cluster", spoil: func(s *site) {
			s.remove(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: namespace + "-elastichub-capacity"}})
		}},
		{name: "a Secret that does not exist", check: "secrets", says: "prometheus", over: "metrics: {tokenSecret: prometheus}"},
		{name: "a token that the Hub does not know", check: "hub-token", says: "refuses", spoil: func(s *site) {
			change(s, secret("hub-api", "token", ""), func(s *corev1.Secret) { s.Data = map[string][]byte{"token": []byte("wrong")} })
		}},
		{name: "no Hub", check: "hub-token", says: "does not answer", over: "hub: {apiURL: \"http://127.0.0.1:1/hub/api\"}"},
		{name: "a Hub that is no Service", check: "hub-token", says: "no Service elsewhere", over: "hub: {apiURL: \"http://elsewhere.jupyterhub.svc:8081/hub/api\"}"},
		{name: "no directory", check: "directory", says: "does not answer", over: "groups: {ldap: {urls: [\"ldap://127.0.0.1:1\"]}}"},
		{name: "a wrong password of the directory", check: "directory", says: "does not serve", spoil: func(s *site) {
			change(s, secret("ldap-bind", "password", ""), func(s *corev1.Secret) { s.Data = map[string][]byte{"password": []byte("old")} })
		}},
		{name: "no policy", check: "policies", says: "nobody gets a server", spoil: func(s *site) { s.remove(policy()) }},
		{name: "a kernel that does not exist", check: "kernel-names", says: "research allows kernels that do not exist: r-gpu", spoil: func(s *site) {
			change(s, policy(), func(p *v1alpha1.GroupPolicy) { p.Spec.Kernels.Allowed = append(p.Spec.Kernels.Allowed, "r-gpu") })
		}},
		{name: "no gateway", check: "kernel-names", says: "no JupyterGateway other", over: "notebooks: {gateway: other}"},
		{name: "no default storage class", check: "storage-class", says: "no default storage class", spoil: func(s *site) {
			change(s, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "standard"}}, func(c *storagev1.StorageClass) { c.Annotations = nil })
		}},
		{name: "a storage class that does not exist", check: "storage-class", says: "fast, which does not exist", spoil: func(s *site) {
			change(s, policy(), func(p *v1alpha1.GroupPolicy) { p.Spec.Storage.Home.StorageClassName = new("fast") })
		}},
		{name: "GPU nodes apart", check: "homes", says: "nodes without nvidia.com/gpu (cpu-1)", spoil: func(s *site) { s.node("cpu-1") }},
		{name: "a pool scaled to zero", check: "gpu-resource", says: "nvidia.com/mig-1g.5gb, which GroupPolicy research", spoil: func(s *site) {
			change(s, policy(), func(p *v1alpha1.GroupPolicy) { p.Spec.Kernels.GPUResource = "nvidia.com/mig-1g.5gb" })
		}},
		{name: "a pool that takes nobody", check: "gpu-resource", says: "takes Pods of the policy research",
			over: "kernels: {nodePools: [{name: a, labels: {pool: a}, resources: {nvidia.com/mig-1g.5gb: 7}, maxNodes: 2, taints: [{key: only, effect: NoSchedule}]}]}",
			spoil: func(s *site) {
				change(s, policy(), func(p *v1alpha1.GroupPolicy) { p.Spec.Kernels.GPUResource = "nvidia.com/mig-1g.5gb" })
			}},
		{name: "nodes that take nobody", check: "gpu-resource", says: "takes Pods of the policy research", spoil: func(s *site) {
			change(s, policy(), func(p *v1alpha1.GroupPolicy) { p.Spec.NodeSelector = map[string]string{"pool": "a100"} })
		}},
		{name: "devices by claims", check: "dynamic-allocation", says: "no ResourceSlice has a device of it", spoil: func(s *site) {
			s.apply(`
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: gpu.example.com}
spec: {extendedResourceName: example.com/gpu}
`)
			class := &unstructured.Unstructured{}
			class.SetAPIVersion("resource.k8s.io/v1")
			class.SetKind("DeviceClass")
			class.SetName("gpu.example.com")
			s.t.Cleanup(func() { assert.NoError(s.t, s.api.Delete(context.Background(), class)) })
			change(s, policy(), func(p *v1alpha1.GroupPolicy) { p.Spec.Kernels.GPUResource = "example.com/gpu" })
		}},
		{name: "nothing enforces NetworkPolicies", check: "network-policies", says: "close nothing", spoil: func(s *site) { s.remove(engine()) }},
		{name: "an image that cannot be pulled", check: "images", says: "registry.example.org/kernel@sha256:0", spoil: func(s *site) {
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "kernel-1"},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "kernel", Image: "registry.example.org/kernel@sha256:0"}}},
			}
			s.make(pod)
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "kernel", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}
			require.NoError(s.t, s.api.Status().Update(s.t.Context(), pod))
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := &site{t: t, config: whole.config, api: whole.api, values: whole.values}
			if row.spoil != nil {
				row.spoil(s)
			}
			report := s.examine(row.over)
			require.NotEmpty(t, report.Problems)
			for _, p := range report.Problems {
				assert.Equal(t, row.check, p.Check, p.What)
				assert.NotEmpty(t, p.Fix)
			}
			var text strings.Builder
			require.NoError(t, report.WriteText(&text))
			assert.Contains(t, text.String(), row.says)
			assert.Len(t, strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n"), len(report.Problems))
		})
	}
	good(t)
	t.Run("a pool that is named", func(t *testing.T) {
		s := &site{t: t, config: whole.config, api: whole.api, values: whole.values}
		change(s, policy(), func(p *v1alpha1.GroupPolicy) {
			p.Spec.Kernels.GPUResource = "nvidia.com/mig-1g.5gb"
			p.Spec.NodeSelector = map[string]string{"pool": "a"}
		})
		assert.Empty(t, s.examine("kernels: {nodePools: [{name: a, labels: {pool: a}, resources: {nvidia.com/mig-1g.5gb: 7}, maxNodes: 2}]}").Problems)
	})
}

// TestBeforeTheInstallation: on a cluster without the release only the cluster and the
// values count, and what only the installation brings is no problem.
func TestBeforeTheInstallation(t *testing.T) {
	s := newSite(t)
	ctx := t.Context()
	for _, crd := range []string{"grouppolicies", "jupytergateways", "jupyterkernels", "jupyterkernelspecs", "jupyterkerneltemplates", "jupyternotebooks"} {
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(crdKind)
		object.SetName(crd + ".kubeflow.tkestack.io")
		require.NoError(t, s.api.Delete(ctx, object))
		require.Eventually(t, func() bool { return s.api.Get(ctx, client.ObjectKeyFromObject(object), object) != nil }, time.Minute, 20*time.Millisecond)
	}
	require.NoError(t, s.api.Delete(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "elastichub"}}))
	report := s.examine("")
	assert.Empty(t, report.Problems)
	require.Len(t, report.NotChecked, 1)
	assert.Contains(t, report.NotChecked[0], "the release elastichub is not in the namespace jupyterhub")
}

func policy() *v1alpha1.GroupPolicy {
	return &v1alpha1.GroupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "research"}}
}

// older is an API server of a former release, as far as it says.
type older struct{ next http.RoundTripper }

func (o older) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := o.next.RoundTrip(r)
	if err == nil && r.URL.Path == "/version" {
		answer.Body.Close()
		answer.Body, answer.ContentLength = io.NopCloser(strings.NewReader(`{"major": "1", "minor": "29", "gitVersion": "v1.29.3"}`)), -1
	}
	return answer, err
}
