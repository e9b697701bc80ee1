package elastichub

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/test/helm"
)

// TestKindsAreSmallEnough: etcd takes objects of up to 1.5 MiB, and Helm keeps a
// release, with all files of the chart, in a Secret of up to 1 MiB.
func TestKindsAreSmallEnough(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(CRDs, "crds/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, 6)
	for _, file := range files {
		text, err := CRDs.ReadFile(file)
		require.NoError(t, err)
		stored, err := yaml.YAMLToJSON(text)
		require.NoError(t, err)
		t.Logf("%s: %d KiB", file, len(stored)>>10)
		assert.Less(t, len(stored), 3<<19, file)
	}

	directory := t.TempDir()
	out, err := helm.Run(t, "package", ".", "--destination", directory)
	require.NoError(t, err, out)
	packages, err := filepath.Glob(filepath.Join(directory, "*.tgz"))
	require.NoError(t, err)
	require.Len(t, packages, 1)
	size := releaseSize(t, packages[0])
	t.Logf("a release: %d KiB", size>>10)
	assert.Less(t, size, 1<<20)
}

// releaseSize is what Helm's Secret holds of a chart: its files as JSON, in which
// they are base64, packed by gzip and written as base64 again.
func releaseSize(t *testing.T, chart string) int {
	t.Helper()
	file, err := os.Open(chart)
	require.NoError(t, err)
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	require.NoError(t, err)
	type entry struct {
		Name string `json:"name"`
		Data []byte `json:"data"`
	}
	var entries []entry
	for all := tar.NewReader(unpacked); ; {
		header, err := all.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		assert.NotContains(t, header.Name, "testdata", "what tests need is packaged")
		assert.NotContains(t, header.Name, ".go", "sources are packaged")
		data, err := io.ReadAll(all)
		require.NoError(t, err)
		entries = append(entries, entry{header.Name, data})
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	require.NoError(t, json.NewEncoder(w).Encode(entries))
	require.NoError(t, w.Close())
	return base64.StdEncoding.EncodedLen(packed.Len())
}

// apiServer is a real one with the kinds.
func apiServer(t *testing.T) (client.Client, *envtest.Environment) {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS is not set: a kube-apiserver is needed")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no kube-apiserver")
	}
	environment := &envtest.Environment{CRDDirectoryPaths: []string{"crds"}, ErrorIfCRDPathMissing: true}
	config, err := environment.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, environment.Stop()) })
	scheme := runtime.NewScheme()
	require.NoError(t, autoscalingv1.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	c, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	return c, environment
}

func TestKindsOnAnAPIServer(t *testing.T) {
	c, environment := apiServer(t)
	t.Run("explain", func(t *testing.T) { kubectlExplains(t, environment) })
	t.Run("predecessor", func(t *testing.T) { predecessorsManifestsApply(t, c) })
	t.Run("templates", func(t *testing.T) { templatesAreLenient(t, c) })
	t.Run("mistakes", func(t *testing.T) { mistakesAreRefused(t, c) })
	t.Run("identity", func(t *testing.T) { identityCannotBeChanged(t, c) })
	t.Run("scale", func(t *testing.T) { gatewaysScale(t, c) })
	t.Run("status", func(t *testing.T) { formerStatusIsTaken(t, c) })
}

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal([]byte(text), &o.Object))
	if o.GetAPIVersion() == "" {
		o.SetAPIVersion("kubeflow.tkestack.io/v1alpha1")
	}
	if o.GetNamespace() == "" {
		o.SetNamespace("default")
	}
	return o
}

func strictly(c client.Client) client.Client {
	return client.WithFieldValidation(c, metav1.FieldValidationStrict)
}

// predecessorsManifestsApply: all of elastic-jupyter-operator's examples and samples
// (commit fdc59f9 and later) are taken as they are, without an unknown field.
func predecessorsManifestsApply(t *testing.T, c client.Client) {
	files, err := filepath.Glob("../../examples/elastic-jupyter-operator/*/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, 14)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for i, part := range strings.Split(string(text), "\n---\n") {
			o := object(t, part)
			o.SetNamespace("default")
			o.SetName(fmt.Sprintf("%s-%d", strings.ReplaceAll(filepath.Base(filepath.Dir(file))+"-"+strings.TrimSuffix(filepath.Base(file), ".yaml"), "_", "-"), i))
			assert.NoError(t, strictly(c).Create(t.Context(), o), file)
		}
	}
}

