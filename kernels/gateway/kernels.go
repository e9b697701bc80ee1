package gateway

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func (s *Server) listKernels(w http.ResponseWriter, c *call) error {
	kernels, err := s.store.kernels(c.Context(), c.id)
	if err != nil {
		return err
	}
	sortKernels(kernels)
	models := s.models(c.Context(), kernels)
	for i, k := range kernels {
		models[i].Own = c.id.made(k)
	}
	writeJSON(w, http.StatusOK, models)
	return nil
}

// sortKernels puts the oldest first.
func sortKernels(kernels []*v1alpha1.JupyterKernel) {
	slices.SortFunc(kernels, func(a, b *v1alpha1.JupyterKernel) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
}

func (s *Server) getKernel(w http.ResponseWriter, c *call) error {
	k, err := s.store.kernel(c.Context(), c.id, c.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s.models(c.Context(), []*v1alpha1.JupyterKernel{k})[0])
	return nil
}

func (s *Server) deleteKernel(w http.ResponseWriter, c *call) error {
	k, err := s.store.kernel(c.Context(), c.id, c.PathValue("id"))
	if err != nil {
		return err
	}
	if err := s.end(c, k); err != nil {
		return err
	}
	s.logger(c).Info("kernel deleted", "kernel", k.Name, "owner", c.id.owner())
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// hideFor bounds how long the answer to a DELETE waits until this replica hides the kernel.
const hideFor = time.Second

// end ends a kernel, or asks for that, and waits until nobody sees it here any more.
func (s *Server) end(c *call, k *v1alpha1.JupyterKernel) error {
	if c.id.Notebook == "" { // nobody's that may be replaced
		return s.store.remove(c.Context(), k)
	}
	sub := s.watch.subscribe(client.ObjectKeyFromObject(k))
	defer sub.close()
	sub.bind(k, func(k *v1alpha1.JupyterKernel) bool { return s.store.belongs(c.id, k) })
	if err := s.store.shutDown(c.Context(), k); err != nil {
		return err
	}
	limit := time.NewTimer(hideFor)
	defer limit.Stop()
	select {
	case <-sub.over:
	case <-limit.C:
	case <-c.Context().Done():
	}
	return nil
}

// startRequest is the body of POST /api/kernels. jupyter_server sends exactly
// these; other members of other clients are ignored.
type startRequest struct {
	Name string      `json:"name"`
	Env  environment `json:"env"`

	session *v1alpha1.KernelSession // that the kernel is started for
}

// environment is a map of strings; null is none.
type environment map[string]string

// UnmarshalJSON refuses null for a value, which Go would take for "".
func (e *environment) UnmarshalJSON(raw []byte) error {
	var values map[string]*string
	if err := json.Unmarshal(raw, &values); err != nil {
		return err
	}
	*e = environment{}
	for name, value := range values {
		if value == nil {
			return errors.New("a value of env is null")
		}
		(*e)[name] = *value
	}
	return nil
}

func readStart(body io.Reader) (startRequest, error) {
	var req startRequest
	err := readBody(body, &req, "The body must be a JSON object with name and env, a map of strings.")
	return req, err
}

// readBody decodes a request's JSON object; an empty body is one without members,
// as with jupyter_server. what tells what it must be.
func readBody(body io.Reader, into any, what string) error {
	raw, err := io.ReadAll(body)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) || errors.Is(err, errNoRoom) {
			return err
		}
		return failBecause(kindInvalid, "The request's body cannot be read.", err)
	}
	if raw = bytes.TrimSpace(raw); len(raw) == 0 {
		return nil
	}
	if raw[0] != '{' {
		return fail(kindInvalid, what)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return failBecause(kindInvalid, what, err)
	}
	return nil
}

// startKernel writes a JupyterKernel and answers before it has a Pod.
func (s *Server) startKernel(w http.ResponseWriter, c *call) error {
	req, err := readStart(c.Body)
	if err != nil {
		return err
	}
	k, err := s.start(c, req)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/api/kernels/"+k.Name)
	writeJSON(w, http.StatusCreated, model(k, seen{}))
	return nil
}

// start writes the kernel that a request asks for.
func (s *Server) start(c *call, req startRequest) (*v1alpha1.JupyterKernel, error) {
	cat, err := readCatalogue(c.Context(), s.cache, s.cfg, c.id)
	if err != nil {
		return nil, err
	}
	ks, err := cat.find(req.Name)
	if err != nil {
		return nil, err
	}
	wish, err := readEnv(req.Env)
	if err != nil {
		return nil, err
	}
	if err := cat.checkEnvironment(ks, wish.environment); err != nil {
		return nil, err
	}
	k := newKernel(cat.gateway, ks, c.id, wish)
	k.Spec.Session = req.session
	sub := s.watch.subscribe(client.ObjectKeyFromObject(k))
	defer sub.close()
	if err := s.store.create(c.Context(), c.id, k); err != nil {
		return nil, err
	}
	s.logger(c).Info("kernel requested", "kernel", k.Name, "kernelspec", ks.Name, "owner", c.id.owner())
	k = s.awaitLaunch(c, sub, k)
	if err := c.Context().Err(); err != nil {
		// The client is gone and will never know the id.
		undo, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), apiTimeout)
		defer cancel()
		return nil, errors.Join(err, s.store.remove(undo, k))
	}
	return k, nil
}

// newKernel is the object for a kernel that an identity starts.
func newKernel(gw *v1alpha1.JupyterGateway, ks *v1alpha1.JupyterKernelSpec, id Identity, w wishes) *v1alpha1.JupyterKernel {
	name := w.kernelID
	if name == "" {
		name = uuid.NewString()
	}
	labels := map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
	for key, value := range map[string]string{v1alpha1.LabelGateway: gw.Name, v1alpha1.LabelNotebook: id.Notebook, v1alpha1.LabelHubUserID: id.HubUserID} {
		if value != "" && len(validation.IsValidLabelValue(value)) == 0 {
			labels[key] = value
		}
	}
	elsewhere := ""
	if id.Namespace != "" {
		elsewhere = gw.Namespace
	}
	return &v1alpha1.JupyterKernel{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: cmp.Or(id.Namespace, gw.Namespace), Labels: labels,
			OwnerReferences: []metav1.OwnerReference{id.ownerReference(gw)},
		},
		Spec: v1alpha1.JupyterKernelCRDSpec{
			Gateway: gw.Name, GatewayNamespace: elsewhere, KernelSpec: ks.Name, Notebook: id.Notebook, User: id.User, Policies: id.Policies,
			Env: w.env, WorkingDir: w.workingDir, Environment: w.environment, Run: 1, IdleTimeoutSeconds: id.IdleTimeoutSeconds,
		},
	}
}
