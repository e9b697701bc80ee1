package panels

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// rule is an alert of the PrometheusRule.
type rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) map[string]rule {
	t.Helper()
	all := map[string]rule{}
	for _, text := range rendered(t, "hub") {
		var object struct {
			Kind string
			Spec struct{ Groups []struct{ Rules []rule } }
		}
		require.NoError(t, yaml.Unmarshal([]byte(text), &object))
		if object.Kind != "PrometheusRule" {
			continue
		}
		for _, group := range object.Spec.Groups {
			for _, r := range group.Rules {
				assert.NotContains(t, all, r.Alert)
				all[r.Alert] = r
			}
		}
	}
	return all
}

const (
	step    = 15 * time.Second
	minutes = 40 // of each scene
	quiet   = 20 // minutes before something happens
)

// from is when scenes begin.
var from = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// levels is a gauge that is one value and, from the time when something happens, another.
func levels(before, after float64) []float64 { return rates(before, 0, 0, after-before) }

// rates is a counter that begins so high, grows by so much a minute and, from the time when
// something happens, by so much; it jumps then.
func rates(first, before, after, jump float64) []float64 {
	values := make([]float64, minutes*4)
	value := first
	for i := range values {
		switch {
		case i == quiet*4:
			value += jump
		case i < quiet*4:
			value += before / 4
		default:
			value += after / 4
		}
		values[i] = value
	}
	return values
}

// scene are series by name, without the namespace.
type scene map[string][]float64

