package tracing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

const (
	// mostWaiting bounds the spans that wait to be sent; more are left out.
	mostWaiting = 4096
	// mostAtOnce bounds the spans of one request.
	mostAtOnce = 512
	// sendEvery is how long a span waits for others.
	sendEvery = 2 * time.Second
	// sendTimeout bounds how long all that waits takes to be sent, also at the end.
	sendTimeout = 5 * time.Second
	// pathTraces follows the endpoint, as OTLP over HTTP has it.
	pathTraces = "/v1/traces"
)

// Config is where spans go.
type Config struct {
	// Endpoint is the URL of an OTLP receiver that speaks HTTP; empty: nothing is recorded.
	Endpoint string
	// SamplePercent is how many of the traces that begin here are recorded.
	SamplePercent float64
}

// Validate tells every fault; fields are named as in a configuration file.
func (c Config) Validate() error {
	var faults []error
	if c.Endpoint != "" {
		at, err := url.Parse(c.Endpoint)
		if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" || at.RawQuery != "" || at.Fragment != "" || at.User != nil {
			faults = append(faults, errors.New("tracing.endpoint: must be the http or https URL of an OTLP receiver, without user, query and fragment"))
		}
	}
	if !(c.SamplePercent >= 0 && c.SamplePercent <= 100) { // not a number is neither
		faults = append(faults, fmt.Errorf("tracing.samplePercent: %g is not within 0 and 100", c.SamplePercent))
	}
	return errors.Join(faults...)
}

// Tracer records spans and sends them. Nil records nothing, and costs nothing.
type Tracer struct {
	url      string
	share    float64
	resource *resourcepb.Resource
	log      *slog.Logger
	now      func() time.Time
	calls    *http.Client

	mu      sync.Mutex
	waiting []*tracepb.Span
	lost    int
	much    chan struct{} // capacity 1: enough for a request waits
}

// New returns nil where nothing is recorded. service is what the process is, and instance
// which of its replicas.
func New(c Config, service, instance, version string, log *slog.Logger) *Tracer {
	if c.Endpoint == "" {
		return nil
	}
	return &Tracer{
		url: strings.TrimSuffix(c.Endpoint, "/") + pathTraces, share: c.SamplePercent / 100, log: log, now: time.Now,
		resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{
			text("service.namespace", "elastichub"), text("service.name", service), text("service.instance.id", instance), text("service.version", version),
		}},
		calls: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		much:  make(chan struct{}, 1),
	}
}

func (t *Tracer) queue(s *tracepb.Span) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) >= mostWaiting {
		t.lost++
		return
	}
	t.waiting = append(t.waiting, s)
	if len(t.waiting) >= mostAtOnce {
		select {
		case t.much <- struct{}{}:
		default:
		}
	}
}

// NeedLeaderElection is for a manager: every replica records.
func (t *Tracer) NeedLeaderElection() bool { return false }

// Start sends what is recorded until ctx ends, and then what is left.
func (t *Tracer) Start(ctx context.Context) error {
	if t == nil {
		<-ctx.Done()
		return nil
	}
	ticker := time.NewTicker(sendEvery)
	defer ticker.Stop()
	defer t.calls.CloseIdleConnections()
	failing := false
	for {
		select {
		case <-ctx.Done():
			_, _ = t.send(ctx)
			return nil
		case <-ticker.C:
		case <-t.much:
		}
		lost, err := t.send(ctx)
		switch {
		case err != nil:
			if !failing {
				t.log.Warn("spans cannot be sent, and are left out", "spans", lost, "error", err)
			}
			failing = true
		case lost > 0:
			t.log.Warn("more spans than can be sent, some are left out", "spans", lost)
			failing = false
		default:
			failing = false
		}
	}
}

// send empties the queue, also when ctx has ended. It tells how many spans are lost: those of a request that failed
// are not sent again, since a trace is not worth the memory.
func (t *Tracer) send(ctx context.Context) (lost int, err error) {
	t.mu.Lock()
	spans := t.waiting
	lost, t.waiting, t.lost = t.lost, nil, 0
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTimeout)
	defer cancel()
	for len(spans) > 0 {
		n := min(len(spans), mostAtOnce)
		if err := t.post(ctx, spans[:n]); err != nil {
			return lost + len(spans), err
		}
		spans = spans[n:]
	}
	return lost, nil
}

// post sends spans as OTLP has it: the request's message has the same one field as TracesData.
func (t *Tracer) post(ctx context.Context, spans []*tracepb.Span) error {
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource: t.resource, ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: "github.com/elastichub/elastichub/tracing"}, Spans: spans}},
	}}})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	answer, err := t.calls.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10))
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("tracing: the receiver answered %s", answer.Status)
	}
	return nil
}
