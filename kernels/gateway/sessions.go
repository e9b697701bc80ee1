package gateway

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// session is what a client says that a kernel is for: Jupyter's sessions, of
// which each has one kernel.
type session struct {
	id, path, name, kind string
}

// sessionStore keeps the session of a kernel for as long as the kernel is there.
type sessionStore interface {
	get(kernel *v1alpha1.JupyterKernel) (session, bool)
	put(ctx context.Context, kernel *v1alpha1.JupyterKernel, s session) error
	// drop takes the session from a kernel that goes on.
	drop(ctx context.Context, kernel *v1alpha1.JupyterKernel) error
}

// sessionMemory is a sessionStore of this replica's.
type sessionMemory struct {
	mu sync.Mutex
	by map[types.UID]session // by kernel; the owner's kernels are bounded
}

func newSessionMemory() *sessionMemory { return &sessionMemory{by: map[types.UID]session{}} }

func (m *sessionMemory) get(k *v1alpha1.JupyterKernel) (session, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.by[k.UID]
	return s, ok
}

func (m *sessionMemory) put(_ context.Context, k *v1alpha1.JupyterKernel, s session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.by[k.UID] = s
	return nil
}

func (m *sessionMemory) drop(_ context.Context, k *v1alpha1.JupyterKernel) error {
	m.removed(k)
	return nil
}

// removed is called for every kernel that is no more.
func (m *sessionMemory) removed(k *v1alpha1.JupyterKernel) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.by, k.UID)
}

// sessionModel is a session as clients read it.
type sessionModel struct {
	ID     string      `json:"id"`
	Path   string      `json:"path"`
	Name   string      `json:"name"`
	Type   string      `json:"type"`
	Kernel kernelModel `json:"kernel"`
	// Notebook is what clients of Jupyter before 5 read.
	Notebook sessionFile `json:"notebook"`
}

type sessionFile struct {
	Path string `json:"path"`
	Name string `json:"name"`
}

func (s *Server) sessionModel(ctx context.Context, of session, k *v1alpha1.JupyterKernel) sessionModel {
	return sessionModel{
		ID: of.id, Path: of.path, Name: of.name, Type: of.kind,
		Kernel: s.models(ctx, []*v1alpha1.JupyterKernel{k})[0], Notebook: sessionFile{Path: of.path, Name: of.name},
	}
}

// sessionRequest is the body of POST and PATCH. Members that are absent, or
// null, are not changed.
type sessionRequest struct {
	Path     *string       `json:"path"`
	Name     *string       `json:"name"`
	Type     *string       `json:"type"`
	Kernel   sessionKernel `json:"kernel"`
	Notebook struct {
		Path *string `json:"path"`
		Name *string `json:"name"`
	} `json:"notebook"`
}

type sessionKernel struct {
	ID   string      `json:"id"`
	Name string      `json:"name"`
	Env  environment `json:"env"`
}

// maxSessionText is the longest path, name or type of a session, in characters.
const maxSessionText = maxPath

// readSession reads the body and returns what it makes of a session.
func readSession(c *call, from session) (session, sessionKernel, error) {
	var body sessionRequest
	if err := readBody(c.Body, &body, "The body must be a JSON object with path, name, type and kernel."); err != nil {
		return from, body.Kernel, err
	}
	for target, values := range map[*string][]*string{
		&from.path: {body.Path, body.Notebook.Path}, &from.name: {body.Name, body.Notebook.Name}, &from.kind: {body.Type},
	} {
		if value := cmp.Or(values...); value != nil {
			*target = *value
		}
		if utf8.RuneCountInString(*target) > maxSessionText {
			return from, body.Kernel, fail(kindInvalid, "path, name and type have at most 4096 characters each.")
		}
	}
	if from.path == "" {
		return from, body.Kernel, fail(kindInvalid, "path is required.")
	}
	return from, body.Kernel, nil
}

// sessions are the caller's own: of a notebook those of its own kernels, not of
// the user's other servers, since clients take their list for all there is.
func (s *Server) sessions(ctx context.Context, id Identity) ([]*v1alpha1.JupyterKernel, error) {
	kernels, err := s.store.kernels(ctx, id)
	if err != nil {
		return nil, err
	}
	kernels = slices.DeleteFunc(kernels, func(k *v1alpha1.JupyterKernel) bool {
		_, has := s.sessionStore.get(k)
		return !has || id.NotebookUID != "" && !isOwnedBy(k, id.NotebookUID)
	})
	sortKernels(kernels)
	return kernels, nil
}