// scenes are, for each alert, what it fires at and what it does not.
var scenes = map[string]struct {
	fires, not []scene
	// of is a label that the alert has, and what it says.
	of [2]string
}{
	"ElastichubAbsent": {
		fires: []scene{{"elastichub_hubapi_event_streams{}": append(levels(0, 0)[:quiet*4:quiet*4], nothing(quiet)...)}},
		not:   []scene{{"elastichub_hubapi_event_streams{}": levels(0, 0)}},
	},
	"ElastichubNoLeader": {
		fires: []scene{{leading("a"): levels(1, 0), leading("b"): levels(0, 0)}},
		not: []scene{
			{leading("a"): levels(1, 0), leading("b"): levels(0, 1)}, // another takes over
			{leading("a"): levels(1, 1)},
		},
	},
	"ElastichubHubSilent": {
		fires: []scene{{hubapi("servers", "200"): rates(0, 60, 0, 0), probe: rates(0, 30, 30, 0), `elastichub_servers{phase="Ready"}`: levels(3, 3)}},
		not: []scene{
			{hubapi("servers", "200"): rates(0, 60, 0, 0), `elastichub_servers{phase="Ready"}`: levels(3, 0)}, // nothing to ask for
			{hubapi("servers", "200"): rates(0, 60, 1, 0), `elastichub_servers{phase="Ready"}`: levels(3, 3)},
		},
	},
	"ElastichubHubUnreachable": {
		fires: []scene{{`elastichub_hub_requests_total{result="unavailable"}`: rates(0, 0, 1, 0)}},
		not: []scene{
			{`elastichub_hub_requests_total{result="unavailable"}`: rates(7, 0, 0, 0), `elastichub_hub_requests_total{result="refused"}`: rates(0, 0, 9, 0)},
			{`elastichub_hub_requests_total{result="unavailable"}`: rates(0, 0, 0, 1)}, // once
		},
	},
	"ElastichubDirectoryUnavailable": {
		of: [2]string{"source", "ldap"},
		fires: []scene{
			{lookups("unavailable"): rates(0, 0, 1, 0)},
			{lookups("stale"): rates(0, 0, 1, 0), lookups("unavailable"): rates(0, 0, 0, 0)},
		},
		not: []scene{{lookups("unavailable"): rates(5, 0, 0, 0), lookups("stale"): rates(5, 0, 0, 0), lookups("unknown_user"): rates(0, 0, 9, 0)}},
	},
	"ElastichubQueueWaits": {
		of:    [2]string{"reason", "NodesInUse"},
		fires: []scene{{waits("NodesInUse"): levels(0, 2), waits("PoolInUse"): levels(0, 0), oldest: levels(0, 901)}},
		not: []scene{
			{waits("NodesInUse"): levels(0, 2), oldest: levels(0, 899)},
			{waits("NodesInUse"): levels(0, 0), oldest: levels(0, 0)},
		},
	},
	"ElastichubIdleWhileOthersWait": {
		of:    [2]string{"resource", "nvidia.com/gpu"},
		fires: []scene{{waiting("nvidia.com/gpu"): levels(0, 1), idle("nvidia.com/gpu"): levels(0, 2)}},
		not: []scene{
			{waiting("nvidia.com/gpu"): levels(0, 1), idle("nvidia.com/gpu"): levels(2, 0)},
			{waiting("nvidia.com/gpu"): levels(0, 0), idle("nvidia.com/gpu"): levels(2, 2)},
			{waiting("nvidia.com/gpu"): levels(0, 1), idle("amd.com/gpu"): levels(2, 2), idle("nvidia.com/gpu"): levels(0, 0)},
		},
	},
	"ElastichubStartsFail": {
		of:    [2]string{"reason", "ImagePullFailed"},
		fires: []scene{{failed: rates(0, 0, 1, 0), starts("failed"): rates(0, 0, 1, 0), starts("ready"): rates(0, 1, 1, 0)}},
		not: []scene{
			{failed: rates(0, 0, 1, 0), starts("failed"): rates(0, 0, 1, 0), starts("ready"): rates(0, 9, 9, 0)}, // one of ten
			{failed: rates(0, 0, 0, 2), starts("failed"): rates(0, 0, 0, 2), starts("ready"): rates(0, 0, 0, 0)}, // two in all
			{failed: rates(9, 0, 0, 0), starts("failed"): rates(9, 0, 0, 0), starts("ready"): rates(0, 1, 1, 0)}, // long ago
		},
	},
	"ElastichubKernelsFail": {
		of:    [2]string{"cause", "Image"},
		fires: []scene{{ends("Image"): rates(0, 0, 0, 4), ends("Idle"): rates(0, 1, 1, 0)}},
		not:   []scene{{ends("Image"): rates(0, 0, 0, 1), ends("Idle"): rates(0, 1, 9, 0), ends("OutOfMemory"): rates(0, 0, 1, 0)}},
	},
	"ElastichubAgentsUnreachable": {
		fires: []scene{{dials("error"): rates(0, 0, 4, 0), dials("ok"): rates(0, 2, 1, 0)}},
		not:   []scene{{dials("error"): rates(0, 1, 1, 0), dials("ok"): rates(0, 2, 2, 0)}, {dials("error"): rates(0, 0, 0, 0), dials("ok"): rates(0, 0, 0, 0)}},
	},
	"ElastichubLedgerNotWritten": {
		fires: []scene{{`elastichub_usage_write_failures_total{}`: rates(0, 0, 1, 0)}},
		not:   []scene{{`elastichub_usage_write_failures_total{}`: rates(0, 0, 0, 1)}}, // another has led
	},
	"ElastichubAPIErrors": {
		fires: []scene{{hubapi("servers", "503"): rates(0, 0, 5, 0), hubapi("servers", "200"): rates(0, 60, 60, 0)}},
		not:   []scene{{hubapi("servers", "503"): rates(0, 0, 1, 0), hubapi("servers", "200"): rates(0, 60, 60, 0), hubapi("servers", "404"): rates(0, 9, 9, 0)}},
	},
	"ElastichubConsoleErrors": {
		fires: []scene{{console("503"): rates(0, 0, 5, 0), console("200"): rates(0, 60, 60, 0)}},
		not:   []scene{{console("503"): rates(0, 0, 1, 0), console("200"): rates(0, 60, 60, 0), console("403"): rates(0, 9, 9, 0)}},
	},
}

const (
	oldest = `elastichub_kernel_queue_oldest_seconds{}`
	failed = `elastichub_server_start_failures_total{reason="ImagePullFailed"}`
	probe  = `elastichub_hubapi_requests_total{route="/readyz",code="200"}`
)

