package spawner

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// TestWhatFollowsFromAMeasurement is the table of docs/metrics.md.
func TestWhatFollowsFromAMeasurement(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	known := now.Add(-time.Hour)
	later := now.Add(-time.Minute)
	unknown := errors.New("nothing is known")
	for name, row := range map[string]struct {
		seen     Seen
		err      error
		required bool
		reason   Reason
		keeps    bool
		last     time.Time
	}{
		"no answer":                      {err: unknown, reason: ReasonNotMeasured},
		"no answer, required":            {err: unknown, required: true, reason: ReasonNotMeasured, keeps: true},
		"no kernel, used as it says":     {seen: Seen{Last: known}, reason: ReasonAgrees},
		"no kernel, used before":         {seen: Seen{Last: known.Add(-time.Hour)}, reason: ReasonAgrees},
		"no kernel, used later":          {seen: Seen{Last: later}, reason: ReasonUsedLater, last: later},
		"no kernel, nothing told":        {seen: Seen{}, required: true, reason: ReasonAgrees},
		"kernels, used as it says":       {seen: Seen{Last: known, Kernels: 2}, reason: ReasonAgrees},
		"kernels, used later":            {seen: Seen{Last: later, Kernels: 2}, reason: ReasonUsedLater, last: later},
		"kernels, nothing told":          {seen: Seen{Kernels: 2}, reason: ReasonKernelsRun, keeps: true},
		"held":                           {seen: Seen{Last: known, Held: true}, reason: ReasonKeptByQuery, keeps: true},
		"rounded":                        {seen: Seen{Last: known.Add(signalSlack)}, reason: ReasonAgrees},
		"a clock that is ahead of ours":  {seen: Seen{Last: now.Add(time.Hour)}, reason: ReasonUsedLater, last: now},
		"a measurement beside an answer": {seen: Seen{Last: later}, required: true, reason: ReasonUsedLater, last: later},
	} {
		t.Run(name, func(t *testing.T) {
			o := weigh(row.seen, row.err, row.required, known, now)
			assert.Equal(t, row.reason, o.reason)
			assert.Equal(t, row.keeps, o.keeps)
			assert.Equal(t, row.last, o.last)
			assert.Equal(t, row.reason == ReasonAgrees, o.message == "")
		})
	}
}

// measured stands for a Prometheus; test/panels has a real one.
type measured struct {
	mu   sync.Mutex
	seen Seen
	err  error
	pods []string
}

func (m *measured) Of(_ context.Context, _, pod string) (Seen, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pods = append(m.pods, pod)
	return m.seen, m.err
}

func (m *measured) set(seen Seen, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen, m.err = seen, err
}

// TestPrometheusMayOnlyKeep: a server that says it is idle runs until Prometheus knows nothing else of it.
func TestPrometheusMayOnlyKeep(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	prometheus := &measured{err: errors.New("connection refused")}
	c.cfg.Signals, c.cfg.SignalsRequired = prometheus, true
	c.asker.set(func(string) (Activity, error) { return Activity{Last: time.Now().Add(-time.Hour)}, nil })
	s := c.replica(true)
	req := testRequest("alice", "", "s1")
	req.ServerIdleSeconds, req.MaxRunSeconds = 1, 0
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	pod := c.pod(c.deployment("jupyter-alice", "s1", 1))
	c.ready(pod)
	var nb v1alpha1.JupyterNotebook
	says := func(reason Reason) {
		t.Helper()
		c.eventually(string(reason), func() bool {
			require.NoError(t, c.get("jupyter-alice", &nb))
			condition := apimeta.FindStatusCondition(nb.Status.Conditions, ConditionSignals)
			return condition != nil && condition.Reason == string(reason)
		})
		assert.False(t, nb.Spec.Stopped, reason)
	}
	// A server is asked again in a minute, or when its object changes.
	again := func(value string) {
		change(c, "jupyter-alice", &nb, func(nb *v1alpha1.JupyterNotebook) {
			nb.Annotations = merged(nb.Annotations, map[string]string{"example.org/again": value})
		})
	}
	says(ReasonNotMeasured)
	assert.Equal(t, pod.Name, prometheus.pods[0])

	prometheus.set(Seen{Kernels: 1}, nil)
	again("1")
	says(ReasonKernelsRun)
	prometheus.set(Seen{Held: true, Last: time.Now().Add(-time.Hour)}, nil)
	again("2")
	says(ReasonKeptByQuery)

	used := time.Now().Add(2 * time.Second)
	prometheus.set(Seen{Last: used}, nil)
	again("3")
	says(ReasonUsedLater)
	require.NotNil(t, nb.Status.LastActivity)
	require.NotNil(t, nb.Status.StopEligibleAt)

	prometheus.set(Seen{Last: time.Now().Add(-time.Hour), Kernels: 1}, nil)
	again("4")
	c.deployment("jupyter-alice", "s1", 0)
	c.end(pod)
	assert.Equal(t, "StoppedIdle", c.phase(s, req.Key, v1alpha1.NotebookStopped).Reason)
}
