package gateway

import (
	"net/http"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// states is what a notebook server is told that removes from its home what is kept of
// kernels that are gone.
type states struct {
	// Holder names this notebook at this gateway, as long as both are the same objects:
	// what is told at another time of the same holder is of the same kernels.
	Holder string `json:"holder"`
	// Kernels are the UIDs that the states of those go by that exist, also of those that are to end.
	Kernels []string `json:"kernels"`
}

func (s *Server) listStates(w http.ResponseWriter, c *call) error {
	if c.id.Notebook == "" {
		return fail(kindNotFound, "Nothing is kept in the home of who has none.")
	}
	var gw v1alpha1.JupyterGateway
	if err := s.cache.Get(c.Context(), types.NamespacedName{Namespace: s.cfg.Namespace, Name: s.cfg.Name}, &gw); err != nil {
		return failBecause(kindUnavailable, "The gateway's settings cannot be read now.", err)
	}
	var list v1alpha1.JupyterKernelList
	if err := s.cache.List(c.Context(), &list, client.InNamespace(s.store.key(c.id, "").Namespace)); err != nil {
		return unreadable(err)
	}
	answer := states{Holder: string(gw.UID) + "/" + string(c.id.NotebookUID), Kernels: []string{}}
	for i := range list.Items {
		if k := &list.Items[i]; s.store.made(k) && c.id.made(k) {
			answer.Kernels = append(answer.Kernels, k.StateUID())
		}
	}
	slices.Sort(answer.Kernels)
	writeJSON(w, http.StatusOK, answer)
	return nil
}
