// Package tracingtest receives spans in tests, as an OTLP receiver that speaks HTTP does. It
// is not a collector: it reads with OpenTelemetry's own definition of the messages, and
// refuses what that has no field for, and what the protocol forbids.
package tracingtest

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/elastichub/elastichub/tracing"
)

// Span is one as it was received.
type Span struct {
	Trace, ID, Parent string // in hexadecimal digits
	Name, Kind        string
	Service           string
	Begin, End        time.Time
	Attributes        map[string]string
	Failed            string // why, if it did
}

// Took is how long it took.
func (s Span) Took() time.Duration { return s.End.Sub(s.Begin) }

// Receiver takes spans at its URL.
type Receiver struct {
	URL string

	mu    sync.Mutex
	spans []Span
	raw   bytes.Buffer
}

// New starts a receiver that ends with the test.
func New(t *testing.T) *Receiver {
	t.Helper()
	r := &Receiver{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.Method != http.MethodPost || request.URL.Path != "/v1/traces" || request.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("tracingtest: %s %s of %s", request.Method, request.URL.Path, request.Header.Get("Content-Type"))
			w.WriteHeader(http.StatusNotFound)
			return
		}
		body, err := io.ReadAll(request.Body)
		if err != nil {
			t.Errorf("tracingtest: %v", err)
		}
		r.take(t, body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	r.URL = server.URL
	return r
}

func (r *Receiver) take(t *testing.T, body []byte) {
	t.Helper()
	var message tracepb.TracesData
	if err := proto.Unmarshal(body, &message); err != nil {
		t.Errorf("tracingtest: %v", err)
		return
	}
	if len(message.ProtoReflect().GetUnknown()) > 0 {
		t.Error("tracingtest: there are fields that OTLP does not have")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw.Write(body)
	for _, of := range message.ResourceSpans {
		service := texts(of.Resource.Attributes)["service.name"]
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				if len(s.TraceId) != 16 || len(s.SpanId) != 8 || len(s.ParentSpanId) != 0 && len(s.ParentSpanId) != 8 || s.EndTimeUnixNano < s.StartTimeUnixNano || s.Name == "" || service == "" {
					t.Errorf("tracingtest: no span: %v", s)
				}
				r.spans = append(r.spans, Span{
					Trace: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId),
					Name: s.Name, Kind: s.Kind.String(), Service: service, Attributes: texts(s.Attributes), Failed: s.GetStatus().GetMessage(),
					Begin: time.Unix(0, int64(s.StartTimeUnixNano)), End: time.Unix(0, int64(s.EndTimeUnixNano)),
				})
			}
		}
	}
}

func texts(attributes []*commonpb.KeyValue) map[string]string {
	all := map[string]string{}
	for _, a := range attributes {
		all[a.Key] = a.Value.GetStringValue()
	}
	return all
}

// Spans are those received so far.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Span{}, r.spans...)
}

// Raw is all that was received, to be searched for what must not be there.
func (r *Receiver) Raw() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.raw.String()
}

// Start runs a tracer that records everything, until the test ends.
func Start(t *testing.T, service string) (*tracing.Tracer, *Receiver) {
	t.Helper()
	r := New(t)
	tracer := tracing.New(tracing.Config{Endpoint: r.URL, SamplePercent: 100}, service, "replica", "test", slog.Default())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tracer.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return tracer, r
}

// patience is how long a span may be on its way on a busy machine.
const patience = time.Minute

// Await waits for spans of all these names.
func (r *Receiver) Await(t *testing.T, names ...string) map[string]Span {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		found := ByName(r.Spans())
		missing := slices.DeleteFunc(slices.Clone(names), func(name string) bool { _, ok := found[name]; return ok })
		if len(missing) == 0 {
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("tracingtest: there is no span %q among %v", missing, slices.Collect(maps.Keys(found)))
		}
	}
}

// ByName finds spans whose names are told apart.
func ByName(spans []Span) map[string]Span {
	all := map[string]Span{}
	for _, s := range spans {
		all[s.Name] = s
	}
	return all
}

// Lines is a log that may be read while it is written.
type Lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *Lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *Lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