// templatesAreLenient: what was taken when templates had no schema is taken still.
func templatesAreLenient(t *testing.T, c client.Client) {
	for name, spec := range map[string]string{
		"no containers":    `{nodeSelector: {pool: gpu}}`,
		"no name":          `{containers: [{image: x}]}`,
		"names twice":      `{containers: [{name: a, image: x, env: [{name: A, value: "1"}, {name: A, value: "2"}]}, {name: a, image: other}]}`,
		"nulls":            `{nodeSelector: null, containers: [{name: a, image: x, env: null, resources: null, securityContext: {runAsUser: null}}]}`,
		"numbers":          `{containers: [{name: a, image: x, ports: [{containerPort: 8888}], resources: {limits: {cpu: 1, memory: 512Mi}}, livenessProbe: {tcpSocket: {port: http}}}]}`,
		"volumes, no name": `{containers: [], volumes: [{emptyDir: {sizeLimit: 1Gi}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			o := object(t, "kind: JupyterKernelTemplate\nmetadata: {generateName: t-}\nspec: {template: {metadata: {creationTimestamp: null, app: notebook, labels: {a: b}}, spec: "+spec+"}}\n")
			before, err := json.Marshal(o.Object["spec"])
			require.NoError(t, err)
			require.NoError(t, strictly(c).Create(t.Context(), o))
			after, err := json.Marshal(o.Object["spec"])
			require.NoError(t, err)
			assert.JSONEq(t, string(before), string(after), "something was filled in or taken away")
		})
	}
}

// mistakesAreRefused: what nothing could be made of is told at once.
func mistakesAreRefused(t *testing.T, c client.Client) {
	for name, row := range map[string]struct{ kind, spec, says string }{
		"number in env":      {"JupyterNotebook", `{template: {spec: {containers: [{name: a, env: [{name: A, value: 1}]}]}}}`, "spec.template.spec.containers[0].env[0].value"},
		"unit of memory":     {"JupyterNotebook", `{template: {spec: {containers: [{name: a, resources: {limits: {memory: 512MB}}}]}}}`, "spec.template.spec.containers[0].resources.limits.memory"},
		"number as label":    {"JupyterKernelTemplate", `{template: {metadata: {labels: {version: 1.0}}}}`, "spec.template.metadata.labels.version"},
		"boolean annotation": {"JupyterKernelTemplate", `{template: {metadata: {annotations: {a: false}}}}`, "spec.template.metadata.annotations.a"},
		"command as text":    {"JupyterKernel", `{template: {spec: {containers: [{name: a, command: sleep}]}}}`, "spec.template.spec.containers[0].command"},
		"port as text":       {"JupyterKernel", `{template: {spec: {containers: [{name: a, ports: [{containerPort: "8888"}]}]}}}`, "spec.template.spec.containers[0].ports[0].containerPort"},
		"too large":          {"JupyterGateway", `{cullIdleTimeout: 3000000000}`, "spec.cullIdleTimeout"},
		"image misspelt":     {"JupyterNotebook", `{template: {spec: {containers: [{name: a, imagee: x}]}}}`, `unknown field "spec.template.spec.containers[0].imagee"`},
		"resources misspelt": {"JupyterKernelTemplate", `{template: {spec: {containers: [{name: a, resorces: {}}]}}}`, `unknown field "spec.template.spec.containers[0].resorces"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := strictly(c).Create(t.Context(), object(t, "kind: "+row.kind+"\nmetadata: {generateName: m-}\nspec: "+row.spec+"\n"))
			assert.ErrorContains(t, err, row.says)
		})
	}
}

