package gateway

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/tracing"
)

// tracedRoutes are those that start a kernel, or bring it back, where the method is POST.
var tracedRoutes = []string{"/api/kernels", "/api/sessions", "/api/kernels/{id}/restart", "/api/kernels/{id}/return"}

// traced begins the span of a request that asks for a kernel.
func (s *Server) traced(route string, r *http.Request) (*http.Request, *tracing.Span) {
	if s.tracer == nil || r.Method != http.MethodPost || !slices.Contains(tracedRoutes, route) {
		return r, nil
	}
	ctx, span := s.tracer.Serve(r.Context(), r.Header, r.Method+" "+route)
	return r.WithContext(ctx), span
}

// reach is how the agent of a run was reached.
type reach struct {
	target target
	tried  time.Time // first
	done   time.Time
}

// traceWake begins to record the way of the oldest cell that waits for a kernel that is to
// be asked for: from when it came to the first that the kernel says of it. What is done in the
// context that it returns is part of that.
func (s *socket) traceWake(ctx context.Context) context.Context {
	if s.srv.tracer == nil {
		return ctx
	}
	r := s.pending.oldestWaiting()
	if r == nil {
		return ctx
	}
	ctx, span := s.srv.tracer.BeginAt(ctx, spanCell, r.at)
	s.waiting.Store(span)
	return ctx
}

const spanCell = "cell"

// traceDial notes when an agent is tried first.
func (s *socket) traceDial(t target) {
	if s.srv.tracer != nil && s.trying.target != t {
		s.trying = reach{target: t, tried: s.srv.now()}
	}
}

// traceLink notes that an agent was reached.
func (s *socket) traceLink() {
	if s.srv.tracer != nil && s.trying.done.IsZero() {
		s.trying.done = s.srv.now()
		reached := s.trying
		s.reached.Store(&reached)
	}
}

// traceSign ends the way of a cell: the kernel says the first of it, and with it that this
// run is there. One that waits for a kernel that somebody else has asked for is part of that.
func (s *socket) traceSign(r *request) {
	if s.srv.tracer == nil {
		return
	}
	span, at := s.waiting.Swap(nil), s.srv.now()
	parent, reached := tracing.NotedParent(s.sub.lastSeen()), s.reached.Load()
	if span == nil && parent.IsNone() || reached == nil {
		return
	}
	s.beside(func(ctx context.Context) { // no message waits for that
		if span == nil {
			_, span = s.srv.tracer.BeginAt(tracing.Under(ctx, parent), spanCell, r.at)
		}
		span.Set("kernel", s.sub.lastSeen().Name)
		span.Set("owner", s.identity.owner())
		span.EndAt(at)
		s.srv.tracer.Steps(span.Parent(), tracing.RequestOf(ctx), reached.tried, tracing.Step{Name: "reach the agent", End: reached.done})
		s.traceAgent(ctx, span.Parent(), reached.target)
	})
}

// traceEnd ends the way of a cell that does not come to the kernel that it has asked for.
func (s *socket) traceEnd(reason string) {
	if span := s.waiting.Swap(nil); span != nil {
		span.Fail(reason)
		span.EndAt(s.srv.now())
	}
}

// traceAgent asks the agent how the kernel came up, and records that. Agents record nothing
// themselves: so no Pod of a kernel needs a way to where traces go.
func (s *socket) traceAgent(ctx context.Context, of tracing.Parent, t target) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	state, err := s.srv.agents.state(ctx, t)
	if err != nil || state.Came == nil || !state.Meter.Counts() || t.warm != "" { // a warm one came before the cell
		return
	}
	began := s.srv.now().Add(-seconds(state.HeldSeconds)) // on our clock
	s.srv.tracer.Steps(of, tracing.RequestOf(ctx), began, cameUp(began, *state.Came)...)
}

// cameUp are the steps in which the kernel came up.
func cameUp(began time.Time, came protocol.Came) []tracing.Step {
	return []tracing.Step{
		{Name: "container of the kernel", End: began.Add(seconds(came.ProcessSeconds))},
		{Name: "start of its process", End: began.Add(seconds(came.AnswerSeconds))},
		{Name: "load of its state", End: began.Add(seconds(came.ReadySeconds))},
	}
}

// mostSeconds is more than any kernel takes to come up; it fits a time.Duration.
const mostSeconds = 1e6

func seconds(n float64) time.Duration {
	return time.Duration(min(max(n, 0), mostSeconds) * float64(time.Second))
}
