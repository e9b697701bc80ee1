package elastichub

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/test/helm"
)

// objects are the documents of one template, with these values set.
func objects(t *testing.T, template, set string) []string {
	t.Helper()
	out, err := helm.Run(t, "template", "elastichub", ".", "--namespace", "hub", "--kube-version", "1.34", "--values", "testdata/smallest.yaml",
		"--set", set, "--show-only", "templates/"+template)
	if err != nil && strings.Contains(out, "could not find template") {
		return nil
	}
	require.NoError(t, err, out)
	return strings.Split(out, "\n---\n")
}

// TestMonitoringIsOffUnlessWanted, each part by itself.
func TestMonitoringIsOffUnlessWanted(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"replicas=1": "", "serviceMonitor.enabled=true": "ServiceMonitor", "podMonitor.enabled=true": "PodMonitor",
		"notebookMonitor.enabled=true": "PodMonitor", "metrics.notebooks.enabled=true": "",
		"prometheusRule.enabled=true": "PrometheusRule", "dashboards.enabled=true": "ConfigMap",
	} {
		found := ""
		for _, text := range objects(t, "monitoring.yaml", set) {
			kind, _ := decode(t, text)
			found += kind
		}
		assert.Equal(t, want, found, set)
	}
}

// TestRulesAreOfTheNamespace: what the chart fills in is all that was to be.
func TestRulesAreOfTheNamespace(t *testing.T) {
	t.Parallel()
	text := strings.Join(objects(t, "monitoring.yaml", "prometheusRule.enabled=true,prometheusRule.queueSeconds=77"), "\n")
	assert.NotContains(t, text, "$NAMESPACE")
	assert.NotContains(t, text, "$QUEUE")
	assert.Contains(t, text, `namespace="hub"`)
	assert.Contains(t, text, "> 77")
	assert.Contains(t, text, "{{ $labels.reason }}", "Prometheus' own templates")
	assert.NotContains(t, text, "$RUNBOOK")
	assert.Regexp(t, `runbook_url: https://github.com/elastichub/elastichub/blob/v[0-9.]+/docs/operations.md#elastichubnoleader`, text)
	text = strings.Join(objects(t, "monitoring.yaml", "prometheusRule.enabled=true,prometheusRule.runbookURL=https://wiki.example.org/elastichub"), "\n")
	assert.Contains(t, text, "runbook_url: https://wiki.example.org/elastichub#elastichubnoleader")
}

// TestEachAlertHasItsSection: docs/operations.md says of each alert what to do, under the heading that its
// annotation leads to, docs/metrics.md when it fires, and neither names one that there is not.
func TestEachAlertHasItsSection(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("monitoring/alerts.yaml")
	require.NoError(t, err)
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Annotations map[string]string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(raw, &file))
	page, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	sections := map[string]string{}
	for _, section := range strings.Split(string(page), "\n### ")[1:] {
		name, text, _ := strings.Cut(section, "\n")
		sections[name] = text
	}
	metrics, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	for _, group := range file.Groups {
		for _, r := range group.Rules {
			text, there := sections[r.Alert]
			assert.True(t, there, "docs/operations.md has no section %s", r.Alert)
			assert.Greater(t, len(strings.TrimSpace(text)), 40, r.Alert)
			assert.Equal(t, "$RUNBOOK#"+strings.ToLower(r.Alert), r.Annotations["runbook_url"])
			assert.Contains(t, string(metrics), "`"+r.Alert+"`")
			delete(sections, r.Alert)
		}
	}
	assert.Empty(t, sections, "sections of no alert")
}

// TestDashboards: Grafana's sidecar finds them, and they are what Grafana reads.
func TestDashboards(t *testing.T) {
	t.Parallel()
	texts := objects(t, "monitoring.yaml", "dashboards.enabled=true")
	require.Len(t, texts, 1)
	var cm corev1.ConfigMap
	require.NoError(t, yaml.UnmarshalStrict([]byte(texts[0]), &cm))
	assert.Equal(t, "1", cm.Labels["grafana_dashboard"])
	files, err := filepath.Glob("monitoring/dashboards/*.json")
	require.NoError(t, err)
	require.Len(t, cm.Data, len(files))
	assert.Less(t, len(texts[0]), 512<<10, "a ConfigMap takes 1 MiB")
	uids := map[string]bool{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.JSONEq(t, string(raw), cm.Data[filepath.Base(file)])
		var d struct {
			UID, Title string
			Panels     []struct {
				ID      int
				Type    string
				Title   string
				GridPos struct{ X, Y, W, H int }
				Targets []struct{ Expr, RefID string }
			}
		}
		require.NoError(t, json.Unmarshal(raw, &d))
		assert.Equal(t, d.UID+".json", filepath.Base(file))
		assert.NotEmpty(t, d.Title)
		assert.False(t, uids[d.UID], d.UID)
		uids[d.UID] = true
		ids, taken := map[int]bool{}, map[[2]int]string{}
		for _, p := range d.Panels {
			assert.False(t, ids[p.ID], "%s: two panels have the id %d", file, p.ID)
			ids[p.ID] = true
			assert.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, "%s: %s", file, p.Title)
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					assert.Empty(t, taken[[2]int{x, y}], "%s: %s lies over it", file, p.Title)
					taken[[2]int{x, y}] = p.Title
				}
			}
			assert.Equal(t, p.Type == "row", len(p.Targets) == 0, "%s: %s", file, p.Title)
			for _, target := range p.Targets {
				assert.Contains(t, target.Expr, `namespace=~"$namespace"`, "%s: %s", file, p.Title)
			}
		}
	}
}

