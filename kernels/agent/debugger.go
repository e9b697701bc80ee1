package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keep/keeper"
	"github.com/elastichub/elastichub/kernels/wire"
)

// debuggerTime is how long the debugger of a kernel that comes back may take to be as it
// was; then the first cell runs without.
const debuggerTime = 15 * time.Second

// errDebuggerDied says that a process has ended while its debugger was set.
var errDebuggerDied = fmt.Errorf("agent: the debugger was set: %w", keeper.ErrGone)

// setDebugger sets the debugger of a process that has its state again, before clients
// speak to it. What fails is noted in the report, unless the process has ended.
func (p *kept) setDebugger(ctx context.Context, report *keeper.Report, leave bool) error {
	d := &report.Debugger
	if leave && len(d.Requests) > 0 {
		d.Why = "the process ended when they were"
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, debuggerTime)
	defer cancel()
	for _, request := range d.Requests {
		err := p.k.debug(ctx, request)
		switch {
		case errors.Is(err, keeper.ErrGone):
			return errDebuggerDied
		case err != nil:
			p.a.log.Warn("breakpoints not set", slog.Any("error", err))
			d.Why = "the debugger did not do as it was told"
			return nil
		}
	}
	return nil
}

// debug sends a debug_request with that content, and waits until it is carried out.
func (k *kernel) debug(ctx context.Context, content json.RawMessage) error {
	c := k.control.Load()
	if c == nil {
		return errors.New("agent: no control connection")
	}
	answer, err := k.exchange(ctx, c, k.a.builder.New(wire.Control, wire.TypeDebugRequest, nil, content))
	if err != nil {
		return fmt.Errorf("agent: debug_request %s: %w", wire.Member(content, "command"), err)
	}
	if !wire.IsTrue(answer, "success") {
		return fmt.Errorf("agent: debug_request %s is answered by %.200s", wire.Member(content, "command"), answer)
	}
	return nil
}

// ofCell reports whether a message is of the debugger and tells how a cell is getting on,
// whoever has spoken to the debugger last.
func ofCell(m *wire.Message) bool {
	if m.Type() != wire.TypeDebugEvent {
		return false
	}
	switch wire.Member(m.Content, "event") {
	case debugStopped, debugContinued:
		return true
	}
	return false
}

// Events of the debug adapter protocol by which a cell stops and goes on.
const (
	debugStopped    = "stopped"
	debugContinued  = "continued"
	debugTerminated = "terminated"
	debugExited     = "exited"
)
