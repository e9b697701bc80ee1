package gather

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/doctor"
	"github.com/elastichub/elastichub/test/helm"
)

func quantity(text string) resource.Quantity { return resource.MustParse(text) }

// TestValuesAreMergedAsHelmDoes: maps by key, lists whole, null removes.
func TestValuesAreMergedAsHelmDoes(t *testing.T) {
	t.Parallel()
	smallest := map[string]any{}
	require.NoError(t, yaml.Unmarshal([]byte("{image: {name: a}, notebooks: {image: b}, kernels: {image: c}, groups: {oidc: {algorithms: [ES256]}}}"), &smallest))
	all, faults, err := chartValues(smallest, map[string]any{"image": map[string]any{"name": "d"}, "hub": nil})
	require.NoError(t, err)
	assert.Empty(t, faults)
	assert.Equal(t, "d", textAt(all, "image", "name"))
	assert.Equal(t, "IfNotPresent", textAt(all, "image", "pullPolicy"))
	assert.Equal(t, []any{"ES256"}, at(all, "groups", "oidc", "algorithms"))
	assert.NotContains(t, all, "hub")
}

// TestWhatHelmKeeps: the values of the newest revision, by number and not by text.
func TestWhatHelmKeeps(t *testing.T) {
	t.Parallel()
	kept := func(version, text string) *corev1.Secret {
		var packed bytes.Buffer
		writer := gzip.NewWriter(&packed)
		_, err := writer.Write([]byte(text))
		require.NoError(t, err)
		require.NoError(t, writer.Close())
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "sh.helm.release.v1.r.v" + version, Labels: map[string]string{"owner": "helm", "name": "r", "version": version}},
			Data:       map[string][]byte{"release": []byte(base64.StdEncoding.EncodeToString(packed.Bytes()))},
		}
	}
	api := fake.NewClientBuilder().WithObjects(kept("9", `{"config": {"a": "nine"}}`), kept("10", `{"config": {"a": "ten"}}`)).Build()
	values, err := installedValues(t.Context(), api, "n", "r")
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"a": "ten"}, values)
	values, err = installedValues(t.Context(), client.Reader(api), "n", "other")
	require.NoError(t, err)
	assert.Nil(t, values)
}

// TestRightsAreThoseOfTheChart: every rule of the chart's Roles and ClusterRoles is asked
// for, and nothing else, whatever namespaces are watched.
func TestRightsAreThoseOfTheChart(t *testing.T) {
	t.Parallel()
	for _, over := range []string{
		`{"watchNamespaces": "own", "kernels": {"clusterCapacity": true}, "portal": {"enabled": false}}`,
		`{"watchNamespaces": ["team-a", "jupyterhub", "team-b"], "kernels": {"clusterCapacity": false}, "portal": {"enabled": true, "policies": {"edit": false}, "kubernetesTokens": false}}`,
		`{"watchNamespaces": "all", "kernels": {"clusterCapacity": true}, "portal": {"enabled": true, "policies": {"edit": true}, "kubernetesTokens": true}, "homes": {"left": {"mode": "archive", "archive": {"claim": "archives"}}}}`,
	} {
		file := filepath.Join(t.TempDir(), "values.json")
		require.NoError(t, os.WriteFile(file, []byte(over), 0o600))
		rendered, err := helm.Run(t, "template", "elastichub", "../../charts/elastichub", "--namespace", namespace, "--kube-version", "1.34",
			"--values", "../../charts/elastichub/testdata/smallest.yaml", "--values", file, "--set-json", `hub={"apiURL": "http://hub:8081/hub/api", "tokenSecret": "hub-api"}`, "--show-only", "templates/rbac.yaml")
		require.NoError(t, err, rendered)
		var want []doctor.Right
		for _, document := range bytes.Split([]byte(rendered), []byte("\n---\n")) {
			var role rbacv1.ClusterRole // a Role has the same fields
			require.NoError(t, yaml.Unmarshal(document, &role))
			elsewhere := role.Namespace
			if elsewhere == namespace {
				elsewhere = ""
			}
			for _, rule := range role.Rules {
				for _, group := range rule.APIGroups {
					for _, resource := range rule.Resources {
						for _, verb := range rule.Verbs {
							want = append(want, doctor.Right{Verb: verb, Group: group, Resource: resource, Everywhere: role.Kind == "ClusterRole", Namespace: elsewhere})
						}
					}
				}
			}
		}
		require.NotEmpty(t, want)
		values := map[string]any{}
		require.NoError(t, yaml.Unmarshal([]byte(over), &values))
		assert.ElementsMatch(t, want, wantedRights(values, namespace), over)
	}
}
