// Package demo tests the demo chart as Helm renders it.
package demo

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/test/helm"
)

var update = flag.Bool("update", false, "rewrite the golden file")

func render(t *testing.T, args ...string) string {
	t.Helper()
	out, err := helm.Run(t, append([]string{"template", "demo", ".", "--namespace", "elastichub", "--kube-version", "1.34"}, args...)...)
	require.NoError(t, err, out)
	return out
}

// generated are the values that are random in a first installation.
var generated = regexp.MustCompile(`(?m)^(  (?:proxy-token|cookie-secret|crypt-key|api-token|token): )[A-Za-z0-9+/=]{64,}$`)

func TestRenderedChart(t *testing.T) {
	t.Parallel()
	out := render(t)
	assert.Len(t, generated.FindAllString(out, -1), 6, "random values")
	out = generated.ReplaceAllString(out, "${1}RANDOM")
	if *update {
		require.NoError(t, os.WriteFile("testdata/demo.yaml", []byte(out), 0o644))
	}
	golden, err := os.ReadFile("testdata/demo.yaml")
	require.NoError(t, err)
	assert.Equal(t, string(golden), out, "go test ./charts/demo -update rewrites testdata/demo.yaml")
}

// TestObjectsAreWhatTheirKindsSay decodes every object strictly: a misspelt
// field would be dropped by the API server without a word.
func TestObjectsAreWhatTheirKindsSay(t *testing.T) {
	t.Parallel()
	kinds := map[string]func() runtime.Object{
		"ConfigMap":             func() runtime.Object { return &corev1.ConfigMap{} },
		"Secret":                func() runtime.Object { return &corev1.Secret{} },
		"Service":               func() runtime.Object { return &corev1.Service{} },
		"PersistentVolumeClaim": func() runtime.Object { return &corev1.PersistentVolumeClaim{} },
		"Deployment":            func() runtime.Object { return &appsv1.Deployment{} },
		"GroupPolicy":           func() runtime.Object { return &v1alpha1.GroupPolicy{} },
		"JupyterGateway":        func() runtime.Object { return &v1alpha1.JupyterGateway{} },
		"JupyterKernelSpec":     func() runtime.Object { return &v1alpha1.JupyterKernelSpec{} },
	}
	policies, specs := map[string]v1alpha1.GroupPolicySpec{}, map[string]v1alpha1.JupyterKernelSpecSpec{}
	var gateway v1alpha1.JupyterGatewaySpec
	var deployments []string
	for _, document := range documents(t, render(t, "--set", "kernelIdleSeconds=15")) {
		var head metav1.PartialObjectMetadata
		require.NoError(t, strict.Unmarshal(document, &head))
		create, known := kinds[head.Kind]
		require.True(t, known, "kind %s", head.Kind)
		object := create()
		require.NoError(t, v1alpha1.UnmarshalStrict(document, object), "%s %s", head.Kind, head.Name)
		switch object := object.(type) {
		case *v1alpha1.GroupPolicy:
			policies[object.Name] = object.Spec
		case *v1alpha1.JupyterKernelSpec:
			specs[object.Name] = object.Spec
		case *v1alpha1.JupyterGateway:
			gateway = object.Spec
		case *appsv1.Deployment:
			deployments = append(deployments, object.Name)
			checkRestricted(t, object)
		}
	}
	assert.ElementsMatch(t, []string{"hub", "proxy", "directory"}, deployments)
	require.Len(t, policies, 3)
	require.Contains(t, policies, "ml-research")
	assert.Equal(t, resource.MustParse("4"), policies["ml-research"].CPU.Max)
	assert.Equal(t, resource.MustParse("6Gi"), policies["ml-research"].Memory.Max)
	assert.Equal(t, int32(2), policies["ml-research"].Kernels.GPUsPerUser)
	require.Contains(t, policies, "analysts")
	assert.Equal(t, resource.MustParse("1"), policies["analysts"].CPU.Max)
	assert.Zero(t, policies["analysts"].Kernels.GPUsPerKernel)
	require.Contains(t, policies, "platform-admins")
	assert.Equal(t, resource.MustParse("8"), policies["platform-admins"].CPU.Max)

	assert.ElementsMatch(t, []string{"python-cpu", "python-gpu"}, gateway.Kernels)
	require.NotNil(t, gateway.CullIdleTimeout)
	assert.Equal(t, int32(15), *gateway.CullIdleTimeout)
	for name, policy := range policies {
		assert.Equal(t, int64(15), policy.Kernels.IdleSeconds, name)
		assert.Subset(t, gateway.Kernels, policy.Kernels.Allowed, name)
	}
	gpu := corev1.ResourceName("nvidia.com/gpu")
	require.Contains(t, specs, "python-gpu")
	assert.Equal(t, resource.MustParse("1"), specs["python-gpu"].Resources.Limits[gpu])
	require.Contains(t, specs, "python-cpu")
	assert.NotContains(t, specs["python-cpu"].Resources.Limits, gpu)
	assert.Subset(t, gateway.Kernels, []string{"python-cpu", "python-gpu"})
	for _, client := range gateway.Auth.Clients {
		for _, policy := range client.Policies {
			assert.Contains(t, policies, policy, "policy of client %s", client.Name)
		}
	}
}