// identityCannotBeChanged: whose a kernel is stands for its whole life, and whose
// a server is while it runs (docs/adr/0006).
func identityCannotBeChanged(t *testing.T, c client.Client) {
	for name, row := range map[string]struct{ kind, spec, status, patch, refused string }{
		"kernel's user":      {"JupyterKernel", "user: a", "", `{"spec": {"user": "b"}}`, "spec.user"},
		"kernel's user gone": {"JupyterKernel", "user: a", "", `{"spec": {"user": null}}`, "spec.user"},
		"kernel given away":  {"JupyterKernel", "run: 1", "", `{"spec": {"user": "b"}}`, "spec.user"},
		"kernel's spec gone": {"JupyterKernel", "user: a", "", `{"spec": null}`, "spec.user"},
		"kernel's notebook":  {"JupyterKernel", "notebook: a", "", `{"spec": {"notebook": "b"}}`, "spec.notebook"},
		"kernel's gateway":   {"JupyterKernel", "gateway: a", "", `{"spec": {"gateway": "b"}}`, "spec.gateway"},
		"kernelspec and run": {"JupyterKernel", "gateway: a, kernelSpec: cpu, run: 1", "", `{"spec": {"kernelSpec": "gpu", "run": 2}}`, ""},
		"empty is absent":    {"JupyterKernel", "gateway: a", "", `{"spec": {"user": ""}}`, ""},

		"user of a running server":     {"JupyterNotebook", "template: {}, user: a, start: s", "phase: Ready", `{"spec": {"user": "b"}}`, "spec.user"},
		"name of a running server":     {"JupyterNotebook", "template: {}, user: a, start: s", "phase: Ready", `{"spec": {"server": "b"}}`, "spec.server"},
		"user, and stopped with that":  {"JupyterNotebook", "template: {}, user: a, start: s", "phase: Ready", `{"spec": {"user": "b", "stopped": true}}`, "spec.user"},
		"renamed while it was stopped": {"JupyterNotebook", "template: {}, user: a, server: x, start: s, stopped: true", "phase: Stopped", `{"spec": {"server": "y"}}`, ""},
		"started under a new name":     {"JupyterNotebook", "template: {}, user: a, start: s, stopped: true", "phase: Stopped", `{"spec": {"user": "b", "start": "t", "stopped": false}}`, ""},
		"started anew while it runs":   {"JupyterNotebook", "template: {}, user: a, start: s", "phase: Ready", `{"spec": {"user": "b", "start": "t"}}`, ""},
		"renamed after it failed":      {"JupyterNotebook", "template: {}, user: a, start: s", "phase: Failed", `{"spec": {"server": "y"}}`, ""},
		"anything else":                {"JupyterNotebook", "template: {}, user: a, start: s", "phase: Ready", `{"spec": {"stopped": true}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := object(t, "kind: "+row.kind+"\nmetadata: {generateName: i-}\nspec: {"+row.spec+"}\n")
			require.NoError(t, c.Create(t.Context(), o))
			if row.status != "" {
				o.Object["status"] = object(t, row.status).Object
				unstructured.RemoveNestedField(o.Object, "status", "apiVersion")
				unstructured.RemoveNestedField(o.Object, "status", "metadata")
				require.NoError(t, c.Status().Update(t.Context(), o))
			}
			err := c.Patch(t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(row.patch)))
			if row.refused == "" {
				require.NoError(t, err)
				return
			}
			require.True(t, apierrors.IsInvalid(err), "%v", err)
			assert.ErrorContains(t, err, row.refused)
		})
	}
}

// gatewaysScale: kubectl scale and a HorizontalPodAutoscaler find what they need,
// also where the number of replicas was never said.
func gatewaysScale(t *testing.T, c client.Client) {
	require.NoError(t, c.Create(t.Context(), object(t, "kind: JupyterGateway\nmetadata: {name: scaled}\nspec: {}\n")))
	o := &v1alpha1.JupyterGateway{}
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "scaled"}, o))
	o.Status.Replicas, o.Status.Selector = 1, "a=b"
	require.NoError(t, c.Status().Update(t.Context(), o))
	scale := &autoscalingv1.Scale{}
	require.NoError(t, c.SubResource("scale").Get(t.Context(), o, scale))
	assert.Equal(t, int32(1), scale.Status.Replicas)
	assert.Equal(t, "a=b", scale.Status.Selector)
	scale.Spec.Replicas = 3
	require.NoError(t, c.SubResource("scale").Update(t.Context(), o, client.WithSubResourceBody(scale)))
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(o), o))
	assert.Equal(t, int32(3), *o.Spec.Replicas)
}

// formerStatusIsTaken: a replica of the former release writes the status of a
// gateway as the Deployment has it while this one is rolled out.
func formerStatusIsTaken(t *testing.T, c client.Client) {
	o := object(t, "kind: JupyterGateway\nmetadata: {name: former}\nspec: {replicas: 1}\n")
	require.NoError(t, c.Create(t.Context(), o))
	o.Object["status"] = object(t, `
observedGeneration: 4
replicas: 1
conditions:
  - {type: Available, status: "True", reason: MinimumReplicasAvailable, message: m, lastUpdateTime: "2026-01-02T03:04:05Z", lastTransitionTime: "2026-01-02T03:04:05Z"}
gatewayConditions:
  - {type: Ready, status: "True", reason: Serving, message: "", lastTransitionTime: "2026-01-02T03:04:05Z"}
url: http://former
`).Object
	for _, name := range []string{"apiVersion", "metadata"} {
		unstructured.RemoveNestedField(o.Object, "status", name)
	}
	require.NoError(t, c.Status().Update(t.Context(), o))
	conditions, _, err := unstructured.NestedSlice(o.Object, "status", "conditions")
	require.NoError(t, err)
	assert.Len(t, conditions, 1)
}
