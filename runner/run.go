package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/nbformat"
)

// quiet is how long a kernel may say nothing before the server is asked for its state.
const quiet = 15 * time.Second

// endTime bounds what is done when a run is over.
const endTime = 30 * time.Second

// Tags of cells that the runners of Jupyter know.
const (
	tagSkip   = "skip-execution"
	tagRaises = "raises-exception"
)

// Outcome is how a run went.
type Outcome string

// How a run went.
const (
	Succeeded Outcome = "succeeded"
	// CellFailed: a cell raised an error, and those after it were not run.
	CellFailed Outcome = "a cell failed"
	// Interrupted: somebody wanted it to end.
	Interrupted Outcome = "interrupted"
	// Unfinished: what a detached run has to do is not done, and it goes on.
	Unfinished Outcome = "goes on"
)

// Options of a run.
type Options struct {
	// Kernel is a kernelspec's name; empty: the server's default.
	Kernel string
	// Name is that of the file, without directories.
	Name   string
	Screen *Screen
	// Interrupts: each interrupts the kernel, after which the run is over. The end of the
	// context ends the kernel.
	Interrupts <-chan struct{}
}

type session struct {
	ID     string `json:"id"`
	Path   string `json:"path"`
	Kernel struct {
		ID    string `json:"id"`
		Name  string `json:"name"`
		State string `json:"execution_state"`
	} `json:"kernel"`
}

// Run runs all cells of code, shows what they print and puts it into the notebook. The
// kernel is the run's own and ends with it. Errors: ErrKernel, ErrServer; the notebook has
// then what came until that.
func (s *Server) Run(ctx context.Context, n *nbformat.Notebook, o Options) (Outcome, error) {
	made, err := s.startSession(ctx, path.Base(o.Name)+"-"+uuid.NewString()[:8], "console", o.Kernel)
	if err != nil {
		return "", err
	}
	o.Screen.Say("kernel %s of %s", made.Kernel.Name, s.base)
	defer s.endSession(ctx, made)
	connection, err := s.open(ctx, made.Kernel.ID)
	if err != nil {
		return "", err
	}
	defer connection.close()
	r := &run{server: s, channels: connection, kernel: made.Kernel.ID, recorder: nbformat.NewRecorder(), options: o}
	for i, c := range n.Cells() {
		if !c.IsCode() || strings.TrimSpace(c.Source()) == "" || c.HasTag(tagSkip) {
			continue
		}
		r.recorder.Begin(c)
		outcome, err := r.cell(ctx, c)
		if ctx.Err() != nil {
			return Interrupted, nil
		}
		if err != nil {
			return "", err
		}
		if r.interrupted {
			return Interrupted, nil
		}
		if outcome == CellFailed && !c.HasTag(tagRaises) {
			o.Screen.Say("cell %d of %d failed", i+1, len(n.Cells()))
			return CellFailed, nil
		}
	}
	return Succeeded, nil
}

func (s *Server) startSession(ctx context.Context, at, kind, kernel string) (*session, error) {
	body := map[string]any{"path": at, "name": path.Base(at), "type": kind, "kernel": map[string]string{"name": kernel}}
	if kernel == "" {
		body["kernel"] = struct{}{}
	}
	made := &session{}
	if err := s.call(ctx, http.MethodPost, s.base+"api/sessions", body, made); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKernel, err)
	}
	if made.Kernel.ID == "" {
		return nil, fmt.Errorf("%w: %s is no notebook server", ErrServer, s.base)
	}
	return made, nil
}

