// Package elastichub is the elastichub chart, of which the binary holds the kinds.
// Its tests see that Helm renders it, that the API server takes the kinds, and that
// values.yaml, values.schema.json and README.md speak of the same values.
package elastichub

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/test/helm"
)

// TestEachValuesFileGivesObjects renders with each file of testdata and decodes
// what comes strictly: the API server would drop a misspelt field without a word.
func TestEachValuesFileGivesObjects(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]map[string]int{
		"smallest": {
			"ConfigMap": 1, "Deployment": 1, "Service": 1, "ServiceAccount": 4, "NetworkPolicy": 4, "Job": 3,
			"PodDisruptionBudget": 2, "Role": 3, "RoleBinding": 3, "ClusterRole": 2, "ClusterRoleBinding": 2,
			"ValidatingAdmissionPolicy": 1, "ValidatingAdmissionPolicyBinding": 1,
		},
		"everything": {
			"ConfigMap": 2, "Deployment": 1, "Service": 1, "ServiceAccount": 3, "NetworkPolicy": 5, "Job": 2, "FlowSchema": 1,
			"ServiceMonitor": 1, "PodMonitor": 2, "PrometheusRule": 1,
			"PodDisruptionBudget": 2, "Role": 2, "RoleBinding": 2, "ClusterRole": 3, "ClusterRoleBinding": 3,
			"ValidatingAdmissionPolicy": 1, "ValidatingAdmissionPolicyBinding": 1,
		},
		"least-rights": {
			"ConfigMap": 1, "Deployment": 1, "Service": 1, "ServiceAccount": 3, "Job": 2, "Role": 3, "RoleBinding": 3,
		},
		"without-hub": {
			"ConfigMap": 1, "Deployment": 1, "Service": 1, "ServiceAccount": 4, "NetworkPolicy": 4, "Job": 3,
			"PodDisruptionBudget": 2, "Role": 3, "RoleBinding": 3, "ClusterRole": 2, "ClusterRoleBinding": 2,
			"ValidatingAdmissionPolicy": 1, "ValidatingAdmissionPolicyBinding": 1,
		},
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			out, err := helm.Run(t, "template", "elastichub", ".", "--namespace", "jupyterhub", "--kube-version", "1.34",
				"--api-versions", "monitoring.coreos.com/v1/ServiceMonitor", "--values", "testdata/"+file+".yaml")
			require.NoError(t, err, out)
			found := map[string]int{}
			for text := range strings.SplitSeq(out, "\n---\n") {
				kind, name := decode(t, text)
				if kind != "" {
					assert.NotEmpty(t, name, kind)
					found[kind]++
				}
			}
			assert.Equal(t, want, found)
		})
	}
	files, err := filepath.Glob("testdata/*.yaml")
	require.NoError(t, err)
	assert.Len(t, files, 4, "a file that no row names")
}

// decode decodes a document strictly as the kind it names.
func decode(t *testing.T, text string) (kind, name string) {
	t.Helper()
	var head metav1.PartialObjectMetadata
	require.NoError(t, yaml.Unmarshal([]byte(text), &head))
	var into any
	switch head.Kind {
	case "":
		return "", ""
	case "ConfigMap":
		into = &corev1.ConfigMap{}
	case "Secret":
		into = &corev1.Secret{}
	case "Service":
		into = &corev1.Service{}
	case "ServiceAccount":
		into = &corev1.ServiceAccount{}
	case "Deployment":
		into = &appsv1.Deployment{}
	case "Job":
		into = &batchv1.Job{}
	case "NetworkPolicy":
		into = &networkingv1.NetworkPolicy{}
	case "PodDisruptionBudget":
		into = &policyv1.PodDisruptionBudget{}
	case "Role":
		into = &rbacv1.Role{}
	case "RoleBinding":
		into = &rbacv1.RoleBinding{}
	case "ClusterRole":
		into = &rbacv1.ClusterRole{}
	case "ClusterRoleBinding":
		into = &rbacv1.ClusterRoleBinding{}
	case "ValidatingAdmissionPolicy":
		into = &admissionv1.ValidatingAdmissionPolicy{}
	case "ValidatingAdmissionPolicyBinding":
		into = &admissionv1.ValidatingAdmissionPolicyBinding{}
	case "FlowSchema":
		into = &flowcontrolv1.FlowSchema{}
	case "ServiceMonitor", "PodMonitor", "PrometheusRule": // test/panels decodes these strictly
		into = &unstructured.Unstructured{}
		require.NoError(t, yaml.Unmarshal([]byte(text), into))
		return head.Kind, head.Name
	default:
		t.Fatalf("kind %q is new: decode it here", head.Kind)
	}
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), into), "%s %s", head.Kind, head.Name)
	return head.Kind, head.Name
}

