package hubclient

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// How the Hub answers a request.
const (
	resultAnswered    = "answered"
	resultRefused     = "refused"     // an answer of 4xx
	resultUnavailable = "unavailable" // an answer of 5xx, none, or one that cannot be read
)

func newRequests() *prometheus.CounterVec {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "elastichub_hub_requests_total",
		Help: "Questions to JupyterHub's REST API by how they were answered: answered, refused, unavailable.",
	}, []string{"result"})
	for _, result := range []string{resultAnswered, resultRefused, resultUnavailable} {
		requests.WithLabelValues(result)
	}
	return requests
}

// Register has the client's requests counted on registry.
func (c *Client) Register(registry prometheus.Registerer) error {
	if err := registry.Register(c.requests); err != nil {
		return fmt.Errorf("hubclient: metrics: %w", err)
	}
	return nil
}

// count notes how a request went; one that its caller gave up says nothing of the Hub.
func (c *Client) count(err error) {
	switch code := statusOf(err); {
	case err == nil:
		c.requests.WithLabelValues(resultAnswered).Inc()
	case errors.Is(err, context.Canceled):
	case code >= 400 && code < 500:
		c.requests.WithLabelValues(resultRefused).Inc()
	default:
		c.requests.WithLabelValues(resultUnavailable).Inc()
	}
}
