package spawner

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

var phases = []v1alpha1.NotebookPhase{
	v1alpha1.NotebookPending, v1alpha1.NotebookStarting, v1alpha1.NotebookReady,
	v1alpha1.NotebookStopping, v1alpha1.NotebookStopped, v1alpha1.NotebookFailed,
}

// metrics are the leader's: followers export the same names with nothing counted.
type metrics struct {
	starts  *prometheus.HistogramVec
	stops   *prometheus.CounterVec
	servers *serverCollector
}

func newMetrics(registry prometheus.Registerer, count func() map[v1alpha1.NotebookPhase]int) (*metrics, error) {
	m := &metrics{
		starts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "elastichub_server_start_seconds",
			Help:    "Time from a start's first sight to its outcome.",
			Buckets: []float64{.5, 1, 2, 3, 5, 8, 13, 20, 30, 60, 120, 300, 600},
		}, []string{"outcome"}),
		stops: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_server_stops_total",
			Help: "Servers stopped without anyone asking, by cause.",
		}, []string{"cause"}),
		servers: &serverCollector{
			desc:  prometheus.NewDesc("elastichub_servers", "Notebook servers by phase, as the leader sees them.", []string{"phase"}, nil),
			count: count,
		},
	}
	for _, cause := range []v1alpha1.StopCause{v1alpha1.StopIdle, v1alpha1.StopMaxRun} {
		m.stops.WithLabelValues(string(cause))
	}
	for _, c := range []prometheus.Collector{m.starts, m.stops, m.servers} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// observe counts a start when a written status holds its outcome for the first time.
func (m *metrics) observe(before, after v1alpha1.JupyterNotebookStatus) {
	if len(after.Progress) == 0 {
		return
	}
	first, last := after.Progress[0], after.Progress[len(after.Progress)-1]
	if last.Outcome == "" {
		return
	}
	if n := len(before.Progress); n > 0 && before.Start == after.Start && before.Progress[n-1].Outcome != "" && before.Progress[n-1].Time.Equal(&last.Time) {
		return
	}
	m.starts.WithLabelValues(string(last.Outcome)).Observe(last.Time.Sub(first.Time.Time).Seconds())
}

// serverCollector counts when it is asked.
type serverCollector struct {
	desc  *prometheus.Desc
	count func() map[v1alpha1.NotebookPhase]int // nil: not the leader
}

func (c *serverCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c *serverCollector) Collect(ch chan<- prometheus.Metric) {
	counts := c.count()
	if counts == nil {
		return
	}
	for _, phase := range phases {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(counts[phase]), string(phase))
	}
}
