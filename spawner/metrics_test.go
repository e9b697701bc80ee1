package spawner

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// ended is the status of a start that began at a time and has had an outcome so much later.
func ended(begin time.Time, after time.Duration, outcome v1alpha1.StartOutcome, reason Reason) v1alpha1.JupyterNotebookStatus {
	return v1alpha1.JupyterNotebookStatus{Start: "s", Reason: string(reason), Progress: []v1alpha1.NotebookProgress{
		{ID: 1, Time: metav1.NewMicroTime(begin)}, {ID: 2, Time: metav1.NewMicroTime(begin.Add(after)), Outcome: outcome},
	}}
}

// sums are a histogram's, by its one label.
func sums(t *testing.T, histogram *prometheus.HistogramVec) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(histogram))
	families, err := registry.Gather()
	require.NoError(t, err)
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetHistogram().GetSampleCount() > 0 {
				all[label(m)] = m.GetHistogram().GetSampleSum()
			}
		}
	}
	return all
}

func label(m *dto.Metric) string { return m.GetLabel()[0].GetValue() }

func TestAStartIsMeasuredOnce(t *testing.T) {
	t.Parallel()
	m, err := newMetrics(prometheus.NewRegistry(), nil)
	require.NoError(t, err)
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds int) metav1.Time { return metav1.NewTime(begin.Add(time.Duration(seconds) * time.Second)) }
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(2)}}
	pod.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: at(5)},
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: at(14)},
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{
		{Name: "sidecar", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at(6)}}},
		{Name: v1alpha1.NotebookContainer, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at(10)}}},
	}
	ready := ended(begin, 14*time.Second, v1alpha1.OutcomeReady, ReasonReady)
	m.observe(v1alpha1.JupyterNotebookStatus{}, ready, pod)
	m.observe(ready, ready, pod) // a later status of the same start
	assert.Equal(t, map[string]float64{"pod": 2, "node": 3, "container": 5, "answer": 4}, sums(t, m.phases))
	assert.Equal(t, map[string]float64{"ready": 14}, sums(t, m.starts))
	// What the Pod does not tell is left out, and so is all that comes after it.
	pod.Status.Conditions = pod.Status.Conditions[1:]
	m.observe(v1alpha1.JupyterNotebookStatus{}, ready, pod)
	m.observe(v1alpha1.JupyterNotebookStatus{}, ready, nil)
	assert.Equal(t, map[string]float64{"pod": 4, "node": 3, "container": 5, "answer": 4}, sums(t, m.phases))
}

func TestFailedStartsAreCountedByReason(t *testing.T) {
	t.Parallel()
	m, err := newMetrics(prometheus.NewRegistry(), nil)
	require.NoError(t, err)
	assert.Equal(t, len(failureReasons), testutil.CollectAndCount(m.failures), "each is there before it happens")
	for _, reason := range []Reason{ReasonImagePullFailed, ReasonImagePullFailed, "alice's own word"} {
		m.observe(v1alpha1.JupyterNotebookStatus{}, ended(time.Now(), time.Second, v1alpha1.OutcomeFailed, reason), nil)
	}
	assert.Equal(t, 2., testutil.ToFloat64(m.failures.WithLabelValues(string(ReasonImagePullFailed))))
	assert.Equal(t, 1., testutil.ToFloat64(m.failures.WithLabelValues(string(otherReason))))
	assert.Equal(t, len(failureReasons), testutil.CollectAndCount(m.failures), "a closed set")
}
