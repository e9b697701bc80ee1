package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/elastichub/elastichub/nbformat"
)

// Runs is the directory of the documents of detached runs.
const Runs = "elastichub-runs"

const (
	followPoll = 2 * time.Second
	// settled is how long a kernel is idle before what is not written will not be: the
	// server writes every two seconds, and more rarely into large notebooks.
	settled = 30 * time.Second
)

// ErrNoRun: the server has no document of that run.
var ErrNoRun = errors.New("there is no such run on the server")

var unsafe = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// Detach uploads the notebook, has all of its cells run one after the other, and returns
// at once. The id is for Logs. Errors: ErrServer if the server does not keep what is
// printed while nobody looks, ErrKernel.
func (s *Server) Detach(ctx context.Context, n *nbformat.Notebook, o Options) (id string, err error) {
	n.Identify()
	n.Clear()
	name := unsafe.ReplaceAllString(strings.TrimSuffix(path.Base(o.Name), path.Ext(o.Name)), "-")
	id = fmt.Sprintf("%.64s-%s-%s", name, time.Now().UTC().Format("20060102T150405"), uuid.NewString()[:8])
	if err := s.save(ctx, id, n); err != nil {
		return "", err
	}
	made, err := s.startSession(ctx, document(id), "notebook", o.Kernel)
	if err != nil {
		return "", err
	}
	if err := s.submit(ctx, made.Kernel.ID, n); err != nil {
		s.endSession(ctx, made)
		return "", err
	}
	return id, nil
}

func document(id string) string { return Runs + "/" + id + ".ipynb" }

func (s *Server) save(ctx context.Context, id string, n *nbformat.Notebook) error {
	directory := map[string]string{"type": "directory"}
	if err := s.call(ctx, http.MethodPut, s.contents(Runs), directory, nil); err != nil {
		return fmt.Errorf("%w: %w", ErrServer, err)
	}
	model := map[string]any{"type": "notebook", "format": "json", "content": json.RawMessage(n.Bytes())}
	if err := s.call(ctx, http.MethodPut, s.contents(document(id)), model, nil); err != nil {
		return fmt.Errorf("%w: %w", ErrServer, err)
	}
	return nil
}

func (s *Server) contents(at string) string {
	parts := strings.Split(at, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return s.base + "api/contents/" + strings.Join(parts, "/")
}

// submit sends all cells, if the server keeps what they print.
func (s *Server) submit(ctx context.Context, kernel string, n *nbformat.Notebook) error {
	var keeping struct {
		Kept bool `json:"kept"`
	}
	err := s.call(ctx, http.MethodGet, s.base+"elastichub/v1/documents/kernels/"+url.PathEscape(kernel), nil, &keeping)
	var answered *statusError
	if err != nil && !errors.As(err, &answered) {
		return fmt.Errorf("%w: %w", ErrServer, err)
	}
	if err != nil || !keeping.Kept {
		return fmt.Errorf("%w: it does not keep what this kernel prints while nobody looks, so the run cannot be left alone: choose a kernel of the gateway", ErrServer)
	}
	connection, err := s.open(ctx, kernel)
	if err != nil {
		return err
	}
	defer connection.close()
	for _, c := range n.Cells() {
		if !c.IsCode() || strings.TrimSpace(c.Source()) == "" || c.HasTag(tagSkip) {
			continue
		}
		metadata, err := json.Marshal(map[string]any{"cellId": c.ID(), "deletedCells": []string{}})
		if err != nil {
			return err
		}
		if _, err := connection.execute(ctx, c.Source(), metadata); err != nil {
			return err
		}
	}
	return nil
}

// Logs shows what a detached run has printed; follow goes on until it is over.
// Errors: ErrNoRun, ErrServer, ErrKernel if its kernel is gone before all cells were run.
func (s *Server) Logs(ctx context.Context, id string, follow bool, screen *Screen) (Outcome, error) {
	l := &log{screen: screen, shown: map[string][]string{}}
	for {
		n, err := s.load(ctx, id)
		if err != nil {
			return "", err
		}
		changed := l.show(n)
		if changed || l.idleSince.IsZero() {
			l.idleSince = time.Now()
		}
		switch outcome := outcomeOf(n); {
		case outcome != Unfinished:
			return outcome, nil
		case !follow:
			return Unfinished, nil
		}
		state, err := s.stateOf(ctx, document(id))
		if err != nil {
			return "", err
		}
		if state != "idle" && state != "" {
			l.idleSince = time.Now()
		}
		if time.Since(l.idleSince) > settled {
			return "", fmt.Errorf("%w: it has ended, or somebody has interrupted it, before all cells were run", ErrKernel)
		}
		select {
		case <-ctx.Done():
			return Interrupted, nil
		case <-time.After(followPoll):
		}
	}
}

func (s *Server) load(ctx context.Context, id string) (*nbformat.Notebook, error) {
	if id == "" || unsafe.MatchString(id) {
		return nil, fmt.Errorf("%w: %q", ErrNoRun, id)
	}
	var model struct {
		Content json.RawMessage `json:"content"`
	}
	err := s.call(ctx, http.MethodGet, s.contents(document(id))+"?content=1&type=notebook", nil, &model)
	var answered *statusError
	if errors.As(err, &answered) && answered.code == http.StatusNotFound {
		return nil, fmt.Errorf("%w: %s", ErrNoRun, id)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrServer, err)
	}
	n, err := nbformat.Read(model.Content)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrServer, err)
	}
	return n, nil
}

