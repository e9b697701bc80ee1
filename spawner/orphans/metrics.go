package orphans

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/spawner"
)

// States of orphans.
const (
	stateWaiting = "waiting" // its grace is not over
	stateDue     = "due"     // to be removed or stopped, or reported for good
	stateUnclear = "unclear" // not to be decided
)

// How a look at the Hub ended.
const (
	resultConcluded   = "concluded"
	resultRefused     = "refused"     // our token may not list all users
	resultUnavailable = "unavailable" // no answer, or not a whole one
	resultImplausible = "implausible"
)

type metrics struct {
	orphans *prometheus.GaugeVec
	looks   *prometheus.CounterVec
	stopped prometheus.Counter
	removed prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		orphans: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "elastichub_orphan_servers",
			Help: "JupyterNotebooks whose user or server the Hub does not know, or that run and are stopped by the Hub: waiting (for their grace), due, unclear (the user may have been renamed).",
		}, []string{"state"}),
		looks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_orphan_looks_total",
			Help: "Listings of the Hub's users by what came of them: concluded, refused, unavailable, implausible (the Hub knows less than half of the notebooks' users).",
		}, []string{"result"}),
		stopped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "elastichub_orphan_servers_stopped_total",
			Help: "Servers that were stopped because the Hub did not know that they run.",
		}),
		removed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "elastichub_orphan_servers_removed_total",
			Help: "JupyterNotebooks that were deleted because the Hub did not know them.",
		}),
	}
	for _, state := range []string{stateWaiting, stateDue, stateUnclear} {
		m.orphans.WithLabelValues(state)
	}
	for _, result := range []string{resultConcluded, resultRefused, resultUnavailable, resultImplausible} {
		m.looks.WithLabelValues(result)
	}
	for _, c := range []prometheus.Collector{m.orphans, m.looks, m.stopped, m.removed} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) looked(err error) {
	result := resultUnavailable
	switch {
	case err == nil:
		result = resultConcluded
	case errors.Is(err, ErrImplausible):
		result = resultImplausible
	case errors.Is(err, spawner.ErrHubScopes):
		result = resultRefused
	}
	m.looks.WithLabelValues(result).Inc()
}
