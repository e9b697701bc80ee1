package panels

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	onPage = regexp.MustCompile("`(elastichub_\\w+)(?:\\{([\\w,]+)\\})?`")
	// ofTargets are labels that Prometheus or a histogram adds.
	ofTargets = []string{"__name__", "namespace", "pod", "le"}
	foreign   = regexp.MustCompile(`^(kube_pod_\w+|leader_election_master_status|rest_client_requests_total|controller_runtime_reconcile_total)$`)
)

// TestQueriesNameWhatThereIs: docs/metrics.md has each metric that a panel or an alert asks for,
// with the labels by which it is chosen; a test of cmd/elastichub holds the page to the registries.
func TestQueriesNameWhatThereIs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	labels := map[string][]string{}
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "| `elastichub_") {
			continue
		}
		for _, match := range onPage.FindAllStringSubmatch(line, -1) {
			labels[match[1]] = strings.Split(match[2], ",")
		}
	}
	queries := map[string]string{}
	for name, r := range rules(t) {
		queries[name] = r.Expr
	}
	panels, err := Dashboards(chart+"/monitoring/dashboards", Variables("hub", time.Hour))
	require.NoError(t, err)
	for _, panel := range panels {
		for _, query := range panel.Queries {
			queries[panel.Dashboard+": "+panel.Title+": "+query] = query
		}
	}
	for name, test := range scenes { // what alerts are tried with is what is told
		for _, s := range slices.Concat(test.fires, test.not) {
			for series := range s {
				queries[name+": "+series] = series
			}
		}
	}
	selected := 0
	for name, query := range queries {
		parsed, err := parser.NewParser(parser.Options{}).ParseExpr(query)
		require.NoError(t, err, name)
		parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
			selector, is := node.(*parser.VectorSelector)
			if !is || foreign.MatchString(selector.Name) {
				return nil
			}
			selected++
			known, there := labels[selector.Name]
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if of, found := labels[strings.TrimSuffix(selector.Name, suffix)]; found && !there {
					known, there = of, true
				}
			}
			assert.True(t, there, "%s asks for %s", name, selector.Name)
			for _, matcher := range selector.LabelMatchers {
				assert.True(t, slices.Contains(ofTargets, matcher.Name) || slices.Contains(known, matcher.Name), "%s chooses %s by %s", name, selector.Name, matcher.Name)
			}
			return nil
		})
	}
	assert.Greater(t, selected, 80)
}
