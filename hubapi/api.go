package hubapi

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/skew"
	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/tracing"
)

// Allowances says what a user may have. Its errors are those of groups.
type Allowances interface {
	// Present tells what the Hub knows of a user's sign-in, before the user is
	// asked about.
	Present(user string, signIn groups.SignIn)
	Allowance(ctx context.Context, user string) (groups.Allowance, error)
	// AllowanceNow counts a group that was removed a moment ago.
	AllowanceNow(ctx context.Context, user string) (groups.Allowance, error)
}

// Servers runs notebook servers. Its errors are those of spawner.
type Servers interface {
	// Start is idempotent on Request.Start.
	Start(ctx context.Context, request spawner.Request) (spawner.State, error)
	// Host is that of a server's address, whether there is the server or not.
	Host(ctx context.Context, key spawner.Key, others []spawner.HubUser) (string, error)
	State(ctx context.Context, key spawner.Key) (spawner.State, error)
	// States is answered from memory.
	States(ctx context.Context) ([]spawner.State, error)
	// Running counts a user's servers, but for the key's, that count towards the
	// limit; from memory.
	Running(ctx context.Context, key spawner.Key) (int, error)
	// Stop keeps the volumes, Remove does not. Neither waits for the Pod to go.
	Stop(ctx context.Context, key spawner.Key) error
	StopStart(ctx context.Context, key spawner.Key, start string) error
	Remove(ctx context.Context, key spawner.Key) error
	// Rename gives a stopped server another name and keeps all that it has.
	Rename(ctx context.Context, key spawner.Key, to string) error
	// Events gives the events of one start after the one with id after, all
	// of them when it is empty. The channel closes after a final event, and
	// when ctx ends.
	Events(ctx context.Context, key spawner.Key, start, after string) (<-chan spawner.Event, error)
}

// Dependencies are the rooms this one leads to.
type Dependencies struct {
	Allowances Allowances
	Servers    Servers
	Cluster    Cluster
	// Ready returns why this replica should get no requests, nil when it should.
	Ready   func() error
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Tracer  *tracing.Tracer // nil: nothing is recorded
	// Seen notes the releases of Hubs; nil: nobody wants to know.
	Seen *skew.Seen
}

// Prefix is the path under which every authenticated route lies.
const Prefix = "/api/spawner/v1"

// Route templates; a user name is one percent-encoded path segment.
const (
	routeForm    = "/users/:user/form"
	routeOptions = "/users/:user/options"
	routeCheck   = "/users/:user/options/check"
	routeServer  = "/users/:user/server"
	routeHost    = "/users/:user/server/host"
	routeRename  = "/users/:user/server/rename"
	routeEvents  = "/users/:user/server/events"
	routeServers = "/servers"
	routeOpenAPI = "/openapi.yaml"
	routeHealth  = "/healthz"
	routeReady   = "/readyz"
)

const (
	maxBody      = 1 << 20
	writeTimeout = 10 * time.Second
	// maxStreams bounds the memory that event streams can take; a Hub needs
	// one per start in progress.
	maxStreams = 4096
)

// API is the handler. It must be a server's handler itself, or be called
// with the request's path untouched: http.ServeMux would clean the encoded
// slashes out of user names.
type API struct {
	config  Config
	deps    Dependencies
	metrics *metrics
	engine  *gin.Engine
	streams chan struct{}
	bodies  *bodies
	ignored ignored

	drain    sync.Once
	draining chan struct{}
}

