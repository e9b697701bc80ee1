package portal

import (
	"context"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/portal/holdings"
	"github.com/elastichub/elastichub/portal/signin"
	"github.com/elastichub/elastichub/usage"
	"github.com/elastichub/elastichub/web"
)

// Members says which groups somebody is in. Its errors are those of groups.
type Members interface {
	Lookup(ctx context.Context, user string) (groups.Membership, error)
}

// Dependencies are the rooms this one leads to.
type Dependencies struct {
	Gate    *signin.Gate
	Members Members
	// Client reads from the cache, and writes.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// Logs reads what containers wrote.
	Logs LogReader
	// Capacity is what the cluster has of extended resources; nil: nobody counts them.
	Capacity func(context.Context) (holdings.Capacity, error)
	// Images is nil where none are pulled before anybody needs them.
	Images ImageLister
	// Returns are the kernelspecs that a kernel may return as, by its name: none unless it is
	// without a Pod.
	Returns func(ctx context.Context, kernel string) ([]holdings.Choice, error)
	// Directory lists groups; nil: nobody can.
	Directory groups.Lister
	// Explain says what somebody may have, and why.
	Explain func(ctx context.Context, user string) groups.Explanation
	// Lender knows what the form of somebody shows besides.
	Lender web.Lender
	// Books reads the ledger of hours.
	Books   func(context.Context) ([]*usage.Book, error)
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
}

// Portal is the handler of everything below the base path.
type Portal struct {
	config  Config
	deps    Dependencies
	metrics *metrics
	lists   *lists
	hours   *hours
	handler http.Handler
	streams chan struct{}

	drain    sync.Once
	draining chan struct{}
}

// New returns the handler, or the faults of the configuration.
func New(config Config, deps Dependencies) (*Portal, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	p := &Portal{
		config: config, deps: deps, metrics: newMetrics(deps.Metrics),
		streams: make(chan struct{}, mostStreams), draining: make(chan struct{}),
	}
	p.lists = &lists{read: p.readAll, age: config.ListAge, now: deps.Now}
	p.hours = &hours{read: deps.Books, age: hoursAge, now: deps.Now}
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, r := range p.routes() {
		mux.Handle(r.method+" "+r.path, p.serve(r))
		methods[r.path] = append(methods[r.path], r.method)
	}
	for path, known := range methods {
		allow := strings.Join(known, ", ")
		mux.Handle(path, p.serve(route{path: path, needs: anyone, handle: func(r *request) error {
			r.w.Header().Set("Allow", allow)
			return errMethod
		}}))
	}
	nowhere := p.noRoute()
	mux.Handle("/", nowhere)
	p.handler = http.StripPrefix(strings.TrimSuffix(config.BasePath, "/"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isPlain(r.URL.Path) {
			mux.ServeHTTP(w, r)
		} else {
			nowhere.ServeHTTP(w, r)
		}
	}))
	return p, nil
}

// Serves reports whether a request is below the base path.
func (p *Portal) Serves(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, p.config.BasePath)
}

func (p *Portal) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }

// Routes lists "METHOD /path/{parameter}" of every route, below the base path.
func (p *Portal) Routes() []string {
	var all []string
	for _, r := range p.routes() {
		all = append(all, r.method+" "+r.path)
	}
	return all
}

// noRoute answers what leads nowhere.
func (p *Portal) noRoute() http.Handler {
	return p.serve(route{path: "other", needs: anyone, handle: func(*request) error { return errNoRoute }})
}

// isPlain: http.ServeMux would redirect any other path, to outside of the base path.
func isPlain(p string) bool {
	clean := path.Clean(p)
	return clean == p || clean+"/" == p
}