// session finds one of the caller's sessions.
func (s *Server) session(ctx context.Context, id Identity, is func(session) bool) (*v1alpha1.JupyterKernel, session, error) {
	kernels, err := s.sessions(ctx, id)
	if err != nil {
		return nil, session{}, err
	}
	for _, k := range kernels {
		if of, _ := s.sessionStore.get(k); is(of) {
			return k, of, nil
		}
	}
	return nil, session{}, errNoSession
}

var errNoSession = fail(kindNotFound, "There is no such session.")

func (s *Server) listSessions(w http.ResponseWriter, c *call) error {
	kernels, err := s.sessions(c.Context(), c.id)
	if err != nil {
		return err
	}
	models := make([]sessionModel, len(kernels))
	for i, state := range s.models(c.Context(), kernels) {
		of, _ := s.sessionStore.get(kernels[i])
		models[i] = sessionModel{ID: of.id, Path: of.path, Name: of.name, Type: of.kind, Kernel: state, Notebook: sessionFile{Path: of.path, Name: of.name}}
	}
	writeJSON(w, http.StatusOK, models)
	return nil
}

func (s *Server) getSession(w http.ResponseWriter, c *call) error {
	k, of, err := s.session(c.Context(), c.id, func(of session) bool { return of.id == c.PathValue("id") })
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s.sessionModel(c.Context(), of, k))
	return nil
}

// createSession starts a kernel for a path, or takes one that runs. A path that
// has a session gets that.
func (s *Server) createSession(w http.ResponseWriter, c *call) error {
	of, kernel, err := readSession(c, session{id: uuid.NewString(), kind: "notebook"})
	if err != nil {
		return err
	}
	k, existing, err := s.session(c.Context(), c.id, func(other session) bool { return other.path == of.path })
	if err == nil {
		of = existing
	} else {
		if k, err = s.kernelFor(c, kernel); err != nil {
			return err
		}
		if err := s.sessionStore.put(c.Context(), k, of); err != nil {
			return err
		}
	}
	w.Header().Set("Location", "/api/sessions/"+of.id)
	writeJSON(w, http.StatusCreated, s.sessionModel(c.Context(), of, k))
	return nil
}

// kernelFor is the kernel that a request names, or a new one.
func (s *Server) kernelFor(c *call, wanted sessionKernel) (*v1alpha1.JupyterKernel, error) {
	if wanted.ID == "" {
		return s.start(c, startRequest{Name: wanted.Name, Env: wanted.Env})
	}
	k, err := s.store.kernel(c.Context(), c.id, wanted.ID)
	if err != nil {
		return nil, err
	}
	if _, taken := s.sessionStore.get(k); taken {
		return nil, fail(kindConflict, "This kernel has a session already.")
	}
	return k, nil
}

// changeSession renames a session or gives it another kernel, in which case the
// one before is deleted, as in jupyter_server.
func (s *Server) changeSession(w http.ResponseWriter, c *call) error {
	k, of, err := s.session(c.Context(), c.id, func(of session) bool { return of.id == c.PathValue("id") })
	if err != nil {
		return err
	}
	of, wanted, err := readSession(c, of)
	if err != nil {
		return err
	}
	if wanted.ID != "" && wanted.ID != k.Name || wanted.ID == "" && wanted.Name != "" {
		next, err := s.kernelFor(c, wanted)
		if err != nil {
			return err
		}
		if err := s.sessionStore.drop(c.Context(), k); err != nil {
			return err
		}
		if err := s.store.remove(c.Context(), k); err != nil && explain(err).kind != kindNotFound {
			return err
		}
		k = next
	}
	if err := s.sessionStore.put(c.Context(), k, of); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s.sessionModel(c.Context(), of, k))
	return nil
}

// deleteSession deletes a session with its kernel.
func (s *Server) deleteSession(w http.ResponseWriter, c *call) error {
	k, _, err := s.session(c.Context(), c.id, func(of session) bool { return of.id == c.PathValue("id") })
	if err != nil {
		return err
	}
	if err := s.store.remove(c.Context(), k); err != nil {
		return err
	}
	if err := s.sessionStore.drop(c.Context(), k); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