// Document is the notebook of a detached run, as far as it has come.
func (s *Server) Document(ctx context.Context, id string) (*nbformat.Notebook, error) {
	return s.load(ctx, id)
}

// stateOf is the execution state of the kernel of a document, empty if it has none.
func (s *Server) stateOf(ctx context.Context, at string) (string, error) {
	var all []session
	if err := s.call(ctx, http.MethodGet, s.base+"api/sessions", nil, &all); err != nil {
		return "", fmt.Errorf("%w: %w", ErrServer, err)
	}
	for _, each := range all {
		if each.Path == at {
			return each.Kernel.State, nil
		}
	}
	return "", nil
}

// outcomeOf is how the run of a notebook went, as far as its cells tell.
func outcomeOf(n *nbformat.Notebook) Outcome {
	outcome := Succeeded
	for _, c := range n.Cells() {
		if !c.IsCode() || strings.TrimSpace(c.Source()) == "" || c.HasTag(tagSkip) {
			continue
		}
		for _, o := range c.Outputs() {
			if o.Type() == nbformat.Error && !c.HasTag(tagRaises) {
				return CellFailed
			}
		}
		if c.ExecutionCount() == 0 {
			outcome = Unfinished
		}
	}
	return outcome
}

// log shows a notebook that grows.
type log struct {
	screen *Screen
	// shown is what was shown of each output, by its cell.
	shown map[string][]string
	// idleSince is since when nothing has come and the kernel has done nothing.
	idleSince time.Time
}

// show shows what is new, and reports whether anything is.
func (l *log) show(n *nbformat.Notebook) (changed bool) {
	for _, c := range n.Cells() {
		outputs := c.Outputs()
		before := l.shown[c.ID()]
		var now []string
		for i, o := range outputs {
			text := l.textOf(o)
			now = append(now, text)
			switch {
			case i < len(before) && before[i] == text:
			case i < len(before) && o.Type() == nbformat.Stream && strings.HasPrefix(text, before[i]):
				l.screen.stream(o.Name(), strings.TrimPrefix(text, before[i]))
				changed = true
			default:
				l.screen.output(o)
				changed = true
			}
		}
		l.shown[c.ID()] = now
	}
	return changed
}

func (l *log) textOf(o nbformat.Output) string {
	switch o.Type() {
	case nbformat.Stream:
		return o.Text()
	case nbformat.Error:
		return o.Traceback()
	default:
		return plainly(o.Data())
	}
}
