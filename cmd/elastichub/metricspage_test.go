package main

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/elastichub/elastichub/kernels/gateway"
	"github.com/elastichub/elastichub/tokens"
)

var (
	// described is how a Desc writes itself: prometheus shows its name and labels nowhere else.
	described = regexp.MustCompile(`^Desc\{fqName: "(elastichub_\w+)".* constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)
	inPage    = regexp.MustCompile("`(elastichub_\\w+)(\\{[\\w,]+\\})?`")
)

// checkMetricsPage sees that docs/metrics.md has every metric of the service that runs here and
// of a gateway, with its labels, and none besides.
func checkMetricsPage(t *testing.T) {
	t.Helper()
	told := map[string]string{}
	service, ok := metrics.Registry.(prometheus.Collector)
	require.True(t, ok)
	for _, registry := range []prometheus.Collector{service, gatewayRegistry(t)} {
		for _, desc := range descriptions(registry) {
			match := described.FindStringSubmatch(desc.String())
			if match == nil {
				assert.NotContains(t, desc.String(), `"elastichub_`)
				continue
			}
			var labels []string
			for label := range strings.SplitSeq(match[2]+","+match[3], ",") {
				if name, _, _ := strings.Cut(label, "="); name != "" {
					labels = append(labels, name)
				}
			}
			slices.Sort(labels)
			told[match[1]] = strings.Join(labels, ",")
		}
	}
	assert.Greater(t, len(told), 50)
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "metrics.md"))
	require.NoError(t, err)
	written := map[string]string{}
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "| `elastichub_") {
			continue
		}
		for _, match := range inPage.FindAllStringSubmatch(line, -1) {
			_, twice := written[match[1]]
			assert.False(t, twice, match[1])
			labels := strings.Split(strings.Trim(match[2], "{}"), ",")
			slices.Sort(labels)
			written[match[1]] = strings.Join(labels, ",")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(told)) {
		labels, there := written[name]
		assert.True(t, there, "docs/metrics.md does not have %s", name)
		assert.Equal(t, told[name], labels, name)
	}
	for name := range written {
		assert.Contains(t, told, name, "docs/metrics.md has what there is not")
	}
}

func descriptions(of prometheus.Collector) (all []*prometheus.Desc) {
	ch := make(chan *prometheus.Desc)
	go func() {
		of.Describe(ch)
		close(ch)
	}()
	for desc := range ch {
		all = append(all, desc)
	}
	return all
}

// gatewayRegistry has the metrics of a gateway that never listens.
func gatewayRegistry(t *testing.T) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewRegistry()
	config := gateway.Default()
	config.Namespace, config.Name = "hub", "default"
	config.KeyFile = writeConfig(t, strings.Repeat("0a", 32))
	issuer, err := tokens.NewIssuer(make([]byte, 32))
	require.NoError(t, err)
	config.TokenKeyFile = writeConfig(t, issuer.PublicKey())
	_, err = gateway.New(config, gateway.Deps{Registry: registry, Log: slog.New(slog.DiscardHandler), Now: time.Now, Synced: func() bool { return false }})
	require.NoError(t, err)
	return registry
}
