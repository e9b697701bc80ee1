package agent

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/skew"
)

// Bounds of the bodies of requests.
const (
	bodyBytes      = 4 << 10
	variablesBytes = 64 << 10 // JSON may escape every byte of them
)

func (a *agent) server() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+protocol.PathReady, a.getReady)
	mux.HandleFunc("GET "+protocol.PathLive, a.getLive)
	private := http.NewServeMux()
	private.HandleFunc("GET "+protocol.PathState, a.getState)
	private.HandleFunc("POST "+protocol.PathInterrupt, a.postInterrupt)
	private.HandleFunc("POST "+protocol.PathRestart, a.postRestart)
	private.HandleFunc("PUT "+protocol.PathIdle, a.putIdle)
	private.HandleFunc("PUT "+protocol.PathVariables, a.putVariables)
	private.HandleFunc("PUT "+protocol.PathKeep, a.putKeep)
	private.HandleFunc("POST "+protocol.PathPark, a.postPark)
	private.HandleFunc("PUT "+protocol.PathNotice, a.putNotice)
	private.HandleFunc("POST "+protocol.PathShutdown, a.postShutdown)
	private.HandleFunc("GET "+protocol.PathChannels, a.getChannels)
	private.HandleFunc("GET "+protocol.PathPorts, a.getPorts)
	mux.Handle("/", a.authorized(private))
	return &http.Server{
		// A path below a port is the server's, which need not be clean.
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if isPort(r) {
				a.authorized(http.HandlerFunc(a.passOn)).ServeHTTP(w, r)
				return
			}
			mux.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second, // a WebSocket is free of it
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ConnContext:       withConn,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug), // handshakes of strangers
	}
}

func (a *agent) authorized(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leave, is := a.secrets.admit(r.Header.Get("Authorization"), connOf(r))
		if !is {
			problem(w, http.StatusUnauthorized, "Unauthorized", "the bearer token of this kernel's agent is required")
			return
		}
		defer leave()
		a.contacted(time.Now())
		if isPort(r) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set(skew.Header, skew.Here(protocol.Version).String())
		most := int64(bodyBytes)
		if r.URL.Path == protocol.PathVariables {
			most = variablesBytes
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
		next.ServeHTTP(w, r)
	})
}

func problem(w http.ResponseWriter, status int, reason, message string) {
	answer(w, status, protocol.Problem{Reason: reason, Message: message})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client went away
}

func (a *agent) getReady(w http.ResponseWriter, _ *http.Request) {
	a.mu.RLock()
	ready := a.kernel != nil
	a.mu.RUnlock()
	if !ready {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (a *agent) getState(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, a.stateNow())
}

func (a *agent) stateNow() protocol.State {
	connections := a.connections()
	a.mu.RLock()
	defer a.mu.RUnlock()
	now := time.Now()
	i, meter := a.activity.idleness(now, connections), a.activity.meter(now)
	s := protocol.State{
		Meter:              &meter,
		Protocol:           protocol.Version,
		Busy:               i.busy,
		ExecutionState:     a.state,
		LastActivity:       protocol.Instant{Time: i.last},
		IdleSeconds:        i.idle.Seconds(),
		IdleTimeoutSeconds: i.timeout.Seconds(),
		Connections:        connections,
		Restarts:           a.restarts,
		KernelInfo:         a.info,
		Came:               a.came,
	}
	if a.keep.Load() != nil {
		s.KeepSeconds = i.short.Seconds()
		s.Unyielding = i.refuses
	}
	if s.ExecutionState == wire.StateIdle && i.running {
		s.ExecutionState = wire.StateBusy
	}
	return s
}

func (a *agent) postInterrupt(w http.ResponseWriter, r *http.Request) {
	a.mu.RLock()
	k := a.kernel
	a.mu.RUnlock()
	if k == nil {
		problem(w, http.StatusConflict, "NotRunning", "the kernel is not running yet, there is nothing to interrupt")
		return
	}
	if err := k.interrupt(); err != nil {
		a.logger(r).Error("interrupt failed", slog.Any("error", err))
		problem(w, http.StatusInternalServerError, "InterruptFailed", "the kernel could not be interrupted")
		return
	}
	a.logger(r).Info("kernel interrupted")
	w.WriteHeader(http.StatusNoContent)
}

func (a *agent) postRestart(w http.ResponseWriter, r *http.Request) {
	done := make(chan error, 1)
	timeout := time.NewTimer(a.cfg.ShutdownGrace + a.cfg.StartTimeout)
	defer timeout.Stop()
	var err error
	select {
	case a.orders <- order{done: done}:
		select {
		case err = <-done:
		case <-timeout.C:
			err = errNotReady
		case <-r.Context().Done():
			return
		}
	case <-timeout.C:
		err = errNotReady
	case <-a.ctx.Done():
		err = errNotReady
	case <-r.Context().Done():
		return
	}
	if err != nil {
		a.logger(r).Warn("kernel not restarted", slog.Any("error", err))
		problem(w, http.StatusGatewayTimeout, "NotReady", "the kernel did not answer after its restart")
		return
	}
	a.logger(r).Info("kernel restarted")
	w.WriteHeader(http.StatusNoContent)
}

// understand reads the request's JSON and has it checked. Where that fails it
// answers with 400.
func understand(w http.ResponseWriter, r *http.Request, body any, check func() error) bool {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(body)
	if err == nil {
		err = check()
	}
	if _, rest := decoder.Token(); err == nil && rest != io.EOF {
		err = errors.New("more than one JSON value")
	}
	if err != nil {
		problem(w, http.StatusBadRequest, "BadRequest", err.Error())
	}
	return err == nil
}

func (a *agent) putIdle(w http.ResponseWriter, r *http.Request) {
	var body protocol.IdleTimeout
	if !understand(w, r, &body, func() error {
		switch {
		case body.TimeoutSeconds == nil:
			return errors.New("timeoutSeconds is required")
		case *body.TimeoutSeconds > float64(mostSeconds):
			return errors.New("timeoutSeconds is too large")
		case body.KeepSeconds != nil && *body.KeepSeconds > float64(mostSeconds):
			return errors.New("keepSeconds is too large")
		}
		return nil
	}) {
		return
	}
	if body.CullConnected != nil {
		a.activity.setCullConnected(*body.CullConnected)
	}
	if body.KeepSeconds != nil {
		a.activity.setShort(max(0, time.Duration(*body.KeepSeconds*float64(time.Second))))
	}
	a.activity.setTimeout(time.Now(), max(0, time.Duration(*body.TimeoutSeconds*float64(time.Second))))
	a.logger(r).Info("idle time changed", slog.Float64("seconds", *body.TimeoutSeconds))
	w.WriteHeader(http.StatusNoContent)
}

// mostSeconds is the longest idle time-out: ten years.
const mostSeconds = 10 * 365 * 24 * 60 * 60

func (a *agent) postShutdown(w http.ResponseWriter, r *http.Request) {
	select {
	case a.orders <- order{shutdown: true}:
	case <-a.ctx.Done():
	case <-r.Context().Done():
		return
	}
	a.logger(r).Info("the end of the kernel is asked for")
	w.WriteHeader(http.StatusAccepted)
}