// values are the paths in values.yaml, of objects and of what is in them.
func values(t *testing.T) map[string]bool {
	t.Helper()
	raw, err := os.ReadFile("values.yaml")
	require.NoError(t, err)
	var all map[string]any
	require.NoError(t, yaml.UnmarshalStrict(raw, &all))
	found := map[string]bool{}
	var walk func(prefix string, v map[string]any)
	walk = func(prefix string, v map[string]any) {
		for key, value := range v {
			found[prefix+key] = true
			if inner, is := value.(map[string]any); is {
				walk(prefix+key+".", inner)
			}
		}
	}
	walk("", all)
	return found
}

type schema struct {
	Properties           map[string]schema `json:"properties"`
	AdditionalProperties any               `json:"additionalProperties"`
}

// TestSchemaAndValuesAgree: each value has an entry in the schema, and each
// entry a value; an object whose keys are Kubernetes' is one value.
func TestSchemaAndValuesAgree(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("values.schema.json")
	require.NoError(t, err)
	var root schema
	require.NoError(t, json.Unmarshal(raw, &root))
	delete(root.Properties, "global") // Helm's own
	all := values(t)
	entries, open := map[string]bool{}, []string{}
	var walk func(prefix string, s schema)
	walk = func(prefix string, s schema) {
		if s.Properties != nil {
			assert.Equal(t, false, s.AdditionalProperties, "%q lets misspelt keys pass", strings.TrimSuffix(prefix, "."))
		}
		for key, inner := range s.Properties {
			entries[prefix+key] = true
			if inner.Properties == nil {
				open = append(open, prefix+key+".")
			}
			walk(prefix+key+".", inner)
		}
	}
	walk("", root)
	for path := range all {
		within := slices.ContainsFunc(open, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
		assert.True(t, within || entries[path], "values.schema.json does not know %s", path)
	}
	for path := range entries {
		assert.True(t, all[path] || optional[path], "values.yaml has no %s", path)
	}
}

// optional are what values.yaml leaves out, as its parent is empty there.
var optional = map[string]bool{
	"groups.ldap.limits.cacheTTL": true, "groups.ldap.limits.staleLimit": true,
	"groups.oidc.limits.cacheTTL": true, "groups.oidc.limits.staleLimit": true,
	"groups.hub.limits.cacheTTL": true, "groups.hub.limits.staleLimit": true,
}

var (
	row    = regexp.MustCompile("(?m)^\\| ((?:`[^`]+`(?:, )?)+) \\|")
	code   = regexp.MustCompile("`([^`]+)`")
	braces = regexp.MustCompile(`\{([^}]+)\}`)
)

// TestReadmeAndValuesAgree: each value has a row, of its own or of what it is
// in, and each row a value.
func TestReadmeAndValuesAgree(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("README.md")
	require.NoError(t, err)
	all, rows := values(t), map[string]bool{}
	for _, cell := range row.FindAllSubmatch(page, -1) {
		for _, name := range code.FindAllSubmatch(cell[1], -1) {
			for _, path := range expand(string(name[1])) {
				path = strings.TrimSuffix(path, ".*")
				assert.False(t, rows[path], "two rows for %s", path)
				rows[path] = true
				assert.True(t, all[path], "README.md has a row for %s, which is no value", path)
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(all)) {
		assert.True(t, described(path, rows), "README.md has no row for %s", path)
	}
}

// described tells that a path, something that it is in, or everything in it has a row.
func described(path string, rows map[string]bool) bool {
	for at := path; ; {
		if rows[at] {
			return true
		}
		dot := strings.LastIndex(at, ".")
		if dot < 0 {
			break
		}
		at = at[:dot]
	}
	for named := range rows {
		if strings.HasPrefix(named, path+".") {
			return true // what is in it is looked up by itself
		}
	}
	return false
}

// expand makes of `log.{level,format}` both.
func expand(name string) []string {
	at := braces.FindStringSubmatchIndex(name)
	if at == nil {
		return []string{name}
	}
	var all []string
	for part := range strings.SplitSeq(name[at[2]:at[3]], ",") {
		all = append(all, expand(name[:at[0]]+part+name[at[1]:])...)
	}
	return all
}

// TestMetricsAreForWhomTheValuesName: port 9090 of service and gateways, and nobody
// without a word.
func TestMetricsAreForWhomTheValuesName(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]int{"smallest": 0, "everything": 2} {
		out, err := helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/"+file+".yaml", "--show-only", "templates/networkpolicy.yaml")
		require.NoError(t, err, out)
		opened := 0
		for text := range strings.SplitSeq(out, "\n---\n") {
			var p networkingv1.NetworkPolicy
			require.NoError(t, yaml.UnmarshalStrict([]byte(text), &p))
			for _, rule := range p.Spec.Ingress {
				if len(rule.Ports) == 0 || rule.Ports[0].Port.IntValue() == 9090 {
					opened++
					assert.NotEmpty(t, rule.From, p.Name)
				}
			}
		}
		assert.Equal(t, want, opened, file)
	}
}

// TestTheMetricsTokenReachesAll: the service, by it the gateways, and Prometheus.
func TestTheMetricsTokenReachesAll(t *testing.T) {
	t.Parallel()
	for file, secret := range map[string]string{"smallest": "", "everything": "our-metrics-token"} {
		out, err := helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/"+file+".yaml",
			"--set", "serviceMonitor.enabled=true,podMonitor.enabled=true", "--show-only", "templates/deployment.yaml",
			"--show-only", "templates/configmap.yaml", "--show-only", "templates/monitoring.yaml")
		require.NoError(t, err, out)
		mounted, named, told, toldOfGateways := "", "", "", ""
		for text := range strings.SplitSeq(out, "\n---\n") {
			kind, name := decode(t, text)
			if name == "elastichub-notebooks" { // has a token of its own
				continue
			}
			switch kind {
			case "Deployment":
				var d appsv1.Deployment
				require.NoError(t, yaml.Unmarshal([]byte(text), &d))
				for _, source := range d.Spec.Template.Spec.Volumes[0].Projected.Sources {
					if source.Secret != nil && source.Secret.Items[0].Path == "metrics/token" {
						mounted = source.Secret.Name
					}
				}
			case "ConfigMap":
				var cm corev1.ConfigMap
				require.NoError(t, yaml.Unmarshal([]byte(text), &cm))
				if cm.Name != "elastichub" {
					continue
				}
				var config struct {
					Metrics struct{ TokenFile, TokenSecret string }
				}
				require.NoError(t, yaml.Unmarshal([]byte(cm.Data["config.yaml"]), &config))
				assert.Equal(t, secret != "", config.Metrics.TokenFile == "/etc/elastichub/metrics/token", file)
				named = config.Metrics.TokenSecret
			case "ServiceMonitor":
				var monitor struct {
					Spec struct {
						Endpoints []struct {
							Authorization struct{ Credentials corev1.SecretKeySelector }
						}
					}
				}
				require.NoError(t, yaml.Unmarshal([]byte(text), &monitor))
				told = monitor.Spec.Endpoints[0].Authorization.Credentials.Name
			case "PodMonitor":
				var monitor struct {
					Spec struct {
						PodMetricsEndpoints []struct {
							Authorization struct{ Credentials corev1.SecretKeySelector }
						}
					}
				}
				require.NoError(t, yaml.Unmarshal([]byte(text), &monitor))
				toldOfGateways = monitor.Spec.PodMetricsEndpoints[0].Authorization.Credentials.Name
			}
		}
		assert.Equal(t, [4]string{secret, secret, secret, secret}, [4]string{mounted, named, told, toldOfGateways}, file)
	}
}

// TestWatchNamespaces: where kinds are looked after are rights, NetworkPolicies and a budget;
// of a whole cluster Secrets are not listed.
func TestWatchNamespaces(t *testing.T) {
	t.Parallel()
	for watch, row := range map[string]struct {
		objects map[string]int
		config  string
		binding string
	}{
		`"own"`: {map[string]int{"/Role": 1, "/RoleBinding": 1, "jupyterhub/NetworkPolicy": 3, "jupyterhub/PodDisruptionBudget": 1}, "", "jupyterhub"},
		`["team-a", "jupyterhub"]`: {map[string]int{
			"/Role": 1, "/RoleBinding": 1, "jupyterhub/NetworkPolicy": 3, "jupyterhub/PodDisruptionBudget": 1,
			"team-a/Role": 1, "team-a/RoleBinding": 1, "team-a/NetworkPolicy": 3, "team-a/PodDisruptionBudget": 1,
		}, `watchNamespaces: ["team-a","jupyterhub"]`, `["jupyterhub","team-a"]`},
		`"all"`: {map[string]int{
			"/Role": 1, "/RoleBinding": 1, "jupyterhub/NetworkPolicy": 3, "jupyterhub/PodDisruptionBudget": 1,
			"everywhere/ClusterRole": 1, "everywhere/ClusterRoleBinding": 1,
		}, `watchNamespaces: ["*"]`, "namespaceSelector: {}"},
	} {
		t.Run(watch, func(t *testing.T) {
			t.Parallel()
			out, err := helm.Run(t, "template", "elastichub", ".", "--namespace", "jupyterhub", "--kube-version", "1.34",
				"--values", "testdata/without-hub.yaml", "--set-json", "watchNamespaces="+watch)
			require.NoError(t, err, out)
			found := map[string]int{}
			for text := range strings.SplitSeq(out, "\n---\n") {
				kind, _ := decode(t, text)
				var head metav1.PartialObjectMetadata
				require.NoError(t, yaml.Unmarshal([]byte(text), &head))
				switch {
				case strings.HasSuffix(head.Name, "-kinds"):
					found["everywhere/"+kind]++
				case head.Annotations["helm.sh/hook"] != "", kind == "NetworkPolicy" && head.Namespace == "", kind == "PodDisruptionBudget" && head.Namespace == "":
					continue // of the release alone
				case slices.Contains([]string{"Role", "RoleBinding", "NetworkPolicy", "PodDisruptionBudget"}, kind):
					found[head.Namespace+"/"+kind]++
				}
				if kind == "ValidatingAdmissionPolicyBinding" {
					assert.Contains(t, text, row.binding)
				}
				if kind == "ClusterRole" {
					var role rbacv1.ClusterRole
					require.NoError(t, yaml.Unmarshal([]byte(text), &role))
					for _, rule := range role.Rules {
						if slices.Contains(rule.Resources, "secrets") {
							assert.NotContains(t, rule.Verbs, "list")
							assert.NotContains(t, rule.Verbs, "watch")
						}
					}
				}
			}
			assert.Equal(t, row.objects, found)
			assert.Contains(t, out, row.config)
			assert.Equal(t, row.config == "", !strings.Contains(out, "watchNamespaces"))
		})
	}
	out, err := helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/without-hub.yaml", "--set", "watchNamespaces=some")
	require.Error(t, err)
	assert.Contains(t, out, "watchNamespaces")
}

// TestWithoutHub: where no groups come from there is no token for a Hub, in no room; the
// images are those of the registry, but for those that are named.
func TestWithoutHub(t *testing.T) {
	t.Parallel()
	out, err := helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/without-hub.yaml", "--set", "kernels.image=example.org/r:2")
	require.NoError(t, err, out)
	assert.NotContains(t, out, "hub-token")
	assert.Contains(t, out, "image: registry.example.org/elastichub/service:1.0\n")
	assert.Contains(t, out, "hubAPI:\n      tokenFile: \"\"\n")
	assert.Contains(t, out, `image: "registry.example.org/elastichub/notebook:1.0"`)
	assert.Contains(t, out, `image: "example.org/r:2"`)
	out, err = helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/without-hub.yaml", "--set", "hub.existingSecret=ours")
	require.NoError(t, err, out)
	assert.Contains(t, out, "name: ours\n")
	for _, image := range []string{"image.name", "notebooks.image", "kernels.image"} {
		named := map[string]string{"image.name": "s", "notebooks.image": "n", "kernels.image": "k"}
		delete(named, image)
		args := []string{"template", "elastichub", ".", "--kube-version", "1.34"}
		for key, value := range named {
			args = append(args, "--set", key+"="+value)
		}
		out, err := helm.Run(t, args...)
		require.Error(t, err)
		assert.Contains(t, out, image+", or image.registry for all images, is required")
	}
}

// TestOneRegistryForAll: one value moves all images, of the chart's Pods and of those that the service makes.
func TestOneRegistryForAll(t *testing.T) {
	t.Parallel()
	out, err := helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--set", "image.registry=registry.example.org/a,prepull.enabled=true,portal.enabled=true,portal.provider=none")
	require.NoError(t, err, out)
	named := map[string]int{}
	for _, found := range regexp.MustCompile(`(?m)^ *(?:- )?(?:image|serviceImage): "?([^"\n]*)"?$`).FindAllStringSubmatch(out, -1) {
		name, _, _ := strings.Cut(strings.TrimPrefix(found[1], "registry.example.org/a/"), ":")
		named[name]++
	}
	assert.Equal(t, map[string]int{"service": 5, "notebook": 1, "kernel": 1}, named,
		"the Deployment, three Jobs and the configuration name the service's, and nothing is from elsewhere")
}

// TestTheImageByDigest: wherever the one image is named, to the Pods of the chart and
// to those that the service makes.
func TestTheImageByDigest(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("0a", 32)
	render := func(digest string) (string, error) {
		return helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/everything.yaml",
			"--set", "image.name=registry.example/one,image.tag=1.2,image.digest="+digest)
	}
	out, err := render("")
	require.NoError(t, err, out)
	named := strings.Count(out, "registry.example/one")
	assert.GreaterOrEqual(t, named, 3, "the Deployment, the Job and the configuration")
	assert.Equal(t, named, strings.Count(out, "registry.example/one:1.2"))
	out, err = render(digest)
	require.NoError(t, err, out)
	assert.Equal(t, named, strings.Count(out, "registry.example/one@"+digest))
	for _, wrong := range []string{"sha256:abc", strings.Repeat("0a", 32), "md5:" + strings.Repeat("0a", 32)} {
		out, err = render(wrong)
		assert.Error(t, err, wrong)
		assert.Contains(t, out, "image/digest", wrong)
	}
}