// TestFlowSchemaIsTheServices on a real API server: it tells in each answer which schema
// counted. The service's account has ours; another of the namespace, such as a gateway's, has not.
func TestFlowSchemaIsTheServices(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS is not set: a kube-apiserver is needed")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no kube-apiserver")
	}
	assert.Empty(t, objects(t, "flowschema.yaml", "replicas=1"), "off unless wanted")
	texts := objects(t, "flowschema.yaml", "flowSchema.enabled=true")
	require.Len(t, texts, 1)
	environment := &envtest.Environment{}
	cluster, err := environment.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, environment.Stop()) })
	api, err := client.New(cluster, client.Options{Scheme: scheme.Scheme})
	require.NoError(t, err)
	var schema flowcontrolv1.FlowSchema
	require.NoError(t, yaml.UnmarshalStrict([]byte(texts[0]), &schema))
	require.NoError(t, api.Create(t.Context(), &schema))
	schemaOf := func(account string) (uid string) {
		config := rest.CopyConfig(cluster)
		config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:hub:" + account, Groups: []string{"system:serviceaccounts", "system:authenticated"}}
		config.Wrap(transport.WrapperFunc(func(inner http.RoundTripper) http.RoundTripper {
			return answered{inner, func(a *http.Response) { uid = a.Header.Get("X-Kubernetes-Pf-Flowschema-Uid") }}
		}))
		asker, err := client.New(config, client.Options{Scheme: scheme.Scheme})
		require.NoError(t, err)
		_ = asker.List(t.Context(), &corev1.PodList{}, client.InNamespace("hub")) // forbidden, and ranked all the same
		return uid
	}
	require.Eventually(t, func() bool { return schemaOf("elastichub") == string(schema.UID) }, 30*time.Second, 300*time.Millisecond,
		"%s, not %s", schemaOf("elastichub"), schema.UID)
	other := schemaOf("default-gateway")
	assert.NotEmpty(t, other)
	assert.NotEqual(t, string(schema.UID), other)
}

// answered shows each answer to see.
type answered struct {
	http.RoundTripper
	see func(*http.Response)
}

func (a answered) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := a.RoundTripper.RoundTrip(r)
	if err == nil {
		a.see(answer)
	}
	return answer, err
}

// TestNotebooksShowTheirMetrics: Prometheus has the token of a Secret of which notebooks are told the
// name, for its hash, and may reach them. All that is there only if it is wanted.
func TestNotebooksShowTheirMetrics(t *testing.T) {
	t.Parallel()
	const from = "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.team=monitoring,"
	for set, named := range map[string]string{
		"replicas=1":                     "",
		"notebookMonitor.enabled=true":   "elastichub-notebook-metrics",
		"metrics.notebooks.enabled=true": "elastichub-notebook-metrics",
		"notebookMonitor.enabled=true,metrics.notebooks.existingSecret=ours": "ours",
	} {
		var config struct {
			Notebooks struct{ MetricsSecret string }
		}
		var cm corev1.ConfigMap
		require.NoError(t, yaml.UnmarshalStrict([]byte(objects(t, "configmap.yaml", set)[0]), &cm))
		require.NoError(t, yaml.Unmarshal([]byte(cm.Data["config.yaml"]), &config))
		assert.Equal(t, named, config.Notebooks.MetricsSecret, set)

		out := strings.Join(objects(t, "secrets.yaml", set), "\n")
		assert.Equal(t, named == "elastichub-notebook-metrics", strings.Contains(out, "--make=notebook-metrics=elastichub-notebook-metrics"), set)
		for _, text := range objects(t, "monitoring.yaml", set) {
			var monitor struct {
				Spec struct {
					PodMetricsEndpoints []struct {
						Authorization struct{ Credentials corev1.SecretKeySelector }
					}
				}
			}
			require.NoError(t, yaml.Unmarshal([]byte(text), &monitor))
			require.Len(t, monitor.Spec.PodMetricsEndpoints, 1)
			assert.Equal(t, named, monitor.Spec.PodMetricsEndpoints[0].Authorization.Credentials.Name, set)
			assert.Equal(t, "token", monitor.Spec.PodMetricsEndpoints[0].Authorization.Credentials.Key, set)
		}
		opened := 0
		for _, text := range objects(t, "networkpolicy.yaml", from+set) {
			var policy networkingv1.NetworkPolicy
			require.NoError(t, yaml.UnmarshalStrict([]byte(text), &policy))
			for _, rule := range policy.Spec.Ingress {
				if policy.Name == "elastichub-notebooks" && len(rule.From) == 1 && rule.From[0].NamespaceSelector != nil {
					assert.Equal(t, int32(8888), rule.Ports[0].Port.IntVal)
					opened++
				}
			}
		}
		assert.Equal(t, named != "", opened == 1, set)
	}
}
