package panels

import (
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// TestMonitorsAreOfTheOperatorsKinds: decoded strictly into its own types, since there is no
// operator here whose API server would refuse a misspelt field.
func TestMonitorsAreOfTheOperatorsKinds(t *testing.T) {
	t.Parallel()
	kinds := map[string]any{
		"ServiceMonitor": &monitoringv1.ServiceMonitor{}, "PodMonitor": &monitoringv1.PodMonitor{}, "PrometheusRule": &monitoringv1.PrometheusRule{},
	}
	found := map[string]int{}
	for _, text := range rendered(t, "hub") {
		var head struct{ Kind string }
		require.NoError(t, yaml.Unmarshal([]byte(text), &head))
		if into := kinds[head.Kind]; into != nil {
			assert.NoError(t, yaml.UnmarshalStrict([]byte(text), into), head.Kind)
			found[head.Kind]++
		}
	}
	assert.Equal(t, map[string]int{"ServiceMonitor": 1, "PodMonitor": 2, "PrometheusRule": 1}, found)
}

// TestQueriesAreQueries: Prometheus' own parser takes each, also where no demo runs.
func TestQueriesAreQueries(t *testing.T) {
	t.Parallel()
	panels, err := Dashboards(chart+"/monitoring/dashboards", Variables("hub", 900e9))
	require.NoError(t, err)
	require.Greater(t, len(panels), 50)
	for _, panel := range panels {
		for _, query := range panel.Queries {
			_, err := parser.NewParser(parser.Options{}).ParseExpr(query)
			assert.NoError(t, err, "%s: %s", panel.Dashboard, panel.Title)
		}
	}
}