// endSession ends the kernel too, and also when the run was ended. jupyter_server refuses
// it while it restarts the kernel by itself, and may have forgotten the session then.
func (s *Server) endSession(ctx context.Context, made *session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	for ctx.Err() == nil { // else its idle time ends it
		for _, address := range []string{"api/sessions/" + url.PathEscape(made.ID), "api/kernels/" + url.PathEscape(made.Kernel.ID)} {
			err := s.call(ctx, http.MethodDelete, s.base+address, nil, nil)
			var answered *statusError
			if err == nil {
				return
			}
			if !errors.As(err, &answered) || answered.code != http.StatusNotFound {
				break
			}
			if strings.HasPrefix(address, "api/kernels/") {
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(redial):
		}
	}
}

// run is one that is waited for.
type run struct {
	server      *Server
	channels    *channels
	kernel      string
	recorder    *nbformat.Recorder
	options     Options
	interrupted bool
}

// request is what is known of the cell that runs.
type request struct {
	id            string
	replied, idle bool
	failed        bool
	count         int
	// idleLooks counts looks at the kernel that found it idle, one after the other.
	idleLooks int
}

// cell runs one, and returns when the kernel is done with it.
func (r *run) cell(ctx context.Context, c *nbformat.Cell) (Outcome, error) {
	q := &request{}
	defer func() { r.recorder.End(c, q.count) }()
	var err error
	if q.id, err = r.channels.execute(ctx, c.Source(), nil); err != nil {
		return "", err
	}
	silence := time.NewTimer(quiet)
	defer silence.Stop()
	for !q.replied || !q.idle {
		select {
		case m, ok := <-r.channels.messages:
			if !ok {
				return "", r.channels.fault
			}
			silence.Reset(quiet)
			if err := r.take(c, q, &m); err != nil {
				return "", err
			}
		case <-silence.C:
			silence.Reset(quiet)
			if err := r.look(ctx, q); err != nil {
				return "", err
			}
		case <-r.options.Interrupts:
			r.interrupted = true
			r.options.Screen.Say("the kernel is interrupted; once more ends it")
			go r.interrupt(ctx)
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	if q.failed {
		return CellFailed, nil
	}
	return Succeeded, nil
}

func (r *run) interrupt(ctx context.Context) {
	address := r.server.base + "api/kernels/" + url.PathEscape(r.kernel) + "/interrupt"
	if err := r.server.call(ctx, http.MethodPost, address, struct{}{}, nil); err != nil {
		r.options.Screen.Say("it cannot be interrupted: %v", err)
	}
}

// take takes a message in.
func (r *run) take(c *nbformat.Cell, q *request, m *wire.Message) error {
	q.idleLooks = 0
	kind, state := m.Type(), ""
	if kind == wire.TypeStatus {
		state = m.ExecutionState()
	}
	switch wire.State(state) {
	case wire.StateDead:
		return fmt.Errorf("%w: it died", ErrKernel)
	case wire.StateRestarting:
		return fmt.Errorf("%w: it died, and was started anew", ErrKernel)
	case wire.StateStarting, wire.StateIdle, wire.StateBusy:
	}
	if m.ParentID() != q.id {
		return nil
	}
	switch {
	case kind == wire.TypeExecuteReply:
		var reply struct {
			Status string `json:"status"`
			Count  int    `json:"execution_count"`
		}
		if err := json.Unmarshal(m.Content, &reply); err != nil {
			return fmt.Errorf("%w: its answer is not JSON", ErrKernel)
		}
		q.replied, q.failed, q.count = true, reply.Status != "ok", reply.Count
	case kind == wire.TypeStatus:
		q.idle = wire.State(state) == wire.StateIdle
	case m.Channel == wire.IOPub:
		r.recorder.Add(c, kind, m.Content)
		r.options.Screen.message(kind, m.Content)
	}
	return nil
}

// look asks the server for a kernel that has said nothing for long. One that is idle
// twice has said the end of the cell to nobody.
func (r *run) look(ctx context.Context, q *request) error {
	var model struct {
		State string `json:"execution_state"`
	}
	err := r.server.call(ctx, http.MethodGet, r.server.base+"api/kernels/"+url.PathEscape(r.kernel), nil, &model)
	var answered *statusError
	switch {
	case errors.As(err, &answered) && answered.code == http.StatusNotFound:
		return fmt.Errorf("%w: somebody has ended it", ErrKernel)
	case wire.State(model.State) == wire.StateDead:
		return fmt.Errorf("%w: it is dead", ErrKernel)
	case wire.State(model.State) != wire.StateIdle: // or no answer: the connection finds out whether that is for good
		q.idleLooks = 0
		return nil
	}
	if q.idleLooks++; q.idleLooks < 2 {
		return nil
	}
	return fmt.Errorf("%w: the end of the cell was lost with the connection", ErrServer)
}
