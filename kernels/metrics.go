package kernels

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Phases of a start, for the label of startSeconds.
const (
	startQueued = "queued" // asked for → admitted
	startPod    = "pod"    // Pod made → Pod has an address
	startAgent  = "agent"  // Pod has an address → agent answers
)

// States of warm Pods, and what becomes of an attempt to take one.
const (
	warmStarting = "starting"
	warmReady    = "ready"
	warmTaken    = "taken"
	warmLost     = "lost" // it was gone or did not answer: the kernel starts from nothing
)

// instruments are the metrics of this package. No label is taken from users.
type instruments struct {
	startSeconds *prometheus.HistogramVec
	ends         *prometheus.CounterVec
	held         *prometheus.GaugeVec
	queueLength  prometheus.Gauge
	queueOldest  prometheus.Gauge
	orphans      *prometheus.CounterVec
	warm         *prometheus.GaugeVec
	warmStarts   *prometheus.CounterVec
	yields       prometheus.Counter
}

func newInstruments(registry prometheus.Registerer) (*instruments, error) {
	m := &instruments{
		startSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "elastichub_kernel_start_seconds", Help: "Time a kernel start spent in each phase: queued, pod, agent.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800},
		}, []string{"phase"}),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_kernel_ends_total", Help: "Ends of kernel Pods by cause; Idle ones are culls.",
		}, []string{"cause"}),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "elastichub_kernel_resources_held", Help: "Extended resources, such as GPUs, held by kernels.",
		}, []string{"resource"}),
		queueLength: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "elastichub_kernel_queue_length", Help: "Kernels that wait for admission.",
		}),
		queueOldest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "elastichub_kernel_queue_oldest_seconds", Help: "How long the kernel that has waited longest has waited.",
		}),
		orphans: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_orphans_removed_total", Help: "Objects removed because their owner is gone, by kind.",
		}, []string{"kind"}),
		warm: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "elastichub_kernel_warm_pods", Help: "Warm Pods that are nobody's, by state: starting, ready.",
		}, []string{"state"}),
		warmStarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_kernel_warm_starts_total", Help: "Kernels that were promised a warm Pod, by outcome: taken, lost.",
		}, []string{"outcome"}),
		yields: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "elastichub_kernel_yields_total", Help: "Idle kernels that were parked early for somebody who waits.",
		}),
	}
	for _, c := range []prometheus.Collector{m.startSeconds, m.ends, m.held, m.queueLength, m.queueOldest, m.orphans, m.warm, m.warmStarts, m.yields} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
