// Package signals asks Prometheus what it has measured of notebook servers: the metrics
// of jupyter_server (jupyter_server/prometheus/metrics.py), and what an administrator asks for.
package signals

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"

	"github.com/elastichub/elastichub/outbound"
	"github.com/elastichub/elastichub/spawner"
)

// Names of jupyter_server's metrics.
const (
	// kernelsMetric counts kernels that exist, by kernelspec, and not those that work. A
	// kernelspec has no series before its first kernel.
	kernelsMetric = "kernel_currently_running_total"
	// terminalsMetric is told by every server, from its first moment on.
	terminalsMetric = "terminal_currently_running_total"
	// activityMetric is told from jupyter_server 2.15 on.
	activityMetric = "jupyter_server_last_activity_timestamp_seconds"
)

// Bounds of one answer: a server has a few series, each measured a few times in a window.
const (
	maxBytes    = 1 << 20
	connections = 2
)

// ErrNotMeasured: there is no fresh measurement of the Pod.
var ErrNotMeasured = errors.New("signals: nothing is known of the Pod")

// Client implements spawner.Signals.
type Client struct {
	config    Config
	api       promv1.API
	http      *outbound.Client
	now       func() time.Time
	questions *prometheus.CounterVec // by result
}

// New reads the files once, to find faults early.
func New(config Config, registry prometheus.Registerer) (*Client, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.TokenFile != "" {
		if _, err := outbound.ReadSecret(config.TokenFile); err != nil {
			return nil, fmt.Errorf("tokenFile: %w", err)
		}
	}
	bounded, err := outbound.NewClient(outbound.ClientConfig{CAFile: config.CAFile, Timeout: config.Timeout, Connections: connections, MaxBytes: maxBytes})
	if err != nil {
		return nil, err
	}
	asked, err := api.NewClient(api.Config{Address: config.URL, Client: &http.Client{
		Transport: bearer{config.TokenFile, bounded},
		// The token is for the address that it was meant for.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}})
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	c := &Client{config: config, api: promv1.NewAPI(asked), http: bounded, now: time.Now, questions: newQuestions()}
	if err := registry.Register(c.questions); err != nil {
		return nil, err
	}
	return c, nil
}

// Close ends the connections that are not in use.
func (c *Client) Close() { c.http.Close() }

// Of implements spawner.Signals. Error: ErrNotMeasured, or why Prometheus does not answer.
func (c *Client) Of(ctx context.Context, namespace, pod string) (spawner.Seen, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	seen, err := c.of(ctx, namespace, pod)
	c.count(err)
	return seen, err
}

func (c *Client) of(ctx context.Context, namespace, pod string) (spawner.Seen, error) {
	if pod == "" {
		return spawner.Seen{}, ErrNotMeasured
	}
	// A range, since the samples of an instant are given without their own time.
	value, err := c.query(ctx, c.selector(namespace, pod)+"["+strconv.FormatInt(int64(c.config.Window/time.Millisecond), 10)+"ms]")
	if err != nil {
		return spawner.Seen{}, err
	}
	series, ok := value.(model.Matrix)
	if !ok {
		return spawner.Seen{}, fmt.Errorf("prometheus: a %s is no matrix", value.Type())
	}
	seen, err := read(series)
	if err != nil || c.config.KeepWhile == "" {
		return seen, err
	}
	seen.Held, err = c.holds(ctx, namespace, pod)
	return seen, err
}

// selector finds a server's series, wherever they were read from.
func (c *Client) selector(namespace, pod string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "{__name__=~%q,namespace=%q,pod=%q", strings.Join([]string{kernelsMetric, terminalsMetric, activityMetric}, "|"), namespace, pod)
	for _, label := range c.config.MatchLabels {
		fmt.Fprintf(&s, ",%s=%q", label.Name, label.Value)
	}
	s.WriteString("}")
	return s.String()
}

// holds asks the administrator's question.
func (c *Client) holds(ctx context.Context, namespace, pod string) (bool, error) {
	value, err := c.query(ctx, strings.NewReplacer("$namespace", namespace, "$pod", pod).Replace(c.config.KeepWhile))
	if err != nil {
		return false, fmt.Errorf("keepWhile: %w", err)
	}
	switch found := value.(type) {
	case *model.Scalar:
		return found.Value != 0, nil
	case model.Vector:
		for _, sample := range found {
			if sample.Value != 0 { // NaN is something
				return true, nil
			}
		}
		return false, nil
	default:
		return false, fmt.Errorf("keepWhile: a %s is neither a number nor a vector", value.Type())
	}
}

func (c *Client) query(ctx context.Context, query string) (model.Value, error) {
	value, warnings, _, err := c.api.Query(ctx, query, c.now())
	if err != nil {
		return nil, fmt.Errorf("prometheus: %w", err)
	}
	if len(warnings) > 0 { // an answer in part, such as Thanos gives while a store is away
		return nil, fmt.Errorf("prometheus: %s", strings.Join(warnings, "; "))
	}
	return value, nil
}

// target is who measured a server: the labels of a series without those of the metric. A
// pair of Prometheis that watch each other makes two of one server.
type target struct {
	seen    spawner.Seen
	at      model.Time
	kernels map[model.Fingerprint]model.SamplePair
	known   bool
}

// read takes of several measurements of a server whatever keeps it.
func read(series model.Matrix) (spawner.Seen, error) {
	targets := map[model.Fingerprint]*target{}
	for _, s := range series {
		if len(s.Values) == 0 {
			continue
		}
		labels := model.Metric(model.LabelSet(s.Metric).Clone())
		delete(labels, model.MetricNameLabel)
		delete(labels, "type")
		key := labels.Fingerprint()
		if targets[key] == nil {
			targets[key] = &target{kernels: map[model.Fingerprint]model.SamplePair{}}
		}
		targets[key].add(s.Metric, s.Values[len(s.Values)-1])
	}
	var all spawner.Seen
	known := false
	for _, t := range targets {
		if !t.known {
			continue
		}
		if seen := t.sum(); !known {
			all = seen
		} else {
			all = both(all, seen)
		}
		known = true
	}
	if !known {
		return spawner.Seen{}, ErrNotMeasured
	}
	return all, nil
}

func (t *target) add(metric model.Metric, last model.SamplePair) {
	t.at = max(t.at, last.Timestamp)
	switch metric[model.MetricNameLabel] {
	case activityMetric:
		t.known = true
		t.seen.Last = instant(float64(last.Value))
	case terminalsMetric:
		t.known = true
	case kernelsMetric:
		t.known = true
		t.kernels[metric.Fingerprint()] = last
	}
}

// sum counts the kernels of the newest reading alone: a server that was started anew in its Pod
// has forgotten the kernelspecs that it had kernels of.
func (t *target) sum() spawner.Seen {
	kernels := 0.
	for _, sample := range t.kernels {
		if sample.Timestamp == t.at {
			kernels += float64(sample.Value)
		}
	}
	t.seen.Kernels = int(math.Ceil(max(kernels, 0)))
	return t.seen
}

func both(a, b spawner.Seen) spawner.Seen {
	seen := spawner.Seen{Kernels: max(a.Kernels, b.Kernels), Last: a.Last}
	if b.Last.After(seen.Last) {
		seen.Last = b.Last
	}
	return seen
}

// instant is a time in seconds; zero where it is none.
func instant(seconds float64) time.Time {
	if !(seconds > 0 && seconds < math.MaxInt32*100.) {
		return time.Time{}
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9))
}

// bearer shows a token with each request, if there is one.
type bearer struct {
	file string
	next http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.file == "" {
		return b.next.RoundTrip(r)
	}
	token, err := outbound.ReadSecret(b.file)
	if err != nil {
		return nil, fmt.Errorf("tokenFile: %w", err)
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return b.next.RoundTrip(r)
}
