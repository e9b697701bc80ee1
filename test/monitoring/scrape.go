// Package monitoring has a real Prometheus read notebook servers by the chart's PodMonitor, and
// servers stopped or kept by what it has measured. `make panels-test` runs it (build tag e2e).
package monitoring

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"sigs.k8s.io/yaml"
)

// podMonitor is what the chart's have of monitoring.coreos.com/v1; test/panels decodes them
// strictly into the operator's own types.
type podMonitor struct {
	Spec struct {
		Selector            struct{ MatchLabels map[string]string }
		PodMetricsEndpoints []struct {
			PortNumber    int
			Interval      string
			Authorization struct {
				Credentials struct{ Name, Key string }
			}
			Relabelings, MetricRelabelings []relabeling
		}
	}
}

type relabeling struct {
	Action, Regex, TargetLabel string
	SourceLabels               []string
}

func (r relabeling) config() map[string]any {
	config := map[string]any{"source_labels": r.SourceLabels}
	for name, value := range map[string]string{"action": r.Action, "regex": r.Regex, "target_label": r.TargetLabel} {
		if value != "" {
			config[name] = value
		}
	}
	return config
}

var notInLabels = regexp.MustCompile(`[^a-zA-Z0-9_]`)

// ScrapeConfig is a PodMonitor as Prometheus' operator writes it into Prometheus' configuration
// (its pkg/prometheus/promcfg.go), for a Prometheus outside of the cluster. secret reads a key
// of a Secret.
func ScrapeConfig(monitor []byte, namespace, kubeconfig string, secret func(name, key string) (string, error)) (map[string]any, error) {
	var m podMonitor
	if err := yaml.Unmarshal(monitor, &m); err != nil {
		return nil, err
	}
	if len(m.Spec.PodMetricsEndpoints) != 1 {
		return nil, errors.New("a PodMonitor of one endpoint is wanted")
	}
	endpoint := m.Spec.PodMetricsEndpoints[0]
	token, err := secret(endpoint.Authorization.Credentials.Name, endpoint.Authorization.Credentials.Key)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	var relabel []map[string]any
	add := func(r relabeling) { relabel = append(relabel, r.config()) }
	for _, label := range slices.Sorted(maps.Keys(m.Spec.Selector.MatchLabels)) {
		add(relabeling{Action: "keep", Regex: regexp.QuoteMeta(m.Spec.Selector.MatchLabels[label]),
			SourceLabels: []string{"__meta_kubernetes_pod_label_" + notInLabels.ReplaceAllString(label, "_")}})
	}
	add(relabeling{Action: "keep", Regex: strconv.Itoa(endpoint.PortNumber), SourceLabels: []string{"__meta_kubernetes_pod_container_port_number"}})
	for source, target := range map[string]string{"namespace": "namespace", "pod_container_name": "container", "pod_name": "pod"} {
		add(relabeling{SourceLabels: []string{"__meta_kubernetes_" + source}, TargetLabel: target})
	}
	for _, r := range endpoint.Relabelings {
		add(r)
	}
	var metrics []map[string]any
	for _, r := range endpoint.MetricRelabelings {
		metrics = append(metrics, r.config())
	}
	return map[string]any{
		"job_name": "notebooks", "scrape_interval": endpoint.Interval, "scrape_timeout": endpoint.Interval,
		"authorization":          map[string]any{"credentials": token},
		"kubernetes_sd_configs":  []map[string]any{{"role": "pod", "kubeconfig_file": kubeconfig, "namespaces": map[string]any{"names": []string{namespace}}}},
		"relabel_configs":        relabel,
		"metric_relabel_configs": metrics,
	}, nil
}
