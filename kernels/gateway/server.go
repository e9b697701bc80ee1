package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/rotation"
	"github.com/elastichub/elastichub/skew"
	"github.com/elastichub/elastichub/tokens/bearer"
	"github.com/elastichub/elastichub/tracing"
)

// Deps is what a Server works with.
type Deps struct {
	// Cache answers reads from informers; see NewCache.
	Cache client.Reader
	// API is the API server itself, for writes and for what the cache lacks.
	API client.Client
	// Synced reports whether the cache is complete. Before, requests are
	// answered with 503: jupyter_server drops a kernel that is not listed.
	Synced func() bool
	// Registry takes the metrics and is served at /metrics.
	Registry *prometheus.Registry
	Log      *slog.Logger
	// Now is the clock; nil means the system's.
	Now func() time.Time
	// Tracer is told of cells that wait for their kernel; nil: nothing is recorded.
	Tracer *tracing.Tracer
}

// timing is what tests shorten.
type timing struct {
	verify       time.Duration // how often an open socket's token is checked
	infoPatience time.Duration // how long a page's kernel_info_request waits for the kernel itself: JupyterLab gives it 3 s
	quickInfo    time.Duration // the same for a hasty client, which gives it 1 s and has no session
	grace        time.Duration // how long a cell waits before it is told why
	launch       time.Duration // how long a start waits for its kernel, for clients that are no notebooks
	drain        time.Duration // how long requests may take to finish at the end
	ack          time.Duration // how long an acknowledgement may wait for more to acknowledge
}

var defaultTiming = timing{verify: 20 * time.Second, infoPatience: 2 * time.Second, quickInfo: 500 * time.Millisecond, grace: 2 * time.Second, launch: launchTime, drain: 10 * time.Second, ack: ackAfter}

// Server is one replica of a gateway.
type Server struct {
	cfg      Config
	log      *slog.Logger
	now      func() time.Time
	synced   func() bool
	timing   timing
	registry *prometheus.Registry
	metrics  *metrics
	auth     *authenticator
	store    *store
	cache    client.Reader
	agents   *agents
	infos    *infos
	activity *activity
	watch    *watch
	left     *leftovers
	memory   *budget
	refusals *refusals
	passes   *passes
	tracer   *tracing.Tracer
	seen     *skew.Seen

	mu       sync.Mutex
	stopping bool
	sockets  sync.WaitGroup
	// serving ends when the server stops; sockets live in it.
	serving context.Context
	stop    context.CancelFunc
}

// New returns a server that has not begun to listen; Run, the function, makes
// one and feeds it from informers. It fails when the configuration or one of
// the mounted files is faulty.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("gateway: configuration: %w", err)
	}
	now := deps.Now
	if now == nil {
		now = time.Now
	}
	s := &Server{
		cfg: cfg, log: deps.Log, now: now, synced: deps.Synced, timing: defaultTiming,
		registry: deps.Registry, metrics: newMetrics(deps.Registry),
		auth: newAuthenticator(cfg, deps.Cache, now), store: newStore(cfg, deps.Cache, deps.API, now), cache: deps.Cache,
		agents: &agents{keys: &reread[gatewayKeys]{now: now, load: func() (gatewayKeys, error) { return loadKeys(cfg.KeyFile, now()) }}},
		infos:  newInfos(), activity: newActivity(cfg.bounds.socketsPerUser), refusals: newRefusals(now),
		passes: &passes{count: map[string]int{}}, tracer: deps.Tracer,
		seen: skew.NewSeen(skew.Gateway, skew.GatewayProtocol, now),
	}
	s.agents.seen = s.seen
	s.watch = newWatch(s.store.resting.rest)
	s.memory = newBudget(cfg.MessageBytes, s.metrics.memory, s.metrics.held)
	s.left = newLeftovers(now, s.memory)
	s.serving, s.stop = context.WithCancel(context.Background())
	_, keyErr := s.agents.keys.get()
	_, verifierErr := s.auth.keys.get()
	_, clientsErr := s.auth.clients.get()
	if err := errors.Join(keyErr, verifierErr, clientsErr); err != nil {
		return nil, err
	}
	return s, nil
}

// Run listens until ctx ends, then closes the sockets with code 1012, so that
// clients come back to another replica, and lets requests finish.
func (s *Server) Run(ctx context.Context) error {
	main, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	health, err := net.Listen("tcp", s.cfg.Health)
	if err != nil {
		_ = main.Close()
		return fmt.Errorf("gateway: %w", err)
	}
	return s.Serve(ctx, main, health)
}

// Serve is Run on listeners that it closes.
func (s *Server) Serve(ctx context.Context, main, health net.Listener) error {
	servers := []*http.Server{s.httpServer(s.Handler()), s.httpServer(s.health())}
	failed := make(chan error, len(servers))
	var wg sync.WaitGroup
	for i, l := range []net.Listener{main, health} {
		wg.Go(func() { failed <- servers[i].Serve(l) })
	}
	s.log.Info("gateway listens", "address", main.Addr().String(), "health", health.Addr().String(), "gateway", s.cfg.Name, "namespace", s.cfg.Namespace)
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("gateway: %w", err)
	}
	s.Close()
	drain, cancel := context.WithTimeout(context.Background(), s.timing.drain)
	defer cancel()
	for _, server := range servers {
		if e := server.Shutdown(drain); e != nil {
			_ = server.Close()
		}
	}
	wg.Wait()
	s.log.Info("gateway stopped")
	return err
}

// Close ends every socket and waits for them. Serve does it by itself.
func (s *Server) Close() {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	s.stop()
	s.sockets.Wait()
}

// enter counts a socket in, unless the server is stopping.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.sockets.Add(1)
	return true
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      restartTimeout + 15*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// health serves /healthz, /readyz and /metrics.
func (s *Server) health() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		stopping := s.stopping
		s.mu.Unlock()
		if stopping || !s.synced() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusOK)
	})
	metrics := promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{})
	if s.cfg.MetricsTokenFile != "" {
		metrics = bearer.Require(s.cfg.MetricsTokenFile, metrics)
	}
	mux.Handle("GET /metrics", metrics)
	mux.Handle(skew.Path, s.seen)
	mux.Handle(rotation.Path, rotation.Marks(map[string]func() string{"signing": s.tokenMark, "gateway-key": s.keyMark}))
	return mux
}

// tokenMark is that of the keys of tokens.
func (s *Server) tokenMark() string {
	keys, err := s.auth.keys.get()
	if err != nil {
		return ""
	}
	return keys.mark
}

// keyMark is that of the keys from which secrets of agents follow.
func (s *Server) keyMark() string {
	keys, err := s.agents.keys.get()
	if err != nil {
		return ""
	}
	return keys.mark
}
