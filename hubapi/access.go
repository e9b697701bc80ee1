package hubapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/tracing"
)

func requestID(c *gin.Context) string { return tracing.RequestOf(c.Request.Context()) }

func identify(c *gin.Context) {
	id := tracing.RequestID(c.GetHeader(tracing.HeaderRequest))
	c.Request = c.Request.WithContext(tracing.WithRequest(c.Request.Context(), id))
	c.Header(tracing.HeaderRequest, id)
}

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	streams  prometheus.Gauge
	bodies   prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "elastichub_hubapi_requests_total",
			Help: "Requests from JupyterHub, by route template, method and status code.",
		}, []string{"route", "method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "elastichub_hubapi_request_seconds",
			Help:    "Time to answer a request from JupyterHub, by route template. Event streams are left out.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "elastichub_hubapi_event_streams",
			Help: "Open event streams.",
		}),
		bodies: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "elastichub_hubapi_body_bytes",
			Help: "What requests in progress have sent as their bodies, at most 8 MiB.",
		}),
	}
	registry.MustRegister(m.requests, m.seconds, m.streams, m.bodies)
	return m
}

// record logs and counts every request once it is answered. Neither headers
// nor query strings nor bodies reach the log; the path does, because a user
// name is no secret.
func record(log *slog.Logger, m *metrics) gin.HandlerFunc {
	return func(c *gin.Context) {
		begin := time.Now()
		defer func() {
			if recovered := recover(); recovered != nil {
				log.ErrorContext(c.Request.Context(), "handler panicked", tracing.KeyRequest, requestID(c),
					"panic", fmt.Sprint(recovered), "stack", string(debug.Stack()))
				if c.Writer.Written() {
					c.Abort()
				} else {
					fail(c, fmt.Errorf("hubapi: panic"))
				}
			}
			observe(c, log, m, time.Since(begin))
		}()
		c.Next()
	}
}

func observe(c *gin.Context, log *slog.Logger, m *metrics, took time.Duration) {
	route, code := c.FullPath(), c.Writer.Status()
	if route == "" {
		route = "other"
	}
	m.requests.WithLabelValues(route, method(c.Request.Method), strconv.Itoa(code)).Inc()
	if route != Prefix+routeEvents {
		m.seconds.WithLabelValues(route).Observe(took.Seconds())
	}
	level := slog.LevelInfo
	switch {
	case code >= 500:
		level = slog.LevelError
	case code < 400 && (route == Prefix+routeServers || route == routeHealth || route == routeReady):
		level = slog.LevelDebug // once a second and more
	}
	attributes := []any{tracing.KeyRequest, requestID(c), "method", method(c.Request.Method), "route", route,
		"path", logged(c.Request.URL.EscapedPath()), "code", code, "seconds", took.Seconds()}
	if last := c.Errors.Last(); last != nil {
		attributes = append(attributes, "error", last.Err)
	}
	log.Log(c.Request.Context(), level, "request", attributes...)
}

// method keeps the label's values a closed set.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete:
		return m
	default:
		return "other"
	}
}

// bound limits what a request may cost: the time to read it and to write
// the answer, and the time spent in between.
func bound(timeout time.Duration) gin.HandlerFunc {
	return func(c *gin.Context) {
		control := http.NewResponseController(c.Writer)
		// Recorders of tests know no deadlines; the server of NewServer does.
		_ = control.SetReadDeadline(time.Now().Add(timeout))
		_ = control.SetWriteDeadline(time.Now().Add(timeout + writeTimeout))
		if c.FullPath() == Prefix+routeEvents {
			c.Next()
			return
		}
		ctx, cancel := context.WithTimeout(c.Request.Context(), timeout)
		defer cancel()
		c.Request = c.Request.WithContext(ctx)
		c.Next()
	}
}

// maxLoggedPath bounds what a stranger can write into the log with one request.
const maxLoggedPath = 2048

func logged(path string) string {
	if len(path) <= maxLoggedPath {
		return path
	}
	return path[:maxLoggedPath] + "…"
}