// New returns the handler, or the faults of the configuration.
func New(config Config, deps Dependencies) (*API, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	a := &API{
		config: config, deps: deps, metrics: newMetrics(deps.Metrics),
		streams: make(chan struct{}, maxStreams), draining: make(chan struct{}),
	}
	a.bodies = &bodies{gauge: a.metrics.bodies}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	// Parameters are matched as they came and unescaped by us: gin would
	// turn a plus sign into a space.
	engine.UseEscapedPath, engine.UnescapePathValues = true, false
	engine.RedirectTrailingSlash, engine.RedirectFixedPath = false, false
	engine.HandleMethodNotAllowed = true
	engine.Use(identify, tell, record(deps.Log, a.metrics), bound(config.RequestTimeout), a.bodies.count, traced(deps.Tracer))
	engine.GET(routeHealth, handle(a.health))
	engine.GET(routeReady, handle(a.ready))

	authenticated := bearer(config.Tokens)
	engine.NoRoute(authenticated, handle(func(*gin.Context) error { return errNoRoute }))
	engine.NoMethod(authenticated, handle(func(*gin.Context) error { return errMethod }))
	v1 := engine.Group(Prefix, authenticated, a.neighbour)
	v1.GET(routeOpenAPI, handle(a.document))
	v1.GET(routeForm, handle(a.form))
	v1.POST(routeForm, handle(a.formFor))
	v1.POST(routeOptions, handle(a.decodeOptions))
	v1.POST(routeCheck, handle(a.checkOptions))
	v1.PUT(routeServer, handle(a.start))
	v1.GET(routeServer, handle(a.state))
	v1.DELETE(routeServer, handle(a.stop))
	v1.GET(routeHost, handle(a.host))
	v1.POST(routeRename, handle(a.rename))
	v1.GET(routeEvents, handle(a.events))
	v1.GET(routeServers, handle(a.states))
	a.engine = engine
	return a, nil
}

func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.engine.ServeHTTP(w, r) }

// Routes lists "METHOD /path/{parameter}" of every route, as the OpenAPI
// document spells them.
func (a *API) Routes() []string {
	var routes []string
	for _, route := range a.engine.Routes() {
		routes = append(routes, route.Method+" "+strings.ReplaceAll(route.Path, ":user", "{user}"))
	}
	return routes
}

// Drain ends every event stream; clients resume elsewhere with Last-Event-ID.
// Give it to http.Server.RegisterOnShutdown, as NewServer does.
func (a *API) Drain() { a.drain.Do(func() { close(a.draining) }) }

// NewServer is the HTTP server for an API: its time-outs, header bound and drain.
func NewServer(api *API) *http.Server {
	server := &http.Server{
		Handler:           api,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	server.RegisterOnShutdown(api.Drain)
	return server
}

// handle is the one adapter between handlers, which return errors, and gin.
func handle(h func(*gin.Context) error) gin.HandlerFunc {
	return func(c *gin.Context) {
		if err := h(c); err != nil {
			fail(c, err)
		}
	}
}

func (a *API) health(c *gin.Context) error {
	c.String(http.StatusOK, "ok\n")
	return nil
}

// ready is 503 while draining too, so that no new stream is sent here.
func (a *API) ready(c *gin.Context) error {
	select {
	case <-a.draining:
		return errDraining
	default:
	}
	if err := a.deps.Ready(); err != nil {
		c.String(http.StatusServiceUnavailable, "not ready\n")
		_ = c.Error(err)
		return nil
	}
	c.String(http.StatusOK, "ok\n")
	return nil
}

type lookup func(ctx context.Context, user string) (groups.Allowance, error)

// within bounds a directory's answer.
func (a *API) within(ctx context.Context, ask lookup, user string) (groups.Allowance, error) {
	ctx, span := a.deps.Tracer.Begin(ctx, "groups")
	defer span.End()
	ctx, cancel := context.WithTimeout(ctx, a.config.LookupTimeout)
	defer cancel()
	allowed, err := ask(ctx, user)
	if err != nil {
		span.Fail(kindOf(err))
	}
	return allowed, err
}

// allowance is for forms, which may be a little behind.
func (a *API) allowance(ctx context.Context, user string) (groups.Allowance, error) {
	return a.within(ctx, a.deps.Allowances.Allowance, user)
}

// allowanceNow is for starts.
func (a *API) allowanceNow(ctx context.Context, user string) (groups.Allowance, error) {
	return a.within(ctx, a.deps.Allowances.AllowanceNow, user)
}
