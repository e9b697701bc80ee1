package spawner

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

var phases = []v1alpha1.NotebookPhase{
	v1alpha1.NotebookPending, v1alpha1.NotebookStarting, v1alpha1.NotebookReady,
	v1alpha1.NotebookStopping, v1alpha1.NotebookStopped, v1alpha1.NotebookFailed,
}

// startPhases are those of a start, in order.
var startPhases = []string{"pod", "node", "container", "answer"}

// metrics are the leader's: followers export the same names with nothing counted.
type metrics struct {
	starts   *prometheus.HistogramVec
	phases   *prometheus.HistogramVec
	failures *prometheus.CounterVec
	stops    *prometheus.CounterVec
	hub      *prometheus.CounterVec
	servers  *serverCollector
}

func newMetrics(registry prometheus.Registerer, count func() map[v1alpha1.NotebookPhase]int) (*metrics, error) {
	m := &metrics{
		starts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "elastichub_server_start_seconds",
			Help:    "Time from a start's first sight to its outcome.",
			Buckets: []float64{.5, 1, 2, 3, 5, 8, 13, 20, 30, 60, 120, 300, 600},
		}, []string{"outcome"}),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "elastichub_server_start_phase_seconds",
			Help:    "Time that a start which came to be ready spent in each phase: pod (asked for until there is a Pod), node (until it has a node), container (until the server's process runs: volumes, images), answer (until it answers). Kubernetes tells these times in whole seconds.",
			Buckets: []float64{.5, 1, 2, 3, 5, 8, 13, 20, 30, 60, 120, 300, 600},
		}, []string{"phase"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_server_start_failures_total",
			Help: "Starts of servers that failed, by the reason that their status tells.",
		}, []string{"reason"}),
		stops: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_server_stops_total",
			Help: "Servers stopped without anyone asking, by cause.",
		}, []string{"cause"}),
		hub: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_hub_servers_asked_total",
			Help: "Servers that JupyterHub was asked to stop or to start, by what it answered: accepted, refused, unavailable.",
		}, []string{"act", "result"}),
		servers: &serverCollector{
			desc:  prometheus.NewDesc("elastichub_servers", "Notebook servers by phase, as the leader sees them.", []string{"phase"}, nil),
			count: count,
		},
	}
	for _, cause := range []v1alpha1.StopCause{v1alpha1.StopIdle, v1alpha1.StopMaxRun} {
		m.stops.WithLabelValues(string(cause))
	}
	for _, act := range []HubAct{HubStop, HubStart} {
		for _, result := range []string{hubAccepted, hubRefused, hubUnavailable} {
			m.hub.WithLabelValues(string(act), result)
		}
	}
	for _, reason := range failureReasons {
		m.failures.WithLabelValues(string(reason))
	}
	for _, outcome := range []v1alpha1.StartOutcome{v1alpha1.OutcomeReady, v1alpha1.OutcomeFailed, v1alpha1.OutcomeStopped} {
		m.starts.WithLabelValues(string(outcome))
	}
	for _, phase := range startPhases {
		m.phases.WithLabelValues(phase)
	}
	for _, c := range []prometheus.Collector{m.starts, m.phases, m.failures, m.stops, m.hub, m.servers} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// How the Hub answers.
const (
	hubAccepted    = "accepted"
	hubRefused     = "refused"
	hubUnavailable = "unavailable"
)

// hubAsked counts an answer of the Hub; a look comes before a stop.
func (m *metrics) hubAsked(act HubAct, err error) {
	result := hubAccepted
	switch {
	case err == nil && act == HubLook:
		return
	case err == nil:
	case passing(err):
		result = hubUnavailable
	default:
		result = hubRefused
	}
	if act == HubLook {
		act = HubStop
	}
	m.hub.WithLabelValues(string(act), result).Inc()
}

// pastStart is a start that has an outcome.
type pastStart struct {
	asked, over time.Time
	outcome     v1alpha1.StartOutcome
}

// startOver tells of a start when a status holds its outcome for the first time.
func startOver(before, after v1alpha1.JupyterNotebookStatus) (pastStart, bool) {
	if len(after.Progress) == 0 {
		return pastStart{}, false
	}
	first, last := after.Progress[0], after.Progress[len(after.Progress)-1]
	if last.Outcome == "" {
		return pastStart{}, false
	}
	if n := len(before.Progress); n > 0 && before.Start == after.Start && before.Progress[n-1].Outcome != "" && before.Progress[n-1].Time.Equal(&last.Time) {
		return pastStart{}, false
	}
	return pastStart{asked: first.Time.Time, over: last.Time.Time, outcome: last.Outcome}, true
}

// observe counts a start when a written status holds its outcome for the first time. pod is
// the server's, nil if there is none.
func (m *metrics) observe(before, after v1alpha1.JupyterNotebookStatus, pod *corev1.Pod) {
	s, over := startOver(before, after)
	if !over {
		return
	}
	m.starts.WithLabelValues(string(s.outcome)).Observe(s.over.Sub(s.asked).Seconds())
	switch s.outcome {
	case v1alpha1.OutcomeReady:
		for phase, took := range phasesOf(s.asked, pod) {
			m.phases.WithLabelValues(phase).Observe(took.Seconds())
		}
	case v1alpha1.OutcomeFailed:
		reason := Reason(after.Reason)
		if !slices.Contains(failureReasons, reason) {
			reason = otherReason
		}
		m.failures.WithLabelValues(string(reason)).Inc()
	case v1alpha1.OutcomeStopped:
	}
}

// phasesOf tells how long a start was in each phase, as far as its Pod knows.
func phasesOf(asked time.Time, pod *corev1.Pod) map[string]time.Duration {
	if pod == nil {
		return nil
	}
	ends := phaseEnds(pod)
	took := map[string]time.Duration{}
	since := asked
	for i, phase := range startPhases {
		if ends[i].IsZero() || since.IsZero() {
			return took
		}
		took[phase] = max(ends[i].Sub(since), 0) // clocks differ, and are cut to seconds
		since = ends[i]
	}
	return took
}

// phaseEnds are when the phases of a start ended, as far as its Pod knows.
func phaseEnds(pod *corev1.Pod) []time.Time {
	return []time.Time{pod.CreationTimestamp.Time, became(pod, corev1.PodScheduled), runningSince(pod), became(pod, corev1.PodReady)}
}

// became is when a condition of a Pod came to be true; zero if it is not.
func became(pod *corev1.Pod, condition corev1.PodConditionType) time.Time {
	for _, c := range pod.Status.Conditions {
		if c.Type == condition && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

// runningSince is when the server's container began to run; zero if it does not.
func runningSince(pod *corev1.Pod) time.Time {
	for _, c := range pod.Status.ContainerStatuses {
		if (c.Name == v1alpha1.NotebookContainer || len(pod.Status.ContainerStatuses) == 1) && c.State.Running != nil {
			return c.State.Running.StartedAt.Time
		}
	}
	return time.Time{}
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
