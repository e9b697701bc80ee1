// Package agent is the process of the agent's container in a kernel's Pod. It
// has the kernel started by run-kernel in the container beside it, carries its
// messages between ZMQ and one TLS port, restarts it in place, judges whether
// it is busy, and ends it when it was idle for long enough. What it speaks is
// docs/agent-protocol.md.
//
// The kernel's owner is a possible attacker of the agent: nothing that comes
// from the kernel or from run-kernel may stop it, hold it up without a bound or
// lengthen the kernel's life beyond what work asked for. What makes its
// decisions hold is the kubelet, which asks GET /v1/live and kills the kernel's
// container when the answer is no.
//
//	            ┌──────────── kernel ready ───────────┐
//	starting ───┤                                     ▼
//	   ▲ │      └─ exit, time-out: start-failed    running ── idle, shutdown, SIGTERM ──▶ end
//	   │ └─ (only if it never was ready)              │
//	   └──────── restart in place, crash ─────────────┘   (a 6th crash in a row: kernel-exited)
package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
)

// agent is one run. Its supervisor (supervise.go) is the only one to change
// the kernel; the server and the connections read it under mu.
type agent struct {
	cfg     Config
	conn    connection
	secrets *secrets
	log     *slog.Logger

	processes *processes // set before there is a kernel

	signer   *wire.Signer
	builder  *wire.Builder
	activity *activity
	epoch    string
	orders   chan order
	passing  chan struct{} // requests to servers of the kernel
	rejects  atomic.Uint64
	contact  atomic.Pointer[time.Time] // when somebody with the key last spoke to the agent
	farewell atomic.Pointer[farewell]  // the last shutdown_request of a client, or nil
	warned   bool                      // parking has been announced; the supervisor's
	told     atomic.Pointer[string]    // a notice for people, nil: none was taken
	usage    protocol.Usage            // as of the start of the present process; the supervisor's
	probed   atomic.Pointer[time.Time] // when the kubelet last asked whether the kernel is to live
	over     atomic.Bool               // the kernel is to be gone
	parked   words                     // what is said of the state; the supervisor's
	swept    sync.Once                 // the home, of old states
	restored restoring                 // the supervisor's
	wake     chan struct{}             // has one token when a client has sent something
	// variables are what every process of the kernel has over its container's; nil: none.
	variables atomic.Pointer[protocol.Variables]
	// keep is how the kernel's state is kept; nil: it is not, or not known yet.
	keep atomic.Pointer[Keep]

	mu       sync.RWMutex
	ctx      context.Context // of sessions and connections; ends with the run
	end      context.CancelFunc
	sessions map[string]*session
	kernel   *kernel // that is ready, or nil
	came     *protocol.Came
	state    wire.State
	restarts int
	info     []byte // content of the last kernel_info_reply
	greeting string // for sessions that are new
	ending   bool   // no client's message goes to the kernel any more
}

// Run has the kernel started once run-kernel is there, and serves it until it
// ends. Ending ctx ends it with ReasonTerminated. The error is that of a run that
// could not even begin; its Result says start-failed.
func Run(ctx context.Context, cfg Config) (protocol.Result, error) {
	result, err := run(ctx, cfg)
	if err != nil {
		result = protocol.Result{Reason: protocol.ReasonStartFailed, Message: err.Error()}
	}
	if cfg.TerminationLog != "" {
		if e := writeResult(cfg.TerminationLog, result); e != nil {
			err = errors.Join(err, fmt.Errorf("agent: termination log: %w", e))
		}
	}
	return result, err
}

