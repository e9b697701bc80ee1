package agent

import (
	"log/slog"
	"net/http"

	"github.com/elastichub/elastichub/tracing"
)

// about is the agent's log, of what is done for a request; the run itself is begun for one.
func about(cfg Config, request string) *slog.Logger {
	log := cfg.Log.With(slog.String("kernel", cfg.KernelID))
	if request != "" {
		log = log.With(slog.String(tracing.KeyRequest, request))
	}
	return log
}

// logger is where what a call does is logged. Gateways say for which request they call, and
// controllers in which of their passes.
func (a *agent) logger(r *http.Request) *slog.Logger {
	return about(a.cfg, tracing.RequestID(r.Header.Get(tracing.HeaderRequest)))
}