// TestImagesBeforeTheUser: what the values say of them reaches the service, under the name
// of its Deployment; the schema knows the bounds.
func TestImagesBeforeTheUser(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]map[string]any{
		"smallest":   {"name": "elastichub", "enabled": false, "kernels": true, "nodesAtOnce": 5.0, "priorityClassName": ""},
		"everything": {"name": "elastichub", "enabled": true, "kernels": false, "nodesAtOnce": 2.0, "priorityClassName": "last", "pullSecrets": []any{"registry"}},
	} {
		out, err := helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/"+file+".yaml", "--show-only", "templates/configmap.yaml")
		require.NoError(t, err, out)
		var config corev1.ConfigMap
		require.NoError(t, yaml.Unmarshal([]byte(strings.Split(out, "\n---\n")[0]), &config))
		var parsed struct{ Prepull map[string]any }
		require.NoError(t, yaml.Unmarshal([]byte(config.Data["config.yaml"]), &parsed))
		assert.Equal(t, want, parsed.Prepull)
		out, err = helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/"+file+".yaml", "--show-only", "templates/networkpolicy.yaml")
		require.NoError(t, err, out)
		assert.Equal(t, want["enabled"], strings.Contains(out, "name: elastichub-prepull"))
	}
	for _, wrong := range []string{"nodesAtOnce=0", "nodesAtOnce=1001", "priorityClassName=Last", "nodes=1"} {
		out, err := helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/smallest.yaml", "--set", "prepull."+wrong)
		assert.Error(t, err, wrong)
		assert.Contains(t, out, "/prepull", wrong)
	}
}

