package panels

import (
	"context"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"
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
	minutes = 60 // of each scene
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
	"ElastichubVersionsDiffer": {
		of:    [2]string{"part", "service"},
		fires: []scene{{version("service", "0.1.0", "a"): levels(1, 1), version("service", "0.2.0", "b"): arriving(1)}},
		not: []scene{
			{version("service", "0.1.0", "a"): leaving(1), version("service", "0.2.0", "b"): arriving(1)},
			{version("service", "0.2.0", "a"): levels(1, 1), version("gateway", "0.1.0", "b"): levels(1, 1)}, // neighbours
		},
	},
	"ElastichubClusterErrors": {
		fires: []scene{
			{requests("<error>", "a"): rates(0, 0, 20, 0), requests("200", "a"): rates(0, 60, 60, 0), streams("a"): levels(0, 0)},
			{requests("503", "a"): rates(0, 0, 20, 0), requests("200", "a"): rates(0, 60, 60, 0), streams("a"): levels(0, 0)},
		},
		not: []scene{
			{requests("<error>", "a"): rates(0, 0, 1, 0), requests("409", "a"): rates(0, 0, 20, 0), requests("200", "a"): rates(0, 60, 60, 0), streams("a"): levels(0, 0)},
			{requests("<error>", "b"): rates(0, 0, 20, 0), requests("200", "a"): rates(0, 60, 60, 0), streams("a"): levels(0, 0)}, // not ours
		},
	},
	"ElastichubReconcilesFail": {
		of:    [2]string{"controller", "jupyternotebook"},
		fires: []scene{{reconciles("error", "a"): rates(0, 0, 4, 0), reconciles("success", "a"): rates(0, 9, 1, 0), streams("a"): levels(0, 0)}},
		not: []scene{
			{reconciles("error", "a"): rates(0, 0, 4, 0), reconciles("success", "a"): rates(0, 9, 9, 0), streams("a"): levels(0, 0)},
			{reconciles("error", "a"): rates(0, 0, 0, 9), reconciles("success", "a"): rates(0, 9, 9, 0), streams("a"): levels(0, 0)}, // once
			{reconciles("error", "b"): rates(0, 0, 4, 0), streams("a"): levels(0, 0)},                                                // not ours
		},
	},
	"ElastichubGatewayDown": {
		of:    [2]string{"gateway", "default"},
		fires: []scene{{replicas("default", "wanted"): levels(2, 2), replicas("default", "ready"): levels(2, 0), replicas("gpu", "wanted"): levels(1, 1), replicas("gpu", "ready"): levels(1, 1)}},
		not: []scene{
			{replicas("default", "wanted"): levels(2, 2), replicas("default", "ready"): levels(2, 1)},
			{replicas("default", "wanted"): levels(2, 0), replicas("default", "ready"): levels(2, 0)}, // nobody wants it
		},
	},
	"ElastichubHubTokenRefused": {
		fires: []scene{
			{orphanLooks("refused"): rates(0, 0, 0.1, 1)},
			{`elastichub_hub_servers_asked_total{act="stop",result="refused"}`: rates(0, 0, 1, 0)},
		},
		not: []scene{
			{orphanLooks("refused"): rates(4, 0, 0, 0), orphanLooks("concluded"): rates(0, 1, 1, 0)},
			{`elastichub_hub_servers_asked_total{act="stop",result="refused"}`: rates(0, 0, 0, 1)}, // once
		},
	},
	"ElastichubPeopleNotBelieved": {
		fires: []scene{{homeLooks("implausible"): rates(0, 0, 0, 1)}, {orphanLooks("implausible"): rates(0, 0, 0, 1)}},
		not:   []scene{{homeLooks("implausible"): rates(3, 0, 0, 0), homeLooks("concluded"): rates(0, 0, 1, 0), homeLooks("unavailable"): rates(0, 0, 1, 0)}},
	},
	"ElastichubArchiveFails": {
		fires: []scene{{homesLeft("archive_failed"): levels(0, 1), homesLeft("archiving"): levels(1, 0)}},
		not:   []scene{{homesLeft("archive_failed"): levels(0, 0), homesLeft("archiving"): levels(0, 2), homesLeft("due"): levels(0, 9)}},
	},
	"ElastichubClusterRefuses": {
		of:    [2]string{"reason", "QuotaExceeded"},
		fires: []scene{{refused("kernel", "QuotaExceeded"): levels(0, 2), refused("server", "WebhookUnavailable"): levels(0, 0)}},
		not:   []scene{{refused("kernel", "QuotaExceeded"): levels(0, 0)}, {refused("kernel", "QuotaExceeded"): brief(2, 8)}},
	},
	"ElastichubStatesNotKept": {
		fires: []scene{{states("none"): rates(0, 0, 0, 4), states("whole"): rates(0, 0, 0, 1)}},
		not: []scene{
			{states("none"): rates(0, 0, 0, 2)},
			{states("none"): rates(0, 0, 0, 4), states("whole"): rates(0, 0, 0, 9), states("part"): rates(0, 0, 0, 1)},
			{states("none"): rates(9, 0, 0, 0), states("whole"): rates(0, 0, 0, 1)},
		},
	},
	"ElastichubImagesFail": {
		of:    [2]string{"image", "registry/r:1"},
		fires: []scene{{images("failing"): levels(0, 1), images("present"): levels(3, 2)}},
		not:   []scene{{images("failing"): levels(0, 0), images("pulling"): levels(0, 3), images("waiting"): levels(0, 3)}, {images("failing"): brief(1, 10)}},
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

func version(part, release, pod string) string {
	return `elastichub_build_info{part="` + part + `",version="` + release + `",pod="` + pod + `"}`
}
func streams(pod string) string { return `elastichub_hubapi_event_streams{pod="` + pod + `"}` }
func requests(code, pod string) string {
	return `rest_client_requests_total{code="` + code + `",method="GET",host="10.0.0.1",pod="` + pod + `"}`
}
func reconciles(result, pod string) string {
	return `controller_runtime_reconcile_total{controller="jupyternotebook",result="` + result + `",pod="` + pod + `"}`
}
func replicas(gateway, state string) string {
	return `elastichub_gateway_replicas{gateway="` + gateway + `",state="` + state + `"}`
}
func orphanLooks(result string) string {
	return `elastichub_orphan_looks_total{result="` + result + `"}`
}
func homeLooks(result string) string {
	return `elastichub_home_looks_total{result="` + result + `"}`
}
func homesLeft(state string) string { return `elastichub_homes_left{state="` + state + `"}` }
func refused(kind, reason string) string {
	return `elastichub_waiting_for_cluster{kind="` + kind + `",reason="` + reason + `"}`
}
func states(outcome string) string {
	return `elastichub_kernel_states_total{outcome="` + outcome + `"}`
}
func images(state string) string {
	return `elastichub_prepull_nodes{image="registry/r:1",state="` + state + `"}`
}

// arriving is a gauge that is there from the time when something happens, and leaving one that is
// there until five minutes later.
func arriving(value float64) []float64 {
	return append(nothing(quiet), slices.Repeat([]float64{value}, (minutes-quiet)*4)...)
}
func leaving(value float64) []float64 {
	return append(slices.Repeat([]float64{value}, (quiet+5)*4), nothing(minutes-quiet-5)...)
}

// brief is a gauge that has a value for so many minutes from the time when something happens.
func brief(value float64, long int) []float64 {
	values := levels(0, value)
	for i := (quiet + long) * 4; i < len(values); i++ {
		values[i] = 0
	}
	return values
}

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
				return at, told(t, r, sample, at)
			}
		}
		holdsSince = holds
	}
	return time.Time{}, nil
}

