package queue

import (
	"github.com/prometheus/client_golang/prometheus"
)

// States of warm Pods that nobody has.
const (
	warmStarting = "starting"
	warmReady    = "ready"
)

// metrics are the metrics of the queue. No label is taken from users.
type metrics struct {
	held        *prometheus.GaugeVec
	queueLength prometheus.Gauge
	queueOldest prometheus.Gauge
	warm        *prometheus.GaugeVec
	warmPeople  prometheus.Gauge
	warmHeld    *prometheus.GaugeVec
	yields      prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "elastichub_kernel_resources_held", Help: "Extended resources, such as GPUs, held by kernels.",
		}, []string{"resource"}),
		queueLength: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "elastichub_kernel_queue_length", Help: "Kernels that wait for admission.",
		}),
		queueOldest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "elastichub_kernel_queue_oldest_seconds", Help: "How long the kernel that has waited longest has waited.",
		}),
		warm: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "elastichub_kernel_warm_pods", Help: "Warm Pods that nobody has, by state: starting, ready.",
		}, []string{"state"}),
		warmPeople: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "elastichub_kernel_warm_pods_for_people", Help: "Those of the warm Pods that were made for somebody's notebook.",
		}),
		warmHeld: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "elastichub_kernel_warm_resources_held", Help: "Extended resources, such as GPUs, held by warm Pods that nobody has.",
		}, []string{"resource"}),
		yields: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "elastichub_kernel_yields_total", Help: "Idle kernels that were parked early for somebody who waits.",
		}),
	}
	for _, c := range []prometheus.Collector{m.held, m.queueLength, m.queueOldest, m.warm, m.warmPeople, m.warmHeld, m.yields} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