func run(ctx context.Context, cfg Config) (protocol.Result, error) {
	if err := cfg.Validate(); err != nil {
		return protocol.Result{}, err
	}
	log := about(cfg, cfg.Request)
	secrets, err := newSecrets(cfg, log)
	if err != nil {
		return protocol.Result{}, err
	}
	conn, err := newConnection(cfg.KernelName)
	if err != nil {
		return protocol.Result{}, err
	}
	defer conn.release()
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return protocol.Result{}, fmt.Errorf("agent: %w", err)
	}
	control, err := listenForProcesses(cfg.Socket)
	if err != nil {
		_ = listener.Close()
		return protocol.Result{}, fmt.Errorf("agent: control socket: %w", err)
	}
	defer control.Close()

	a := &agent{
		cfg: cfg, conn: conn, secrets: secrets,
		log:      log,
		signer:   wire.NewSigner([]byte(conn.Key)),
		builder:  wire.NewBuilder("elastichub"),
		activity: newActivity(time.Now(), cfg.IdleTimeout, cfg.CullConnected, cfg.BusyCPU, cfg.BusyGPU),
		epoch:    uuid.NewString(),
		orders:   make(chan order),
		passing:  make(chan struct{}, mostPassed),
		wake:     make(chan struct{}, 1),
		sessions: map[string]*session{},
		state:    wire.StateStarting,
	}
	if cfg.Keep != nil {
		a.keepFrom(cfg.Keep)
		a.activity.setShort(cfg.Keep.Short)
	}
	a.log.Info("agent started")
	a.contacted(time.Now())
	a.ctx, a.end = context.WithCancel(context.Background())
	following := make(chan struct{})
	go func() {
		defer close(following)
		secrets.follow(a.ctx)
	}()
	defer func() {
		a.end()
		<-following
	}()
	return a.serve(ctx, tls.NewListener(batchListener{listener}, secrets.serverTLS()), control)
}

// serve runs server and supervisor until the supervisor is done.
func (a *agent) serve(ctx context.Context, listener, control net.Listener) (protocol.Result, error) {
	server := a.server()
	serving := make(chan error, 1)
	go func() { serving <- server.Serve(batchListener{listener}) }()
	supervised := make(chan protocol.Result, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		result := a.supervise(ctx, control)
		a.outlive(ctx, result)
		meter := a.activity.meter(time.Now())
		result.Meter = &meter
		supervised <- result
	}()

	var broken error
	select {
	case err := <-serving:
		broken = fmt.Errorf("agent: server: %w", err)
		cancel()
		<-supervised
		return protocol.Result{}, broken
	case result := <-supervised:
		a.end()
		closing, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(closing) != nil {
			_ = server.Close()
		}
		if err := <-serving; !errors.Is(err, http.ErrServerClosed) {
			broken = fmt.Errorf("agent: server: %w", err)
		}
		return result, broken
	}
}

// broadcast gives a message of iopub to every session.
func (a *agent) broadcast(f frame) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, s := range a.sessions {
		s.out.add(f)
	}
}

// everySession returns the sessions of this moment.
func (a *agent) everySession() []*session {
	a.mu.RLock()
	defer a.mu.RUnlock()
	all := make([]*session, 0, len(a.sessions))
	for _, s := range a.sessions {
		all = append(all, s)
	}
	return all
}

// tellAll writes a line on stderr to every session, under its last cell.
func (a *agent) tellAll(text string) {
	for _, s := range a.everySession() {
		s.put(a.builder.Stream(s.parent(), "stderr", text))
	}
}

// announce publishes a state on iopub to every session.
func (a *agent) announce(state wire.State) {
	for _, s := range a.everySession() {
		s.put(a.builder.Status(nil, state))
	}
}

var (
	errTooManySessions = errors.New("agent: every session there may be is connected")
	errEnding          = errors.New("agent: the kernel is being ended")
)

// session returns the session of that id. A new one may cost the one that has
// been away longest its place.
func (a *agent) session(id string) (*session, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ending {
		return nil, errEnding
	}
	if s := a.sessions[id]; s != nil {
		return s, nil
	}
	if len(a.sessions) >= a.cfg.MaxSessions {
		var gone *session
		var since time.Time
		for _, s := range a.sessions {
			if left, away := s.away(); away && (gone == nil || left.Before(since)) {
				gone, since = s, left
			}
		}
		if gone == nil {
			return nil, errTooManySessions
		}
		gone.end()
		delete(a.sessions, gone.id)
	}
	s := newSession(a.ctx, id, a.cfg.ReplayBytes, a.builder)
	s.greeting = a.greeting
	a.sessions[id] = s
	if a.kernel != nil {
		a.kernel.attach(s)
	}
	return s, nil
}

func (a *agent) connections() int {
	n := 0
	for _, s := range a.everySession() {
		if _, away := s.away(); !away {
			n++
		}
	}
	return n
}

// rejected counts and, at times, logs a message of the kernel that is not valid.
func (a *agent) rejected(channel wire.Channel, err error) {
	if n := a.rejects.Add(1); n == 1 || n%1000 == 0 {
		a.log.Warn("invalid message of the kernel dropped",
			slog.String("channel", string(channel)), slog.Uint64("count", n), slog.Any("error", err))
	}
}