// TestTracesAreOffUntilTheyHaveAnEndpoint, and the service gets the share as a number.
func TestTracesAreOffUntilTheyHaveAnEndpoint(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]map[string]any{
		`tracing.samplePercent=5`:                                             nil,
		`tracing.endpoint="http://collector:4318"`:                            {"endpoint": "http://collector:4318", "samplePercent": 100.0},
		`tracing.endpoint="https://collector/otlp",tracing.samplePercent=0.5`: {"endpoint": "https://collector/otlp", "samplePercent": 0.5},
	} {
		out, err := helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/smallest.yaml", "--set-json", set, "--show-only", "templates/configmap.yaml")
		require.NoError(t, err, out)
		var config corev1.ConfigMap
		require.NoError(t, yaml.Unmarshal([]byte(strings.Split(out, "\n---\n")[0]), &config))
		var parsed struct{ Tracing map[string]any }
		require.NoError(t, yaml.Unmarshal([]byte(config.Data["config.yaml"]), &parsed))
		assert.Equal(t, want, parsed.Tracing, set)
	}
	for _, wrong := range []string{"endpoint=collector:4317", "endpoint=http://a:b@collector", "samplePercent=101", "samplePercent=-1", "share=1"} {
		out, err := helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/smallest.yaml", "--set", "tracing."+wrong)
		assert.Error(t, err, wrong)
		assert.Contains(t, out, "/tracing", wrong)
	}
}

