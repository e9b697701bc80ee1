package signals

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// result is of a question, for elastichub_prometheus_questions_total.
type result string

const (
	resultMeasured    result = "measured"
	resultNotMeasured result = "not_measured"
	resultUnavailable result = "unavailable"
)

func newQuestions() *prometheus.CounterVec {
	questions := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "elastichub_prometheus_questions_total",
		Help: "Idle servers that Prometheus was asked about, by result: measured, not_measured (it has nothing fresh of the Pod), unavailable.",
	}, []string{"result"})
	for _, r := range []result{resultMeasured, resultNotMeasured, resultUnavailable} {
		questions.WithLabelValues(string(r))
	}
	return questions
}

func (c *Client) count(err error) {
	r := resultMeasured
	switch {
	case errors.Is(err, ErrNotMeasured):
		r = resultNotMeasured
	case err != nil:
		r = resultUnavailable
	}
	c.questions.WithLabelValues(string(r)).Inc()
}
