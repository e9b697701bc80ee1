package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keep/keeper"
	"github.com/elastichub/elastichub/kernels/agent/keep/store"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
)

var (
	errNotUp      = errors.New("agent: the kernel is not up")
	errKeptBefore = errors.New("agent: how the kernel's state is kept cannot be told, or not any more")
)

// keepFrom has the state of the kernel kept. It is for the supervisor.
func (a *agent) keepFrom(keep *Keep) {
	a.restored.none = keep.Loads < 0
	a.keep.Store(keep)
}

// putKeep tells how the state of a kernel is kept that was kept ready until it was
// somebody's. It is answered before that is loaded: who speaks to the kernel
// waits for that, as at every start.
func (a *agent) putKeep(w http.ResponseWriter, r *http.Request) {
	var body protocol.KeepState
	var told *Keep
	if !understand(w, r, &body, func() (err error) { told, err = a.keepOf(body); return err }) {
		return
	}
	done := make(chan error, 1)
	timeout := time.NewTimer(protocol.CallTimeout)
	defer timeout.Stop()
	var err error
	select {
	case a.orders <- order{keep: told, done: done}:
		err = <-done
	case <-timeout.C:
		err = errNotUp
	case <-a.ctx.Done():
		err = errNotUp
	case <-r.Context().Done():
		return
	}
	switch {
	case errors.Is(err, errNotUp):
		problem(w, http.StatusConflict, "NotRunning", "the kernel is not running yet")
	case err != nil:
		problem(w, http.StatusConflict, "NotTold", "the agent knows how the state is kept, or somebody has spoken to the kernel")
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// keepOf is what a KeepState says, with what is known already.
func (a *agent) keepOf(body protocol.KeepState) (*Keep, error) {
	known := a.cfg.KeepLater
	if known == nil {
		known = newKeep() // it is refused later
	}
	keep := *known
	all, err := keys.ParseKeep(strings.Join(body.Keys, "\n"))
	if err != nil {
		return nil, err
	}
	for _, key := range all {
		keep.Keys = append(keep.Keys, store.Key(key))
	}
	if body.TTLSeconds > float64(mostSeconds) {
		return nil, errors.New("ttlSeconds is too large")
	}
	keep.Kernel, keep.Run, keep.Loads, keep.MaxBytes = body.Kernel, body.Run, body.Loads, body.MaxBytes
	keep.YieldAny = !body.YieldWhole
	keep.TTL = time.Duration(body.TTLSeconds * float64(time.Second))
	return &keep, errors.Join(keep.validate()...)
}

// boot has a process that is told its state later load what it needs for that, so that
// this takes no time then. It returns nil if there is nothing to wait for.
func (a *agent) boot(k *kernel) <-chan struct{} {
	if a.cfg.KeepLater == nil || !keeper.Keeps(implementation(k.info)) {
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(a.ctx, keeper.DefaultLimits().Begin)
		defer cancel()
		if err := keeper.Boot(ctx, keptKernel{k}, a.cfg.KeepLater.Files); err != nil {
			a.log.Warn("the kernel is not ready to be kept", slog.Any("error", err)) // it is tried again
		}
	}()
	return done
}

// takeKeep begins to keep the state of the process that is up and that nobody has spoken
// to. It is the process of nobody any more until it is settled.
func (a *agent) takeKeep(k *kernel, told *Keep) (*kept, error) {
	if known := a.keep.Load(); known != nil {
		if reflect.DeepEqual(known, told) {
			return nil, nil
		}
		return nil, errKeptBefore
	}
	a.mu.Lock()
	spoken := len(a.sessions) > 0
	if !spoken && a.cfg.KeepLater != nil {
		a.kernel, a.state = nil, wire.StateStarting
	}
	a.mu.Unlock()
	if spoken || a.cfg.KeepLater == nil {
		return nil, errKeptBefore
	}
	a.log.Info("the kernel is somebody's, and its state is kept", slog.Int64("run", told.Run))
	a.keepFrom(told)
	p := a.keepState(k)
	if p == nil { // the log says why
		a.present(k)
		return nil, nil
	}
	p.settle()
	return p, nil
}