// TestKernelsMayBeProtected: as many must be there as never are, so that none is evicted;
// both protections can be switched off.
func TestKernelsMayBeProtected(t *testing.T) {
	t.Parallel()
	render := func(set string) (string, error) {
		return helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/smallest.yaml", "--set", set)
	}
	out, err := render("replicas=1")
	require.NoError(t, err, out)
	assert.Contains(t, out, "doNotDisrupt: true")
	budgets := 0
	for text := range strings.SplitSeq(out, "\n---\n") {
		if !strings.Contains(text, "kind: PodDisruptionBudget") || !strings.Contains(text, "-kernels") {
			continue
		}
		budgets++
		var budget policyv1.PodDisruptionBudget
		require.NoError(t, yaml.UnmarshalStrict([]byte(text), &budget))
		assert.Nil(t, budget.Spec.MaxUnavailable)
		assert.Equal(t, 1000000, budget.Spec.MinAvailable.IntValue())
		selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
		require.NoError(t, err)
		pod := labels.Set{"app.kubernetes.io/managed-by": "elastichub", "app.kubernetes.io/component": "kernel", "elastichub.io/kernel": "k"}
		assert.False(t, selector.Matches(pod), "a warm one")
		pod["elastichub.io/taken"] = "true"
		assert.True(t, selector.Matches(pod))
	}
	assert.Equal(t, 1, budgets)
	assert.Contains(t, out, "hubEnvironment: []")
	out, err = render("kernels.hubEnvironment={MLFLOW_TRACKING_URI}")
	require.NoError(t, err, out)
	assert.Contains(t, out, `hubEnvironment: ["MLFLOW_TRACKING_URI"]`)
	out, err = render("kernels.hubEnvironment={JUPYTERHUB_API_TOKEN}")
	require.Error(t, err, out)
	out, err = render("kernels.podDisruptionBudget.enabled=false,kernels.doNotDisrupt=false")
	require.NoError(t, err, out)
	assert.Contains(t, out, "doNotDisrupt: false")
	assert.NotContains(t, out, "minAvailable")
}