func leading(pod string) string {
	return `leader_election_master_status{name="elastichub-controllers",pod="` + pod + `"}`
}
func hubapi(route, code string) string {
	return `elastichub_hubapi_requests_total{route="/api/spawner/v1/` + route + `",code="` + code + `"}`
}
func lookups(answer string) string {
	return `elastichub_groups_lookups_total{source="ldap",answer="` + answer + `"}`
}
func waits(reason string) string {
	return `elastichub_kernel_queue_waiting{reason="` + reason + `"}`
}
func waiting(resource string) string {
	return `elastichub_devices_waiting{resource="` + resource + `"}`
}
func idle(resource string) string {
	return `elastichub_devices_held{state="idle",resource="` + resource + `"}`
}
func starts(outcome string) string {
	return `elastichub_server_start_seconds_count{outcome="` + outcome + `"}`
}
func ends(cause string) string { return `elastichub_kernel_ends_total{cause="` + cause + `"}` }
func dials(result string) string {
	return `elastichub_gateway_agent_dials_total{result="` + result + `"}`
}
func console(code string) string { return `elastichub_portal_requests_total{code="` + code + `"}` }

// nothing is that a series is not there for so many minutes.
func nothing(minutes int) []float64 { return slices.Repeat([]float64{math.NaN()}, minutes*4) }

// firing are the labels of an alert when it fires first in a scene, nil if it does not: its
// expression has to hold for as long as the rule says. of is the namespace that the scene is in.
func firing(t *testing.T, r rule, s scene, namespace string) (time.Time, map[string]string) {
	t.Helper()
	p, err := Open(t.TempDir())
	require.NoError(t, err)
	defer func() { assert.NoError(t, p.Close()) }()
	for series, values := range s {
		named := strings.Replace(series, "{", `{namespace="`+namespace+`",`, 1)
		require.NoError(t, p.Put(context.Background(), strings.Replace(named, ",}", "}", 1), from, step, values))
	}
	wait, err := model.ParseDuration(r.For)
	require.NoError(t, err)
	holdsSince := map[string]time.Time{}
	for at := from; at.Before(from.Add(minutes * time.Minute)); at = at.Add(2 * step) {
		vector, err := p.Query(t.Context(), r.Expr, at)
		require.NoError(t, err)
		holds := map[string]time.Time{}
		for _, sample := range vector {
			key := sample.Metric.String()
			holds[key] = at
			if since, held := holdsSince[key]; held {
				holds[key] = since
			}
			if at.Sub(holds[key]) >= time.Duration(wait) {
				return at, sample.Metric.Map()
			}
		}
		holdsSince = holds
	}
	return time.Time{}, nil
}

// TestAlerts: each fires at what it is for, and not before; not at what looks alike; and not
// at what happens in another namespace.
func TestAlerts(t *testing.T) {
	t.Parallel()
	all := rules(t)
	for name, r := range all {
		test, there := scenes[name]
		if !assert.True(t, there, "%s has no scenes", name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Contains(t, []string{"critical", "warning"}, r.Labels["severity"])
			assert.NotEmpty(t, r.Annotations["summary"])
			assert.NotEmpty(t, r.Annotations["description"])
			for i, s := range test.fires {
				at, told := firing(t, r, s, "hub")
				require.NotNil(t, told, "scene %d", i)
				assert.True(t, at.After(from.Add(quiet*time.Minute)), "scene %d: at %s", i, at)
				assert.Equal(t, test.of[1], told[test.of[0]], "scene %d: %v", i, told)
				if name != "ElastichubAbsent" {
					_, told = firing(t, r, s, "other")
					assert.Nil(t, told, "scene %d is another namespace's", i)
				}
			}
			for i, s := range test.not {
				_, told := firing(t, r, s, "hub")
				assert.Nil(t, told, "scene %d: %v", i, told)
			}
		})
	}
	for name := range scenes {
		assert.Contains(t, all, name, "a scene of no alert")
	}
}
