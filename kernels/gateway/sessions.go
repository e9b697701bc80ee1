package gateway

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// sessionOf is what a client says that a kernel is for, nil if nobody has said it:
// Jupyter's sessions, of which each has one kernel. It is part of the kernel's
// object, so that every replica knows it and it lives as long as the kernel.
func sessionOf(k *v1alpha1.JupyterKernel) *v1alpha1.KernelSession {
	if s := k.Spec.Session; s != nil && s.ID != "" {
		return s
	}
	return nil
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

func sessionModelOf(k *v1alpha1.JupyterKernel, state kernelModel) sessionModel {
	of := sessionOf(k)
	return sessionModel{
		ID: of.ID, Path: of.Path, Name: of.Name, Type: of.Type, Kernel: state, Notebook: sessionFile{Path: of.Path, Name: of.Name},
	}
}

func (s *Server) sessionModel(ctx context.Context, k *v1alpha1.JupyterKernel) sessionModel {
	return sessionModelOf(k, s.models(ctx, []*v1alpha1.JupyterKernel{k})[0])
}

// sessionRequest is the body of POST and PATCH. Members that are absent, or
// null, are not changed.
type sessionRequest struct {
	// ID that a new session is to have; a UUID. One that is there keeps its own.
	ID       *string       `json:"id"`
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

const (
	// maxSessionText is the longest path or name of a session, in characters.
	maxSessionText = maxPath
	// maxSessionType is the longest type, as the kind has it.
	maxSessionType = 253
)

func readSession(c *call) (sessionRequest, error) {
	var body sessionRequest
	err := readBody(c.Body, &body, "The body must be a JSON object with path, name, type and kernel.")
	return body, err
}

// over is what the request makes of a session.
func (r *sessionRequest) over(from v1alpha1.KernelSession) (*v1alpha1.KernelSession, error) {
	for _, member := range []struct {
		of     *string
		values []*string
	}{
		{&from.Path, []*string{r.Path, r.Notebook.Path}}, {&from.Name, []*string{r.Name, r.Notebook.Name}}, {&from.Type, []*string{r.Type}},
	} {
		if value := cmp.Or(member.values...); value != nil {
			*member.of = *value
		}
	}
	switch {
	case from.Path == "":
		return nil, fail(kindInvalid, "path is required.")
	case utf8.RuneCountInString(from.Path) > maxSessionText, utf8.RuneCountInString(from.Name) > maxSessionText,
		utf8.RuneCountInString(from.Type) > maxSessionType:
		return nil, fail(kindInvalid, "path and name have at most 4096 characters each, and type has at most 253.")
	}
	return &from, nil
}

// ofCaller picks the kernels with a session of the caller's own: of a notebook those
// of its own kernels, not of the user's other servers, since clients take their
// list for all there is.
func ofCaller(id Identity, kernels []*v1alpha1.JupyterKernel) []*v1alpha1.JupyterKernel {
	kernels = slices.DeleteFunc(kernels, func(k *v1alpha1.JupyterKernel) bool {
		return sessionOf(k) == nil || !id.made(k)
	})
	sortKernels(kernels)
	return kernels
}

// session finds the kernel of one of the caller's sessions. What the cache lacks is
// looked up: another replica may have written it a moment ago.
func (s *Server) session(ctx context.Context, id Identity, is func(*v1alpha1.KernelSession) bool) (*v1alpha1.JupyterKernel, error) {
	for _, list := range []func(context.Context, Identity) ([]*v1alpha1.JupyterKernel, error){s.store.kernels, s.store.written} {
		kernels, err := list(ctx, id)
		if err != nil {
			return nil, err
		}
		// The newest, while a session passes from one kernel to the next.
		for _, k := range slices.Backward(ofCaller(id, kernels)) {
			if is(sessionOf(k)) {
				return k, nil
			}
		}
	}
	return nil, errNoSession
}

func withID(id string) func(*v1alpha1.KernelSession) bool {
	return func(of *v1alpha1.KernelSession) bool { return of.ID == id }
}

var (
	errNoSession    = fail(kindNotFound, "There is no such session.")
	errSessionTaken = fail(kindConflict, "This kernel has a session already.")
)

func (s *Server) listSessions(w http.ResponseWriter, c *call) error {
	kernels, err := s.store.kernels(c.Context(), c.id)
	if err != nil {
		return err
	}
	kernels = ofCaller(c.id, kernels)
	models := make([]sessionModel, len(kernels))
	for i, state := range s.models(c.Context(), kernels) {
		models[i] = sessionModelOf(kernels[i], state)
	}
	writeJSON(w, http.StatusOK, models)
	return nil
}

func (s *Server) getSession(w http.ResponseWriter, c *call) error {
	k, err := s.session(c.Context(), c.id, withID(c.PathValue("id")))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s.sessionModel(c.Context(), k))
	return nil
}

// createSession starts a kernel for a path, or takes one that runs. A path that
// has a session gets that.
func (s *Server) createSession(w http.ResponseWriter, c *call) error {
	body, err := readSession(c)
	if err != nil {
		return err
	}
	of, err := body.over(v1alpha1.KernelSession{ID: uuid.NewString(), Type: "notebook"})
	if err != nil {
		return err
	}
	if body.ID != nil {
		if of.ID, err = parseKernelID(*body.ID); err != nil {
			return fail(kindInvalid, "id is not a UUID.")
		}
	}
	k, err := s.session(c.Context(), c.id, func(other *v1alpha1.KernelSession) bool { return other.Path == of.Path || other.ID == of.ID })
	switch {
	case err == nil && sessionOf(k).Path != of.Path:
		return fail(kindConflict, "There is a session with this id already.")
	case err == nil:
	case !errors.Is(err, errNoSession):
		return err
	default:
		if k, err = s.kernelFor(c, of, body.Kernel); err != nil {
			return err
		}
	}
	w.Header().Set("Location", "/api/sessions/"+sessionOf(k).ID)
	writeJSON(w, http.StatusCreated, s.sessionModel(c.Context(), k))
	return nil
}

// kernelFor gives a session to the kernel that a request names, or to a new one.
func (s *Server) kernelFor(c *call, of *v1alpha1.KernelSession, wanted sessionKernel) (*v1alpha1.JupyterKernel, error) {
	if wanted.ID == "" {
		return s.start(c, startRequest{Name: wanted.Name, Env: wanted.Env, session: of})
	}
	k, err := s.store.kernel(c.Context(), c.id, wanted.ID)
	if err != nil {
		return nil, err
	}
	return s.store.changeSession(c.Context(), c.id, k, func(now *v1alpha1.KernelSession) (*v1alpha1.KernelSession, error) {
		if now != nil {
			return nil, errSessionTaken
		}
		return of, nil
	})
}

// changeSession renames a session or gives it another kernel, in which case the
// one before is deleted, as in jupyter_server. One of which variables are kept is not: it
// returns as the other kernelspec, if that is of its language.
func (s *Server) changeSession(w http.ResponseWriter, c *call) error {
	k, err := s.session(c.Context(), c.id, withID(c.PathValue("id")))
	if err != nil {
		return err
	}
	body, err := readSession(c)
	if err != nil {
		return err
	}
	if wanted := body.Kernel; wanted.ID != "" && wanted.ID != k.Name || wanted.ID == "" && wanted.Name != "" {
		of, err := body.over(*sessionOf(k))
		if err != nil {
			return err
		}
		next, err := s.otherKernel(c, k, of, wanted)
		if err != nil {
			return err
		}
		if next.Name != k.Name {
			if err := s.end(c, k); err != nil && explain(err).kind != kindNotFound {
				return err
			}
		}
		k = next
	} else {
		id := sessionOf(k).ID
		k, err = s.store.changeSession(c.Context(), c.id, k, func(now *v1alpha1.KernelSession) (*v1alpha1.KernelSession, error) {
			if now == nil || now.ID != id {
				return nil, errNoSession
			}
			return body.over(*now)
		})
		if err != nil {
			return err
		}
	}
	writeJSON(w, http.StatusOK, s.sessionModel(c.Context(), k))
	return nil
}

// otherKernel gives a session the kernel that a request names; k is the one it has.
func (s *Server) otherKernel(c *call, k *v1alpha1.JupyterKernel, of *v1alpha1.KernelSession, wanted sessionKernel) (*v1alpha1.JupyterKernel, error) {
	if wanted.ID != "" || !hasKept(k) {
		return s.kernelFor(c, of, wanted)
	}
	ks, same, err := s.successor(c.Context(), c.id, k, wanted.Name)
	if err != nil {
		return nil, err
	}
	if !same {
		return s.kernelFor(c, of, wanted)
	}
	id := of.ID
	k, err = s.store.changeSession(c.Context(), c.id, k, func(now *v1alpha1.KernelSession) (*v1alpha1.KernelSession, error) {
		if now == nil || now.ID != id {
			return nil, errNoSession
		}
		return of, nil
	})
	if err != nil {
		return nil, err
	}
	return s.returnAs(c, k, ks)
}

// deleteSession deletes a session with its kernel.
func (s *Server) deleteSession(w http.ResponseWriter, c *call) error {
	k, err := s.session(c.Context(), c.id, withID(c.PathValue("id")))
	if err != nil {
		return err
	}
	if err := s.end(c, k); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
