package portal_test

import (
	"encoding/csv"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/portal"
	"github.com/elastichub/elastichub/usage"
)

const evil = `=HYPERLINK("x")<script>`

// withHours is a console beside a ledger in real ConfigMaps: alice held a GPU for an hour, was
// busy for a quarter of it, and her server ran on for half an hour. Another's kernels are
// named to do harm, and a gateway has a client of alice's name.
func withHours(t *testing.T, change ...func(*portal.Config)) *harness {
	h := newHarness(t, change...)
	h.bookHours()
	return h
}

// bookHours writes that ledger, with the hour of further kernels.
func (h *harness) bookHours(more ...usage.Kernel) {
	h.Helper()
	t := h.T
	store := usage.Store{Reader: h.api, Client: h.api, Namespace: h.namespace, Name: "hours"}
	saved, err := store.Read(t.Context())
	require.NoError(t, err)
	at := func(after time.Duration) usage.Now {
		return usage.Now{Mono: after, API: h.now.Add(after - 2*time.Hour)}
	}
	ledger := usage.NewLedger(saved.Books, at(0))
	gpu := usage.Amounts{"nvidia.com/gpu": 1000, usage.CPU: 500}
	kernels := []usage.Kernel{
		{UID: "1", Run: 1, Key: usage.Key{User: "alice", Group: "research", KernelSpec: "python-gpu"}, Server: "jupyter-alice", Amounts: gpu},
		{UID: "2", Run: 1, Key: usage.Key{User: evil, Group: evil, KernelSpec: evil}, Server: "jupyter-evil", Amounts: gpu},
		{UID: "3", Run: 1, Key: usage.Key{User: "alice", KernelSpec: "batch", Client: true}, Amounts: gpu},
	}
	kernels = append(kernels, more...)
	servers := []usage.Server{{UID: "s", Name: "jupyter-alice", User: "alice", Start: "1", Up: true}}
	ledger.Look(at(0), kernels, servers)
	for i := range kernels {
		kernels[i].Holds = true
	}
	ledger.Look(at(0), kernels, servers)
	ledger.Answer("1", 1, usage.Meter{Held: 3600_000, Busy: 900_000}, time.Hour)
	ledger.Look(at(time.Hour), kernels, servers)
	for i := range kernels {
		kernels[i].Holds = false
	}
	ledger.Look(at(time.Hour), kernels, servers)
	ledger.Look(at(90*time.Minute), kernels, servers)
	for shard := range usage.Shards {
		if changed, _ := ledger.State(shard); changed {
			_, _, err := store.Write(t.Context(), saved, shard, ledger.Book(shard))
			require.NoError(t, err)
		}
	}
}

func TestHoursByTheAPI(t *testing.T) {
	h := withHours(t, func(c *portal.Config) {
		c.Prices, c.Currency = usage.Prices{"nvidia.com/gpu": 2, usage.CPU: 0.5}, "EUR"
	})
	gpu := func(line any) map[string]any {
		return line.(map[string]any)["resources"].(map[string]any)["nvidia.com/gpu"].(map[string]any)
	}
	mine := decode(t, h.call("alice", http.MethodGet, "api/v1/me/usage?days=2", ""))
	require.Len(t, mine["items"], 1, "not what a gateway's client of her name holds")
	line := mine["items"].([]any)[0]
	assert.Equal(t, "python-gpu", line.(map[string]any)["name"])
	assert.InDelta(t, 1, gpu(line)["held"], 1e-9)
	assert.InDelta(t, 0.25, gpu(line)["busy"], 1e-9)
	assert.InDelta(t, 0.5, gpu(line)["saved"], 1e-9)
	assert.InDelta(t, 2.25, line.(map[string]any)["cost"], 1e-9, "a GPU and half a core")
	assert.Equal(t, "EUR", mine["currency"])

	all := decode(t, h.call("root", http.MethodGet, "api/v1/usage?by=user&months=2", ""))
	require.Len(t, all["items"], 3)
	assert.InDelta(t, 3, gpu(all["total"])["held"], 1e-9)
	assert.Equal(t, true, all["items"].([]any)[2].(map[string]any)["client"])
	one := decode(t, h.call("root", http.MethodGet, "api/v1/usage?by=user&days=35&user=alice", ""))
	require.Len(t, one["items"], 1)
	assert.Len(t, decode(t, h.call("root", http.MethodGet, "api/v1/usage?by=date&days=35", ""))["items"], 35)
	assert.Empty(t, decode(t, h.call("bob", http.MethodGet, "api/v1/me/usage", ""))["items"])
	for _, bad := range []string{"days=0", "days=36", "months=25", "days=x", "by=password", "days=1&days=2", "resource=x", "when=1", "user=%ff"} {
		assert.Equal(t, "malformed", kindOf(t, h.call("root", http.MethodGet, "api/v1/usage?"+bad, "")), bad)
	}
	assert.Equal(t, http.StatusBadRequest, h.call("alice", http.MethodGet, "api/v1/me/usage?user=root", "").Code)
}

func TestHoursPages(t *testing.T) {
	h := withHours(t, func(c *portal.Config) { c.Prices, c.Currency = usage.Prices{"nvidia.com/gpu": 2}, "EUR" })
	alice, root := h.signIn("alice"), h.signIn("root")
	own := alice.open("my-hours").Body.String()
	for _, want := range []string{"My hours", "python-gpu", "25 %", "2.00 EUR", "<svg"} {
		assert.Contains(t, strings.ReplaceAll(own, "\u00a0", " "), want)
	}
	assert.NotContains(t, own, "HYPERLINK")
	for _, path := range []string{"hours?by=user", "hours?by=group&days=30", "hours?by=kernelspec&months=24&resource=cpu", "hours?by=date&resource=" + "none"} {
		w := root.open(path)
		require.Equal(t, http.StatusOK, w.Code, path)
		assert.NotContains(t, w.Body.String(), "<script>", path)
		assert.Contains(t, w.Body.String(), "What is counted", path)
	}
	assert.Contains(t, root.open("hours?by=user").Body.String(), "client of a gateway")
	assert.Contains(t, root.open("hours?by=user&user=nobody").Body.String(), "Nothing was held")
	assert.Equal(t, http.StatusForbidden, alice.open("hours").Code)
	assert.Equal(t, http.StatusForbidden, alice.open("hours.csv").Code)
	assert.Equal(t, http.StatusBadRequest, root.open("hours?days=99").Code)
}

func TestHoursAsATable(t *testing.T) {
	h := withHours(t)
	w := h.signIn("root").open("hours.csv?by=user&days=2&resource=cpu")
	require.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "text/csv; charset=utf-8", w.Header().Get("Content-Type"))
	assert.Contains(t, w.Header().Get("Content-Disposition"), "attachment")
	table, err := csv.NewReader(w.Body).ReadAll()
	require.NoError(t, err)
	require.Len(t, table, 4)
	assert.Equal(t, []string{"user", "runs", "runs_estimated", "nvidia.com/gpu_hours_held", "nvidia.com/gpu_hours_busy", "nvidia.com/gpu_hours_saved",
		"cpu_hours_held", "cpu_hours_busy", "cpu_hours_saved", "cost"}, table[0])
	assert.Equal(t, "'"+evil, table[1][0], "no formula")
	assert.Equal(t, []string{"alice", "1", "0", "1.0000", "0.2500", "0.5000", "0.5000", "0.1250", "0.0000", ""}, table[2])
}
