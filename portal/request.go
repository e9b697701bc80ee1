package portal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/portal/signin"
	"github.com/elastichub/elastichub/tracing"
)

const (
	// maxBody bounds what a request may send.
	maxBody       = 64 << 10
	maxPolicyBody = 512 << 10
	writeTimeout  = 10 * time.Second
	headerCSRF    = "X-CSRF-Token"
)

// contentSecurity lets a page load what is ours, and nothing that stands in the page.
const contentSecurity = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// request is one on its way through a route.
type request struct {
	*http.Request
	w      *response
	route  route
	id     string
	person signin.Person
	// isAdmin and adminErr say whether the person is an administrator, as far as is known.
	isAdmin  bool
	adminErr error
}

// response notes what was answered.
type response struct {
	http.ResponseWriter
	code int
}

func (w *response) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *response) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// isAPI reports whether the answer is JSON.
func (r *request) isAPI() bool {
	return strings.HasPrefix(r.URL.Path, apiPrefix+"/") || r.URL.Path == apiPrefix
}

// serve is the way of every request, so that no handler can forget a part of it.
func (p *Portal) serve(of route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		begin := p.deps.Now()
		id := tracing.RequestID(hr.Header.Get(tracing.HeaderRequest))
		hr = hr.WithContext(tracing.WithRequest(hr.Context(), id))
		// A stream sets deadlines of its own. One for reading, which passes while a handler
		// runs, would end its request, and all that come later on the connection.
		if of.path != livePath {
			control := http.NewResponseController(w)
			// Recorders of tests know no deadlines; the server does.
			_ = control.SetReadDeadline(time.Now().Add(p.config.RequestTimeout))
			_ = control.SetWriteDeadline(time.Now().Add(p.config.RequestTimeout + writeTimeout))
			ctx, cancel := context.WithTimeout(hr.Context(), p.config.RequestTimeout)
			defer cancel()
			hr = hr.WithContext(ctx)
		}
		r := &request{Request: hr, w: &response{ResponseWriter: w}, route: of, id: id}
		r.Body = http.MaxBytesReader(w, r.Body, of.mostBody())
		secure(w.Header(), id)
		err := p.recovered(r)
		if err != nil {
			p.fail(r, err)
		}
		p.observe(r, err, p.deps.Now().Sub(begin))
	})
}

// secure sets what every answer says to a browser. Nothing of ours is kept anywhere
// but static files.
func secure(h http.Header, id string) {
	h.Set(tracing.HeaderRequest, id)
	h.Set("Content-Security-Policy", contentSecurity)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Cookie, Authorization, Accept-Language")
}

func (p *Portal) recovered(r *request) (err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			p.deps.Log.ErrorContext(r.Context(), "handler panicked", tracing.KeyRequest, r.id, "panic", fmt.Sprint(recovered), "stack", string(debug.Stack()))
			err = errors.New("portal: panic")
		}
	}()
	if err := p.admit(r); err != nil {
		return err
	}
	return r.route.handle(r)
}

// admit refuses who may not make the request.
func (p *Portal) admit(r *request) (err error) {
	if r.route.needs == anyone {
		return nil
	}
	if r.person, err = p.deps.Gate.Identify(r.Request); err != nil {
		return err
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		shown := r.Header.Get(headerCSRF)
		if !r.isAPI() {
			if err := r.parseForm(); err != nil {
				return err
			}
			shown = r.PostForm.Get(fieldCSRF)
		}
		if err := p.deps.Gate.CheckOrigin(r.Request, r.person, shown); err != nil {
			return err
		}
	}
	if r.person.Account != nil {
		return p.admitAccount(r)
	}
	if r.route.needs == account {
		return errAccountsOnly
	}
	r.isAdmin, r.adminErr = p.administrates(r.Context(), r.person)
	if r.route.needs == admin && !r.isAdmin {
		if r.adminErr != nil {
			return r.adminErr
		}
		return errNoAdmin
	}
	return nil
}

// administrates asks whether somebody is an administrator. Whom the directory does
// not know is none; an error means that nobody can tell.
func (p *Portal) administrates(ctx context.Context, who signin.Person) (bool, error) {
	if p.config.Admins.Hub && who.HubAdmin {
		return true, nil
	}
	if len(p.config.Admins.Groups) == 0 {
		return false, nil
	}
	m, err := p.deps.Members.Lookup(ctx, who.User)
	if errors.Is(err, groups.ErrUnknownUser) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return m.IsIn(p.config.Admins.Groups), nil
}

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_portal_requests_total",
			Help: "Requests of people to the console and its API, by route template, method and status code.",
		}, []string{"route", "method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "elastichub_portal_request_seconds",
			Help:    "Time to answer a request of a person, by route template. Event streams are left out.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route"}),
	}
	registry.MustRegister(m.requests, m.seconds)
	return m
}

// maxLogged bounds what a stranger can write into the log with one request.
const maxLogged = 512

// observe logs and counts a request. Neither headers nor queries nor bodies reach the log.
func (p *Portal) observe(r *request, err error, took time.Duration) {
	method := r.Method
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodDelete:
	default:
		method = "other"
	}
	p.metrics.requests.WithLabelValues(r.route.path, method, strconv.Itoa(r.w.code)).Inc()
	if r.route.path != livePath {
		p.metrics.seconds.WithLabelValues(r.route.path).Observe(took.Seconds())
	}
	level := slog.LevelInfo
	switch {
	case r.w.code >= 500:
		level = slog.LevelError
	case method == http.MethodGet && r.w.code < 400:
		level = slog.LevelDebug // pages look again by themselves
	}
	path := r.URL.EscapedPath()
	attributes := []any{tracing.KeyRequest, r.id, "method", method, "route", r.route.path, "path", path[:min(len(path), maxLogged)],
		"code", r.w.code, "seconds", took.Seconds(), "user", r.by()}
	if err != nil {
		attributes = append(attributes, "error", err)
	}
	p.deps.Log.Log(r.Context(), level, "portal request", attributes...)
}
