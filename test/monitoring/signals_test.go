//go:build e2e

package monitoring

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/spawner/signals"
	"github.com/elastichub/elastichub/test/loopback"
)

// TestWhatPrometheusTells: each of these Pods has been measured otherwise.
func TestWhatPrometheusTells(t *testing.T) {
	const kernels = "kernel_currently_running_total{type=%q} %d\n"
	last := time.Unix(1_800_000_000, 250e6)
	activity := "jupyter_server_last_activity_timestamp_seconds 1.80000000025e+09\n"
	var gone atomic.Bool
	said := map[string]string{
		"no-kernel-yet": "terminal_currently_running_total 0\n" + activity,
		"kernels":       fmt.Sprintf(kernels, "python3", 1) + fmt.Sprintf(kernels, "ir", 2) + activity,
		"none-left":     fmt.Sprintf(kernels, "python3", 0) + activity,
		"older":         "terminal_currently_running_total 0\n" + fmt.Sprintf(kernels, "python3", 1),
		"older-idle":    "terminal_currently_running_total 1\n",
		"no-server":     "process_start_time_seconds 1\n",
		"gone":          activity,
		"worker":        "jobs 3\n" + activity,
	}
	targets := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pod := strings.TrimPrefix(r.URL.Path, "/")
		if pod == "gone" && gone.Load() {
			http.Error(w, "gone", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = w.Write([]byte(said[pod]))
	}))
	defer targets.Close()
	config := "global: {scrape_interval: 250ms, scrape_timeout: 250ms}\nscrape_configs:\n"
	for pod := range said {
		for _, reader := range []string{"a", "b"} { // two that read the same, one of them of another cluster
			config += fmt.Sprintf("- {job_name: %s-%s, metrics_path: /%s, static_configs: [{targets: ['%s'], labels: {namespace: hub, pod: %s, cluster: %s}}]}\n",
				pod, reader, pod, strings.TrimPrefix(targets.URL, "http://"), pod, reader)
		}
	}
	directory := t.TempDir()
	file := filepath.Join(directory, "prometheus.yml")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	address := fmt.Sprintf("127.0.0.1:%d", loopback.Port())
	cmd := exec.Command(need(t, "PROMETHEUS"), "--config.file="+file, "--storage.tsdb.path="+filepath.Join(directory, "data"), "--web.listen-address="+address)
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()

	client := func(change func(*signals.Config)) *signals.Client {
		config := signals.Config{URL: "http://" + address, Timeout: 5 * time.Second, Window: 5 * time.Second}
		change(&config)
		c, err := signals.New(config, prometheus.NewRegistry())
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
	c := client(func(*signals.Config) {})
	require.Eventually(t, func() bool {
		for pod := range said {
			if _, err := c.Of(t.Context(), "hub", pod); err != nil && pod != "no-server" {
				return false
			}
		}
		return true
	}, time.Minute, 250*time.Millisecond)
	for pod, want := range map[string]spawner.Seen{
		"no-kernel-yet": {Last: last}, "kernels": {Last: last, Kernels: 3}, "none-left": {Last: last}, "older": {Kernels: 1}, "older-idle": {},
	} {
		seen, err := c.Of(t.Context(), "hub", pod)
		require.NoError(t, err, pod)
		assert.Equal(t, want.Kernels, seen.Kernels, pod)
		assert.WithinDuration(t, want.Last, seen.Last, time.Millisecond, pod)
	}
	for _, pod := range []string{"no-server", "never-seen", ""} {
		_, err := c.Of(t.Context(), "hub", pod)
		assert.ErrorIs(t, err, signals.ErrNotMeasured, pod)
	}
	_, err := c.Of(t.Context(), "other", "kernels")
	assert.ErrorIs(t, err, signals.ErrNotMeasured)

	other := client(func(c *signals.Config) { c.MatchLabels = []signals.Label{{Name: "cluster", Value: "c"}} })
	_, err = other.Of(t.Context(), "hub", "kernels")
	assert.ErrorIs(t, err, signals.ErrNotMeasured, "of no such cluster")
	other = client(func(c *signals.Config) { c.MatchLabels = []signals.Label{{Name: "cluster", Value: "b"}} })
	_, err = other.Of(t.Context(), "hub", "kernels")
	require.NoError(t, err)

	for query, held := range map[string]bool{
		`jobs{namespace="$namespace",pod="$pod"}`: true, `jobs{pod="$pod"} > 3`: false, `nothing{pod="$pod"}`: false, `jobs{pod="$pod"} - 3`: false,
		`scalar(jobs{pod="$pod",cluster="a"})`: true,
	} {
		seen, err := client(func(c *signals.Config) { c.KeepWhile = query }).Of(t.Context(), "hub", "worker")
		require.NoError(t, err, query)
		assert.Equal(t, held, seen.Held, query)
	}
	_, err = client(func(c *signals.Config) { c.KeepWhile = `jobs{pod="$pod"` }).Of(t.Context(), "hub", "worker")
	require.ErrorContains(t, err, "keepWhile")
	assert.NotErrorIs(t, err, signals.ErrNotMeasured)

	// What was measured is forgotten when it is too old.
	gone.Store(true)
	require.Eventually(t, func() bool {
		_, err := c.Of(t.Context(), "hub", "gone")
		return err != nil
	}, 30*time.Second, 250*time.Millisecond)
	_, err = c.Of(t.Context(), "hub", "gone")
	assert.ErrorIs(t, err, signals.ErrNotMeasured)
}
