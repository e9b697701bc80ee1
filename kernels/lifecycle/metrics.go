package lifecycle

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// Phases of a start, for the label of startSeconds.
const (
	startQueued = "queued" // asked for → admitted
	startPod    = "pod"    // Pod made → Pod has an address
	startAgent  = "agent"  // Pod has an address → agent answers
)

// How a kernel starts of which some are kept ready.
const (
	warmJoined = "taken"
	warmLost   = "lost" // what it was promised was gone or did not answer: it starts from nothing
	warmMissed = "none" // there was none for it
)

// Metrics are the metrics of kernels' lives. No label is taken from users.
type Metrics struct {
	startSeconds *prometheus.HistogramVec
	ends         *prometheus.CounterVec
	orphans      *prometheus.CounterVec
	warmStarts   *prometheus.CounterVec
	states       *prometheus.CounterVec
	stateBytes   prometheus.Histogram
}

// NewMetrics registers them.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		startSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "elastichub_kernel_start_seconds", Help: "Time a kernel start spent in each phase: queued, pod, agent.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800},
		}, []string{"phase"}),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_kernel_ends_total", Help: "Ends of kernel Pods by cause; Idle ones are culls.",
		}, []string{"cause"}),
		orphans: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_orphans_removed_total", Help: "Objects removed because their owner is gone, by kind.",
		}, []string{"kind"}),
		warmStarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_kernel_warm_starts_total", Help: "Starts of kernels of which some are kept ready: by taking a warm Pod (taken), or from nothing, since there was none for them (none) or it was lost (lost).",
		}, []string{"outcome"}),
		states: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_kernel_states_total", Help: "Ends of kernels whose variables were to be kept, by how many are: whole, part, none.",
		}, []string{"outcome"}),
		stateBytes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "elastichub_kernel_state_bytes", Help: "Size of what was kept of a kernel, as it lies in its home.",
			Buckets: prometheus.ExponentialBuckets(64<<10, 4, 10),
		}),
	}
	// Each is there before it happens, so that its first time is an increase.
	for _, phase := range []string{startQueued, startPod, startAgent} {
		m.startSeconds.WithLabelValues(phase)
	}
	for _, cause := range v1alpha1.KernelCauses {
		m.ends.WithLabelValues(string(cause))
	}
	for _, outcome := range []string{warmJoined, warmLost, warmMissed} {
		m.warmStarts.WithLabelValues(outcome)
	}
	for _, outcome := range []protocol.KeptOutcome{protocol.KeptWhole, protocol.KeptPart, protocol.KeptNone} {
		m.states.WithLabelValues(string(outcome))
	}
	for _, c := range []prometheus.Collector{m.startSeconds, m.ends, m.orphans, m.warmStarts, m.states, m.stateBytes} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Admitted measures how long a kernel has waited.
func (m *Metrics) Admitted(after time.Duration) {
	m.startSeconds.WithLabelValues(startQueued).Observe(max(after, 0).Seconds())
}

// MissedWarm counts a kernel that starts from nothing although some of its kernelspec
// are kept ready.
func (m *Metrics) MissedWarm() { m.warmStarts.WithLabelValues(warmMissed).Inc() }

// kept counts what an agent says that is kept; nil if it says nothing.
func (m *Metrics) kept(state *v1alpha1.KeptState) {
	if state == nil {
		return
	}
	m.states.WithLabelValues(state.Outcome).Inc()
	if state.Outcome != string(protocol.KeptNone) {
		m.stateBytes.Observe(float64(state.Bytes))
	}
}

// Ended counts the end of a run, or of the wait for one.
func (m *Metrics) Ended(cause v1alpha1.KernelCause) { m.ends.WithLabelValues(string(cause)).Inc() }
