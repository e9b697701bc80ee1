package gateway

import (
	"context"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

var errHasPod = fail(kindConflict, "The kernel runs or starts. Park it first; then it can return as another.")

// hasKept reports whether any variables are kept of a kernel that has no Pod.
func hasKept(k *v1alpha1.JupyterKernel) bool {
	kept := k.Status.Kept
	return !k.Status.Phase.HasPod() && kept != nil &&
		(kept.Outcome == string(protocol.KeptWhole) || kept.Outcome == string(protocol.KeptPart))
}

// returnKernel brings a kernel that has no Pod back as another kernelspec of its
// language, with the variables that are kept of it.
func (s *Server) returnKernel(w http.ResponseWriter, c *call) error {
	var req struct {
		Name string `json:"name"`
		// Kept: only if variables are kept of the kernel.
		Kept bool `json:"kept"`
	}
	if err := readBody(c.Body, &req, "The body must be a JSON object with name and kept."); err != nil {
		return err
	}
	k, err := s.store.kernel(c.Context(), c.id, c.PathValue("id"))
	if err != nil {
		return err
	}
	if req.Kept && !hasKept(k) {
		return fail(kindConflict, "Nothing is kept of this kernel.")
	}
	ks, same, err := s.successor(c.Context(), c.id, k, req.Name)
	if err != nil {
		return err
	}
	if !same {
		return fail(kindConflict, fmt.Sprintf("The kernel %q is of another language: variables cannot be brought there.", ks.Name))
	}
	if k, err = s.returnAs(c, k, ks); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, model(k, s.activity.of(k.UID)))
	return nil
}

// successor finds a kernelspec by name that the caller may start, and reports whether it is of
// the kernel's language.
func (s *Server) successor(ctx context.Context, id Identity, k *v1alpha1.JupyterKernel, name string) (ks *v1alpha1.JupyterKernelSpec, same bool, err error) {
	cat, err := readCatalogue(ctx, s.cache, s.cfg, id)
	if err != nil {
		return nil, false, err
	}
	if ks, err = cat.find(name); err != nil {
		return nil, false, err
	}
	own := &v1alpha1.JupyterKernelSpec{}
	err = s.cache.Get(ctx, types.NamespacedName{Namespace: s.cfg.Namespace, Name: k.Spec.KernelSpec}, own)
	switch {
	case apierrors.IsNotFound(err):
		own = nil // what is kept is Python's
	case err != nil:
		return nil, false, failBecause(kindUnavailable, "The kernelspecs cannot be read now.", err)
	}
	return ks, language(own) == language(ks), nil
}

func (s *Server) returnAs(c *call, k *v1alpha1.JupyterKernel, ks *v1alpha1.JupyterKernelSpec) (*v1alpha1.JupyterKernel, error) {
	k, err := s.store.returnAs(c.Context(), c.id, k, ks.Name)
	if err == nil {
		s.logger(c).Info("kernel returns", "kernel", k.Name, "kernelspec", ks.Name, "run", k.Spec.Run, "owner", c.id.owner())
	}
	return k, err
}

// returnAs asks for the next run of a kernel that has no Pod, as another kernelspec.
func (s *store) returnAs(ctx context.Context, id Identity, k *v1alpha1.JupyterKernel, kernelSpec string) (*v1alpha1.JupyterKernel, error) {
	return s.change(ctx, id, k, func(next *v1alpha1.JupyterKernel) error {
		if next.Status.Phase.HasPod() {
			return errHasPod
		}
		next.Spec.KernelSpec, next.Spec.Run = kernelSpec, max(next.WantedRun(), next.Status.Run)+1
		return nil
	})
}
