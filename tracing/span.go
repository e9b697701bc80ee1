package tracing

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net/http"
	"sync"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// Kind is the part that a process has in a span.
type Kind int

// The kinds.
const (
	Internal Kind = iota
	Serving       // of a request
)

var kinds = map[Kind]tracepb.Span_SpanKind{Internal: tracepb.Span_SPAN_KIND_INTERNAL, Serving: tracepb.Span_SPAN_KIND_SERVER}

// Span is something that takes time, under way. Nil is one that is not recorded: all
// methods do nothing then. It is safe for concurrent use.
type Span struct {
	tracer *Tracer
	self   Parent

	mu    sync.Mutex
	ended bool
	data  *tracepb.Span
}

// Begin begins a span that is part of the one that the context is in, if there is one. It
// returns the context for what is part of it.
func (t *Tracer) Begin(ctx context.Context, name string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return t.begin(ctx, name, Internal, t.now())
}

// BeginAt is Begin for something that began before.
func (t *Tracer) BeginAt(ctx context.Context, name string, at time.Time) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return t.begin(ctx, name, Internal, at)
}

// Serve begins the span of a request, which is part of the one that the caller names. It
// records nothing for a caller who says that the trace is not recorded.
func (t *Tracer) Serve(ctx context.Context, header http.Header, name string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return t.begin(Under(ctx, parentIn(header)), name, Serving, t.now())
}

func (t *Tracer) begin(ctx context.Context, name string, kind Kind, at time.Time) (context.Context, *Span) {
	parent := ParentOf(ctx)
	self := Parent{trace: parent.trace, sampled: parent.sampled}
	_, _ = rand.Read(self.span[:])
	if parent.IsNone() {
		_, _ = rand.Read(self.trace[:])
		self.sampled = t.chooses(self.trace)
	}
	ctx = Under(ctx, self)
	if !self.sampled {
		return ctx, nil
	}
	s := &Span{tracer: t, self: self, data: &tracepb.Span{
		TraceId: self.trace[:], SpanId: self.span[:], Name: name, Kind: kinds[kind], StartTimeUnixNano: nanos(at), Flags: 1,
	}}
	if !parent.IsNone() {
		s.data.ParentSpanId = parent.span[:]
	}
	if id := RequestOf(ctx); id != "" {
		s.Set(KeyRequest, id)
	}
	return ctx, s
}

// chooses decides by the trace's id, so that every process would decide alike.
func (t *Tracer) chooses(trace [16]byte) bool {
	return float64(binary.BigEndian.Uint64(trace[8:])>>11)/(1<<53) < t.share
}

// Set says something of a span: never what is secret, or what somebody's code is or prints.
func (s *Span) Set(key, value string) {
	if s == nil || value == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.data.Attributes = append(s.data.Attributes, text(key, value))
}

func text(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

// Fail says that it came to nothing, and why in a word.
func (s *Span) Fail(reason string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.data.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: reason}
	}
}

// End is now. A span that never ends is not told of.
func (s *Span) End() {
	if s != nil {
		s.EndAt(s.tracer.now())
	}
}

// EndAt is End for something that ended before. Later ends do nothing.
func (s *Span) EndAt(at time.Time) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	s.data.EndTimeUnixNano = max(nanos(at), s.data.StartTimeUnixNano)
	s.tracer.queue(s.data)
}

// Parent names the span.
func (s *Span) Parent() Parent {
	if s == nil {
		return Parent{}
	}
	return s.self
}

// Step is a part of something, which ended when the next began.
type Step struct {
	Name string
	End  time.Time
}

// Steps tells of the steps of what a span stands for that is recorded elsewhere, which
// follow each other from a time on. What follows one whose end is not known is left out.
func (t *Tracer) Steps(of Parent, request string, from time.Time, steps ...Step) {
	if t == nil || !of.sampled {
		return
	}
	ctx := Under(context.Background(), of)
	if request != "" {
		ctx = context.WithValue(ctx, requestKey{}, request)
	}
	for _, step := range steps {
		if from.IsZero() || step.End.IsZero() {
			return
		}
		_, s := t.BeginAt(ctx, step.Name, from)
		s.EndAt(step.End)
		if step.End.After(from) { // clocks differ, and some are cut to seconds
			from = step.End
		}
	}
}

func nanos(at time.Time) uint64 { return uint64(max(at.UnixNano(), 0)) }
