package gateway

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	requests   *prometheus.CounterVec // route, method, code
	seconds    *prometheus.HistogramVec
	sockets    *prometheus.GaugeVec // framing
	toKernel   traffic
	toClient   traffic
	dropped    *prometheus.CounterVec // reason
	held       prometheus.Gauge
	memory     prometheus.Gauge
	noRoom     prometheus.Counter
	dials      *prometheus.CounterVec // result
	wakes      *prometheus.CounterVec // result
	waits      prometheus.Histogram
	endSockets *prometheus.CounterVec // reason
}

// traffic counts the messages of one direction. Its counters are looked up
// once, not with every message.
type traffic struct{ frames, bytes prometheus.Counter }

func (t traffic) count(bytes int) {
	t.frames.Inc()
	t.bytes.Add(float64(bytes))
}

func newMetrics(registry prometheus.Registerer) *metrics {
	f := promauto.With(registry)
	const p = "elastichub_gateway_"
	frames := f.NewCounterVec(prometheus.CounterOpts{Name: p + "frames_total", Help: "Messages passed on."}, []string{"direction"})
	bytes := f.NewCounterVec(prometheus.CounterOpts{Name: p + "frame_bytes_total", Help: "Bytes of messages passed on."}, []string{"direction"})
	direction := func(name string) traffic {
		return traffic{frames: frames.WithLabelValues(name), bytes: bytes.WithLabelValues(name)}
	}
	m := &metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{Name: p + "http_requests_total", Help: "HTTP requests by route, method and status."}, []string{"route", "method", "code"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{Name: p + "http_request_seconds", Help: "Time to answer a request; sockets excluded.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 40}}, []string{"route"}),
		sockets:  f.NewGaugeVec(prometheus.GaugeOpts{Name: p + "sockets", Help: "Open channels WebSockets by framing."}, []string{"framing"}),
		toKernel: direction("to_kernel"),
		toClient: direction("to_client"),
		dropped:  f.NewCounterVec(prometheus.CounterOpts{Name: p + "frames_dropped_total", Help: "Messages not passed on, by reason."}, []string{"reason"}),
		held:     f.NewGauge(prometheus.GaugeOpts{Name: p + "held_bytes", Help: "Bytes of messages that wait for a kernel."}),
		memory:   f.NewGauge(prometheus.GaugeOpts{Name: p + "message_bytes", Help: "Bytes of messages in memory: held, and large ones on their way."}),
		noRoom:   f.NewCounter(prometheus.CounterOpts{Name: p + "large_frame_waits_total", Help: "Large messages that had to wait for room."}),
		dials:    f.NewCounterVec(prometheus.CounterOpts{Name: p + "agent_dials_total", Help: "Attempts to reach an agent, by result."}, []string{"result"}),
		wakes:    f.NewCounterVec(prometheus.CounterOpts{Name: p + "wakes_total", Help: "Requests for a kernel's next run, by result."}, []string{"result"}),
		waits: f.NewHistogram(prometheus.HistogramOpts{Name: p + "execute_wait_seconds", Help: "Time from an execute_request without a running kernel to the kernel's first sign of it.",
			Buckets: []float64{.1, .25, .5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1800, 3600}}),
		endSockets: f.NewCounterVec(prometheus.CounterOpts{Name: p + "socket_ends_total", Help: "Ended channels WebSockets by reason."}, []string{"reason"}),
	}
	// Each is there before it happens, so that its first time is an increase.
	for _, framing := range []framing{framingV1, framingLegacy, framingResume} {
		m.sockets.WithLabelValues(string(framing))
	}
	for _, result := range []string{"ok", "error"} {
		m.dials.WithLabelValues(result)
	}
	return m
}
