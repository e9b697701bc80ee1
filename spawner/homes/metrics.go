package homes

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// States of homes of people who left.
const (
	stateWaiting = "waiting" // the grace is not over
	stateDue     = "due"     // to be removed, or reported for good
	stateKept    = "kept"    // never removed: it is in use, or a policy keeps it
	stateUnclear = "unclear" // not to be decided
	// Of those that are due, with mode archive:
	stateArchiving = "archiving"
	stateFailed    = "archive_failed" // its Job has failed for good
)

var states = []string{stateWaiting, stateDue, stateKept, stateUnclear, stateArchiving, stateFailed}

// How a look ended.
const (
	resultConcluded   = "concluded"
	resultUnavailable = "unavailable"
	resultImplausible = "implausible"
)

type metrics struct {
	homes    *prometheus.GaugeVec
	looks    *prometheus.CounterVec
	removed  prometheus.Counter
	archived prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		homes: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "elastichub_homes_left",
			Help: "Homes of people whom the Hub or the directory does not know any more: waiting (for their grace), due, kept (in use, or by policy), unclear (the user may have been renamed), archiving, archive_failed.",
		}, []string{"state"}),
		looks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_home_looks_total",
			Help: "Looks at who has a home and is there, by what came of them: concluded, unavailable, implausible (too many have vanished at once).",
		}, []string{"result"}),
		removed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "elastichub_homes_removed_total",
			Help: "Homes that were removed because their users had left.",
		}),
		archived: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "elastichub_homes_archived_total",
			Help: "Homes of people who had left of which a whole archive was made.",
		}),
	}
	for _, state := range states {
		m.homes.WithLabelValues(state)
	}
	for _, result := range []string{resultConcluded, resultUnavailable, resultImplausible} {
		m.looks.WithLabelValues(result)
	}
	for _, c := range []prometheus.Collector{m.homes, m.looks, m.removed, m.archived} {
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
	}
	m.looks.WithLabelValues(result).Inc()
}
