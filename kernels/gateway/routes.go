package gateway

import (
	"bufio"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/elastichub/elastichub/skew"
	"github.com/elastichub/elastichub/tracing"
)

// call is an authenticated request.
type call struct {
	*http.Request
	id        Identity
	token     string
	requestID string
}

// handler answers a call or returns why not.
type handler func(w http.ResponseWriter, c *call) error

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// Handler serves the API that clients use. Every route, also an unknown one,
// wants a token.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	routes := []struct {
		method, path string
		handle       handler
	}{
		{"GET", "/api", s.version},
		{"GET", "/api/spec.yaml", s.document},
		{"GET", "/api/kernelspecs", s.listSpecs},
		{"GET", "/api/kernelspecs/{name}", s.getSpec},
		{"GET", "/kernelspecs/{name}/{file}", s.specFile},
		{"GET", "/api/kernels", s.listKernels},
		{"POST", "/api/kernels", s.startKernel},
		{"GET", "/api/kernels/{id}", s.getKernel},
		{"DELETE", "/api/kernels/{id}", s.deleteKernel},
		{"POST", "/api/kernels/{id}/restart", s.restartKernel},
		{"POST", "/api/kernels/{id}/interrupt", s.interruptKernel},
		{"POST", "/api/kernels/{id}/return", s.returnKernel},
		{"GET", "/api/kernels/{id}/channels", s.channels},
		{"GET", "/api/kernels/{id}/ports", s.listPorts},
		{"GET", "/api/states", s.listStates},
		{"GET", "/api/sessions", s.listSessions},
		{"POST", "/api/sessions", s.createSession},
		{"GET", "/api/sessions/{id}", s.getSession},
		{"PATCH", "/api/sessions/{id}", s.changeSession},
		{"DELETE", "/api/sessions/{id}", s.deleteSession},
	}
	methods := map[string][]string{} // by path
	for _, r := range routes {
		mux.Handle(r.method+" "+r.path, s.adapt(r.path, r.handle))
		methods[r.path] = append(methods[r.path], r.method)
	}
	for path, allowed := range methods {
		mux.Handle(path, s.adapt(path, func(w http.ResponseWriter, _ *call) error {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			return fail(kindMethod, "This method is not supported here.")
		}))
	}
	mux.Handle("/", s.adapt("other", func(http.ResponseWriter, *call) error {
		return fail(kindNotFound, "There is nothing here.")
	}))
	// The mux redirects from paths such as //api before any route is reached.
	redirect := s.adapt("other", func(w http.ResponseWriter, c *call) error {
		mux.ServeHTTP(w, c.Request)
		return nil
	})
	api := s.crossOrigin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isClean(r.URL.EscapedPath()) {
			mux.ServeHTTP(w, r)
			return
		}
		redirect.ServeHTTP(w, r)
	}))
	// A path below a port is that of the kernel's server, which need not be clean, and
	// neither is what it says of origins ours.
	passed := s.adaptBody(routePort, 0, s.passPort)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, _, is := portPath(r.URL.EscapedPath()); is {
			passed.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}

// isClean reports whether the mux takes a path as it is.
func isClean(p string) bool {
	clean := path.Clean("/" + p)
	return p == clean || p == clean+"/"
}

// adapt is the one place where a request is authenticated and an error
// becomes an answer.
func (s *Server) adapt(route string, h handler) http.Handler {
	return s.adaptBody(route, maxBody, func(w http.ResponseWriter, c *call) error {
		counted := &countedBody{c.Body, share{budget: s.memory, owner: c.id.owner()}}
		c.Body = counted
		defer counted.share.free()
		return h(w, c)
	})
}

// adaptBody is adapt for bodies of which nothing is kept in memory; one is cut after so
// many bytes, 0: never.
func (s *Server) adaptBody(route string, most int64, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		requestID := tracing.RequestID(r.Header.Get(tracing.HeaderRequest))
		w.Header().Set(tracing.HeaderRequest, requestID)
		w.Header().Set(skew.Header, skew.Here(skew.GatewayProtocol).String())
		r = r.WithContext(tracing.WithRequest(r.Context(), requestID))
		if most > 0 {
			r.Body = http.MaxBytesReader(rec, r.Body, most)
		}
		r, span := s.traced(route, r)
		defer span.End()
		c := &call{Request: r, requestID: requestID}
		err := s.authenticate(c)
		if err == nil {
			err = s.neighbour(c)
		}
		if err == nil {
			err = h(rec, c)
		}
		if err != nil {
			span.Fail(string(explain(err).kind))
		}
		if err != nil && !rec.hijacked {
			writeError(rec, s.logOf(c, route, err), requestID, err)
		}
		s.metrics.requests.WithLabelValues(route, method(r.Method), strconv.Itoa(rec.status)).Inc()
		if !rec.hijacked {
			s.metrics.seconds.WithLabelValues(route).Observe(time.Since(began).Seconds())
		}
	})
}

// logger is where what a call does is logged.
func (s *Server) logger(c *call) *slog.Logger { return s.log.With(tracing.KeyRequest, c.requestID) }

// logOf is where the error of a call is logged: nowhere, when its client has
// been refused too often a moment ago.
func (s *Server) logOf(c *call, route string, err error) *slog.Logger {
	log := s.logger(c).With("method", method(c.Method), "route", route)
	if id := c.id.owner(); id != "" {
		log = log.With("owner", id)
	}
	why := explain(err).kind
	if why == kindInternal {
		return log // each is a fault of ours
	}
	host, _, splitErr := net.SplitHostPort(c.RemoteAddr)
	if splitErr != nil {
		host = c.RemoteAddr
	}
	more, ok := s.refusals.write(host + " " + string(why))
	if !ok {
		return slog.New(slog.DiscardHandler)
	}
	if more > 0 {
		log = log.With("notLogged", more)
	}
	return log
}

// authenticate finds out who is calling.
func (s *Server) authenticate(c *call) error {
	token, err := takeToken(c.Request)
	if err != nil {
		return err
	}
	if !s.synced() {
		return fail(kindUnavailable, "The gateway is starting.")
	}
	id, err := s.auth.identify(c.Context(), token)
	if errors.Is(err, errStopped) && c.Method == http.MethodDelete {
		// A notebook server that is stopped deletes its kernels. What becomes of
		// them follows from who stopped it. jupyter_server 2.21 goes on after a 404; a 401 breaks its
		// shutdown off, and it waits to be killed.
		return errNoKernel
	}
	if err != nil {
		return err
	}
	c.id, c.token = id, token
	return nil
}

// method keeps the label's values a closed set.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "other"
}

// recorder notes the status for the metrics and lets WebSockets through.
type recorder struct {
	http.ResponseWriter
	status   int
	hijacked bool
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap is for the time-outs of what is passed on.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Hijack is used by the WebSocket upgrade.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err == nil {
		r.hijacked = true
	}
	return conn, rw, err
}
