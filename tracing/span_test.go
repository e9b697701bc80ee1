package tracing_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/tracing"
	"github.com/elastichub/elastichub/tracing/tracingtest"
)

const given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestTraceparents(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		given:                                   given,
		strings.Replace(given, "-01", "-00", 1): strings.Replace(given, "-01", "-00", 1),
		strings.Replace(given, "-01", "-03", 1): given, // flags that are not known
		"cc" + given[2:] + "-what-comes-later":  given,
		given + "-more":                         "",
		"ff" + given[2:]:                        "",
		strings.ToUpper(given):                  "",
		strings.Replace(given, "00f067aa0ba902b7", "0000000000000000", 1): "",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01":         "",
		given[:54]: "", "": "", "evil\r\nheader": "", strings.Repeat("-", 55): "",
	} {
		assert.Equal(t, want, tracing.ParseParent(text).String(), "%q", text)
	}
}

func FuzzParseParent(f *testing.F) {
	f.Add(given)
	f.Fuzz(func(t *testing.T, text string) {
		if p := tracing.ParseParent(text); !p.IsNone() {
			assert.Equal(t, p, tracing.ParseParent(p.String()))
		}
	})
}

// record runs a tracer into a receiver while do does, and returns what was received.
func record(t *testing.T, percent float64, do func(*tracing.Tracer)) []tracingtest.Span {
	t.Helper()
	receiver := tracingtest.New(t)
	tracer := tracing.New(tracing.Config{Endpoint: receiver.URL, SamplePercent: percent}, "service", "pod-0", "v1", slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tracer.Start(ctx) }()
	do(tracer)
	cancel()
	require.NoError(t, <-done)
	return receiver.Spans()
}

func TestWhatIsRecordedArrives(t *testing.T) {
	t.Parallel()
	began := time.Unix(1_700_000_000, 5)
	nb := &v1alpha1.JupyterNotebook{}
	spans := record(t, 0, func(tracer *tracing.Tracer) { // whatever the share, who calls has decided
		header := http.Header{"Traceparent": {given}}
		ctx, request := tracer.Serve(tracing.WithRequest(t.Context(), "r1"), header, "PUT /server")
		tracing.Note(ctx, nb)
		_, part := tracer.BeginAt(ctx, "groups", began)
		part.Set("user", "alice")
		part.Fail("Unavailable")
		part.EndAt(began.Add(time.Second))
		part.Set("late", "is not told")
		part.End()
		request.End()
		tracer.Steps(tracing.NotedParent(nb), "r1", began, tracing.Step{Name: "queue", End: began.Add(2 * time.Second)},
			tracing.Step{Name: "pod", End: began.Add(time.Second)}, // clocks differ
			tracing.Step{Name: "unknown"}, tracing.Step{Name: "after", End: began.Add(9 * time.Second)})
		_, never := tracer.Begin(ctx, "never ends")
		never.Set("a", "b")
	})
	require.Len(t, spans, 4)
	byName := tracingtest.ByName(spans)
	request := byName["PUT /server"]
	assert.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", request.Trace)
	assert.Equal(t, "00f067aa0ba902b7", request.Parent)
	assert.Equal(t, "SPAN_KIND_SERVER", request.Kind)
	assert.Equal(t, "service", request.Service)
	assert.Equal(t, map[string]string{"request": "r1"}, request.Attributes)
	groups := byName["groups"]
	assert.Equal(t, request.ID, groups.Parent)
	assert.Equal(t, request.Trace, groups.Trace)
	assert.Equal(t, began.UnixNano(), groups.Begin.UnixNano())
	assert.Equal(t, time.Second, groups.Took())
	assert.Equal(t, "Unavailable", groups.Failed)
	assert.Equal(t, map[string]string{"request": "r1", "user": "alice"}, groups.Attributes)
	assert.Equal(t, request.ID, byName["queue"].Parent)
	assert.Equal(t, 2*time.Second, byName["queue"].Took())
	assert.Zero(t, byName["pod"].Took())
	assert.Equal(t, map[string]string{"request": "r1"}, byName["pod"].Attributes)
}