// checkRestricted checks what Pod Security "restricted" asks for, and a
// read-only file system on top.
func checkRestricted(t *testing.T, deployment *appsv1.Deployment) {
	t.Helper()
	pod := deployment.Spec.Template.Spec
	require.NotNil(t, pod.SecurityContext, deployment.Name)
	assert.Equal(t, new(true), pod.SecurityContext.RunAsNonRoot, deployment.Name)
	assert.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type, deployment.Name)
	assert.Equal(t, new(false), pod.AutomountServiceAccountToken, deployment.Name)
	for _, container := range pod.Containers {
		context := container.SecurityContext
		require.NotNil(t, context, container.Name)
		assert.Equal(t, new(false), context.AllowPrivilegeEscalation, container.Name)
		assert.Equal(t, new(true), context.ReadOnlyRootFilesystem, container.Name)
		require.NotNil(t, context.Capabilities, container.Name)
		assert.Equal(t, []corev1.Capability{"ALL"}, context.Capabilities.Drop, container.Name)
		assert.NotZero(t, container.Resources.Limits.Memory().Value(), container.Name)
		assert.LessOrEqual(t, container.Resources.Requests.Cpu().MilliValue(), int64(100), container.Name)
	}
}

// TestNodesNeedNotHavePorts: on a cluster that exists the ports of nodes may be taken, by
// another demo too.
// images are all that a Pod's container, a policy or a kernelspec of the chart names.
var images = regexp.MustCompile(`(?m)^ *(?:- )?image: (.*)$`)

// TestOneRegistryForAll: one value moves all images, but for those that are named.
func TestOneRegistryForAll(t *testing.T) {
	t.Parallel()
	kinds := map[string]bool{}
	for _, found := range images.FindAllStringSubmatch(render(t, "--set", "image.registry=registry.example.org/a,image.tag=1.2"), -1) {
		kinds[found[1]] = true
	}
	assert.Equal(t, map[string]bool{
		"registry.example.org/a/hub:1.2": true, "registry.example.org/a/directory:1.2": true,
		"registry.example.org/a/notebook:1.2": true, "registry.example.org/a/kernel:1.2": true,
	}, kinds)
	out := render(t, "--set", "image.registry=registry.example.org/a,images.kernel=example.org/r:2")
	assert.Contains(t, out, "image: example.org/r:2\n")
	assert.NotContains(t, out, "/kernel:")
	assert.Regexp(t, `image: registry\.example\.org/a/hub:[0-9]+\.[0-9]+\.[0-9]+\n`, out)
}

func TestNodesNeedNotHavePorts(t *testing.T) {
	t.Parallel()
	services := 0
	for _, document := range documents(t, render(t, "--set", "serviceType=ClusterIP")) {
		var service corev1.Service
		if strict.Unmarshal(document, &service) != nil || service.Kind != "Service" {
			continue
		}
		services++
		assert.NotEqual(t, corev1.ServiceTypeNodePort, service.Spec.Type, service.Name)
		for _, port := range service.Spec.Ports {
			assert.Zero(t, port.NodePort, service.Name)
		}
	}
	assert.Equal(t, 5, services)
}

func TestMistakesInValuesStopTheInstallation(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]string{
		"unknown key":      "kernelIdleSecond=15",
		"never idle":       "kernelIdleSeconds=0",
		"not a node port":  "nodePorts.hub=80",
		"no password":      "password=",
		"type of Services": "serviceType=LoadBalancer",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := helm.Run(t, "template", "demo", ".", "--kube-version", "1.34", "--set", set)
			require.Error(t, err)
			key, _, _ := strings.Cut(set, "=")
			assert.Contains(t, out, key[strings.LastIndex(key, ".")+1:])
			assert.Contains(t, out, "values don't meet the specifications of the schema")
		})
	}
}

func documents(t *testing.T, text string) [][]byte {
	t.Helper()
	reader := yaml.NewDocumentDecoder(io.NopCloser(strings.NewReader(text)))
	defer reader.Close()
	var found [][]byte
	buffer := make([]byte, 1<<20)
	for {
		n, err := reader.Read(buffer)
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(t, err)
		if document := bytes.TrimSpace(buffer[:n]); len(document) > 0 {
			found = append(found, bytes.Clone(document))
		}
	}
}
