package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"
)

var (
	// chosen is a metric with what it is chosen by, in a query; matched is one of these.
	chosen  = regexp.MustCompile(`(\w+)\{([^}]*)\}`)
	matched = regexp.MustCompile(`(\w+)(=~|=)"([^"]*)"`)
)

// notTold are values that nobody tells before there is what they are of: a device that somebody
// holds, a node that an image is missing on, an answer with that code, a route that was asked.
var notTold = map[string]string{
	"elastichub_devices_held": "state", "elastichub_devices_waiting": "resource", "elastichub_prepull_nodes": "state", "elastichub_gateway_replicas": "state",
	"rest_client_requests_total": "code", "elastichub_hubapi_requests_total": "code,route", "elastichub_portal_requests_total": "code",
}

// checkAlerts sees that what the chart's alerts ask for is told by the service that leads here, or
// by a gateway, before anything has happened: metrics, labels, and the words in labels. Else the first
// time that something happens would be no increase, and a word that is renamed would silence an alert.
func checkAlerts(t *testing.T) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "charts", "elastichub", "monitoring", "alerts.yaml"))
	require.NoError(t, err)
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	require.NoError(t, yaml.Unmarshal(raw, &file))
	told := toldValues(t)
	asked := 0
	for _, group := range file.Groups {
		for _, r := range group.Rules {
			for _, query := range chosen.FindAllStringSubmatch(r.Expr, -1) {
				name := strings.TrimSuffix(query[1], "_count")
				values, there := told[name]
				assert.True(t, there || notTold[name] != "", "%s asks for %s, which nobody tells", r.Alert, name)
				for _, matcher := range matched.FindAllStringSubmatch(query[2], -1) {
					label, words := matcher[1], []string{matcher[3]}
					if label == "namespace" || strings.Contains(notTold[name], label) {
						continue
					}
					if matcher[2] == "=~" {
						words = strings.Split(matcher[3], "|")
					}
					for _, word := range words {
						asked++
						assert.True(t, values[label+"="+word], "%s asks for %s{%s=%q}, which nobody tells", r.Alert, name, label, word)
					}
				}
			}
		}
	}
	assert.Greater(t, asked, 20)
}

// toldValues are, by metric, the labels with their values that a leader and a gateway tell.
func toldValues(t *testing.T) map[string]map[string]bool {
	t.Helper()
	told := map[string]map[string]bool{}
	gather := func(from prometheus.Gatherer) {
		families, err := from.Gather()
		require.NoError(t, err)
		for _, family := range families {
			if told[family.GetName()] == nil {
				told[family.GetName()] = map[string]bool{}
			}
			for _, metric := range family.GetMetric() {
				for _, label := range metric.GetLabel() {
					told[family.GetName()][label.GetName()+"="+label.GetValue()] = true
				}
			}
		}
	}
	require.Eventually(t, func() bool {
		gather(metrics.Registry)
		return told["elastichub_waiting_for_cluster"] != nil && told["elastichub_servers"] != nil
	}, 30*time.Second, 100*time.Millisecond, "nobody leads")
	gather(gatewayRegistry(t))
	return told
}