// TestTheConsole: the configuration that it has is one that the service takes, with
// files that are mounted; without it nothing of it is there.
func TestTheConsole(t *testing.T) {
	t.Parallel()
	render := func(set string) string {
		out, err := helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/smallest.yaml", "--set", set)
		require.NoError(t, err, out)
		return out
	}
	assert.NotContains(t, render("replicas=1"), "portal")
	out := render("portal.enabled=true,hub.apiURL=http://hub:8081/hub/api,hub.tokenSecret=console,portal.admins.groups={admins}")
	var config corev1.ConfigMap
	mounted := map[string]string{}
	for text := range strings.SplitSeq(out, "\n---\n") {
		switch kind, _ := decode(t, text); kind {
		case "ConfigMap":
			require.NoError(t, yaml.Unmarshal([]byte(text), &config))
		case "Deployment":
			var d appsv1.Deployment
			require.NoError(t, yaml.Unmarshal([]byte(text), &d))
			for _, source := range d.Spec.Template.Spec.Volumes[0].Projected.Sources {
				if source.Secret != nil {
					for _, item := range source.Secret.Items {
						mounted[item.Path] = source.Secret.Name
					}
				}
			}
		}
	}
	alone := render("portal.enabled=true,portal.provider=none")
	assert.NotContains(t, alone, "elastichub-portal", "where nobody signs in nothing is sealed")
	assert.Contains(t, alone, "provider: none")
	assert.Contains(t, out, "--make=portal=elastichub-portal")
	assert.Equal(t, "elastichub-portal", mounted["portal/key"])
	assert.Equal(t, "elastichub-portal", mounted["portal/former"])
	assert.Equal(t, "console", mounted["hub-api/token"])
	assert.NotContains(t, mounted, "hub-api/tls.key")
	shown := render("hub.certSecret=console-tls,hub.apiURL=https://hub:8081/hub/api,hub.tokenSecret=console")
	for _, want := range []string{"certFile: /etc/elastichub/hub-api/tls.crt", "keyFile: /etc/elastichub/hub-api/tls.key", "name: console-tls", "{key: tls.key, path: hub-api/tls.key}"} {
		assert.Contains(t, shown, want)
	}
	var parsed struct {
		Hub    map[string]any
		Portal struct {
			Enabled  bool
			BasePath string
			Admins   struct{ Groups []string }
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(config.Data["config.yaml"]), &parsed))
	assert.Equal(t, "/etc/elastichub/hub-api/token", parsed.Hub["tokenFile"])
	assert.True(t, parsed.Portal.Enabled)
	assert.Equal(t, []string{"admins"}, parsed.Portal.Admins.Groups)
	// Rights on policies are given only to who is to edit them, and none to update.
	rights := func(set, resource string) (verbs []string) {
		for text := range strings.SplitSeq(render(set), "\n---\n") {
			if kind, name := decode(t, text); kind == "Role" && name == "elastichub" {
				var role rbacv1.Role
				require.NoError(t, yaml.Unmarshal([]byte(text), &role))
				for _, rule := range role.Rules {
					if slices.Contains(rule.Resources, resource) {
						verbs = append(verbs, rule.Verbs...)
					}
				}
			}
		}
		return verbs
	}
	const console = "portal.enabled=true,hub.apiURL=http://hub:8081/hub/api,hub.tokenSecret=console"
	for _, set := range []string{"replicas=1", console, "portal.policies.edit=true"} {
		assert.Equal(t, []string{"get", "list", "watch"}, rights(set, "grouppolicies"), set)
	}
	assert.Empty(t, rights("replicas=1", "pods/log"), "only the console shows logs")
	assert.Equal(t, []string{"get"}, rights(console, "pods/log"))
	// So are those that tokens of Kubernetes need.
	for set, has := range map[string]bool{"replicas=1": false, console: true, console + ",portal.kubernetesTokens=false": false} {
		assert.Equal(t, has, slices.Equal(rights(set, "localsubjectaccessreviews"), []string{"create"}), set)
		assert.Equal(t, has, strings.Contains(render(set), "tokenreviews"), set)
	}
	assert.Equal(t, []string{"get", "list", "watch", "create", "patch", "delete"}, rights(console+",portal.policies.edit=true", "grouppolicies"))
	for _, wrong := range []string{"portal.policies.edit=maybe", "portal.basePath=services", "portal.provider=ldap", "portal.publicURL=console", "portal.hub.clientID=elastichub"} {
		out, err := helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/smallest.yaml", "--set", wrong)
		assert.Error(t, err, out)
	}
}