func TestTheShareOfTraces(t *testing.T) {
	t.Parallel()
	count := func(percent float64, header http.Header) int {
		return len(record(t, percent, func(tracer *tracing.Tracer) {
			for range 400 {
				ctx, whole := tracer.Serve(t.Context(), header, "whole")
				_, part := tracer.Begin(ctx, "part")
				part.End()
				whole.End()
			}
		}))
	}
	assert.Zero(t, count(0, nil))
	assert.Equal(t, 800, count(100, nil))
	half := count(50, nil)
	assert.True(t, half > 200 && half < 600 && half%2 == 0, "%d", half) // whole traces, or nothing of them
	assert.Zero(t, count(100, http.Header{"Traceparent": {strings.Replace(given, "-01", "-00", 1)}}))
}

func TestWhatIsNotRecordedIsNotNoted(t *testing.T) {
	t.Parallel()
	nb := &v1alpha1.JupyterNotebook{}
	nb.Annotations = map[string]string{v1alpha1.AnnotationTraceparent: given}
	record(t, 0, func(tracer *tracing.Tracer) {
		ctx, _ := tracer.Begin(t.Context(), "not chosen")
		tracing.Note(ctx, nb)
	})
	assert.Empty(t, nb.Annotations)
}

// TestWithoutConfigurationNothingIsAllocated counts what the way of a request, a start and a
// cell costs where nothing is recorded.
func TestWithoutConfigurationNothingIsAllocated(t *testing.T) {
	tracer := tracing.New(tracing.Config{SamplePercent: 100}, "service", "pod-0", "v1", nil)
	require.Nil(t, tracer)
	ctx, header, kernel := t.Context(), http.Header{"Traceparent": {given}}, &v1alpha1.JupyterKernel{}
	at := time.Now()
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		ctx, request := tracer.Serve(ctx, header, "PUT /server")
		_, part := tracer.BeginAt(ctx, "part", at)
		part.Set("user", "alice")
		part.Fail("Unavailable")
		part.EndAt(at)
		request.End()
		tracer.Steps(tracing.NotedParent(kernel), "", at, tracing.Step{Name: "queue", End: at}, tracing.Step{Name: "pod", End: at})
		tracing.ParentOf(tracing.Under(ctx, part.Parent()))
	}))
}

func TestAReceiverThatDoesNotAnswerHoldsNothingUp(t *testing.T) {
	t.Parallel()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer refusing.Close()
	var lines tracingtest.Lines
	tracer := tracing.New(tracing.Config{Endpoint: refusing.URL, SamplePercent: 100}, "service", "pod-0", "v1", slog.New(slog.NewTextHandler(&lines, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	for range 20_000 { // before anything is sent
		_, s := tracer.Begin(ctx, "one")
		s.End()
	}
	go func() { done <- tracer.Start(ctx) }()
	require.Eventually(t, func() bool { return strings.Contains(lines.String(), "spans=20000") }, 20*time.Second, 10*time.Millisecond)
	assert.Contains(t, lines.String(), "503")
	cancel()
	require.NoError(t, <-done)
}

func TestConfigurationFaults(t *testing.T) {
	t.Parallel()
	for endpoint, good := range map[string]bool{
		"": true, "http://collector:4318": true, "https://collector/otlp/": true,
		"collector:4318": false, "grpc://collector:4317": false, "http://": false, "http://a:b@collector": false, "http://collector?x=1": false,
	} {
		err := tracing.Config{Endpoint: endpoint, SamplePercent: 1}.Validate()
		assert.Equal(t, good, err == nil, "%s: %v", endpoint, err)
	}
	for _, percent := range []float64{-1, 101} {
		assert.ErrorContains(t, tracing.Config{SamplePercent: percent}.Validate(), "tracing.samplePercent")
	}
}
