package queue

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/kernels/admission"
)

// States of warm Pods that nobody has.
const (
	warmStarting = "starting"
	warmReady    = "ready"
)

// undecided stands for the reason of a kernel that waits and has no place yet.
const undecided admission.ReasonCode = "Undecided"

// metrics are the metrics of the queue. No label is taken from users.
type metrics struct {
	held        *prometheus.GaugeVec
	queueLength prometheus.Gauge
	queueOldest prometheus.Gauge
	waiting     *prometheus.GaugeVec
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
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "elastichub_kernel_queue_waiting", Help: "Kernels that wait for admission, by reason; Undecided are those that are not looked at yet, or of which no Pod can be made.",
		}, []string{"reason"}),
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
	for _, c := range []prometheus.Collector{m.held, m.queueLength, m.queueOldest, m.waiting, m.warm, m.warmPeople, m.warmHeld, m.yields} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	m.setWaiting(admission.Decision{}, 0)
	return m, nil
}

// setWaiting counts who waits after a decision, of all that wait.
func (m *metrics) setWaiting(d admission.Decision, all int32) {
	counts := make(map[admission.ReasonCode]int32, len(admission.WaitingReasons)+1)
	for _, reason := range admission.WaitingReasons {
		counts[reason] = 0
	}
	counts[undecided] = all - int32(len(d.Wait))
	for _, place := range d.Wait {
		counts[place.Reason.Code]++
	}
	for reason, n := range counts {
		m.waiting.WithLabelValues(string(reason)).Set(float64(n))
	}
}