// TestNoSecretIsMadeByTheTemplate: whoever renders the chart in a pipeline, without the cluster,
// gets the same twice, and no value of a Secret. A Job makes those that no value names.
func TestNoSecretIsMadeByTheTemplate(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.yaml")
	require.NoError(t, err)
	for _, file := range files {
		render := func() string {
			out, err := helm.Run(t, "template", "elastichub", ".", "--namespace", "jupyterhub", "--kube-version", "1.34", "--values", file)
			require.NoError(t, err, out)
			return out
		}
		out := render()
		assert.Equal(t, out, render(), file)
		assert.NotContains(t, out, "kind: Secret\n", file)
	}
	all := "portal.enabled=true,hub.apiURL=http://hub:8081/hub/api,hub.tokenSecret=console,metrics.notebooks.enabled=true"
	made := func(set string) []string {
		texts := objects(t, "secrets.yaml", set)
		if len(texts) == 0 {
			return nil
		}
		var job batchv1.Job
		require.NoError(t, yaml.UnmarshalStrict([]byte(texts[len(texts)-1]), &job))
		var role rbacv1.Role
		require.NoError(t, yaml.UnmarshalStrict([]byte(texts[1]), &role))
		var names []string
		for _, argument := range job.Spec.Template.Spec.Containers[0].Args {
			if made, is := strings.CutPrefix(argument, "--make="); is {
				what, name, _ := strings.Cut(made, "=")
				names = append(names, what)
				assert.Contains(t, role.Rules[0].ResourceNames, name)
			}
		}
		assert.Len(t, role.Rules[0].ResourceNames, len(names))
		return names
	}
	assert.Equal(t, []string{"hub-token", "signing", "keep", "portal", "notebook-metrics"}, made(all))
	assert.Equal(t, []string{"keep"}, made("hub.existingSecret=a,signing.existingSecret=b"))
	_, err = helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/smallest.yaml", "--show-only", "templates/secrets.yaml",
		"--set", "hub.existingSecret=a,signing.existingSecret=b,kernels.keep.existingSecret=c")
	assert.ErrorContains(t, err, "exit status 1", "nothing to make, and no Job")
}