// told are the labels of an alert that fires, with its annotations as people read them, whose
// templates are Prometheus' own.
func told(t *testing.T, r rule, sample promql.Sample, at time.Time) map[string]string {
	t.Helper()
	labels := sample.Metric.Map()
	all := maps.Clone(labels)
	data := template.AlertTemplateData(labels, nil, "", sample)
	for name, text := range r.Annotations {
		text = "{{$labels := .Labels}}{{$value := .Value}}" + text
		expanded, err := template.NewTemplateExpander(t.Context(), text, r.Alert, data, model.TimeFromUnixNano(at.UnixNano()), nil, &url.URL{}, nil).Expand()
		require.NoError(t, err, "%s: %s", r.Alert, name)
		assert.NotContains(t, expanded, "no value", "%s: %s", r.Alert, name)
		assert.NotContains(t, expanded, "{{", "%s: %s", r.Alert, name)
		all[name] = expanded
	}
	return all
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
			assert.Regexp(t, "#"+strings.ToLower(name)+"$", r.Annotations["runbook_url"])
			for i, s := range test.fires {
				at, told := firing(t, r, s, "hub")
				require.NotNil(t, told, "scene %d", i)
				assert.True(t, at.After(from.Add(quiet*time.Minute)), "scene %d: at %s", i, at)
				assert.Equal(t, test.of[1], told[test.of[0]], "scene %d: %v", i, told)
				if test.of[1] != "" {
					assert.Contains(t, told["summary"], test.of[1], "scene %d", i)
				}
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
