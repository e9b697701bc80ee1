package portal_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal"
	"github.com/elastichub/elastichub/test/schemathesis"
)

func TestSchemathesis(t *testing.T) {
	h := newHarness(t)
	h.mayReview()
	h.policy("research", "researchers")
	_, maker := h.account("maker", "elastichub", rule("create", "jupyternotebooks"))
	// They are the caller's own, so that nobody has to give a reason.
	h.server("jupyter-root", "root", v1alpha1.JupyterNotebookStatus{Phase: v1alpha1.NotebookReady})
	h.kernel("k-waits", "root", "jupyter-root", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelQueued})
	// The document's paths are below the console's.
	below := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = strings.TrimSuffix(base, "/") + r.URL.Path
		if r.URL.RawPath != "" {
			r.URL.RawPath = strings.TrimSuffix(base, "/") + r.URL.RawPath
		}
		if r.Method == http.MethodPost && r.URL.Path == base+"api/v1/notebooks" && r.Header.Get("Authorization") == "Bearer root-token" {
			r.Header.Set("Authorization", "Bearer "+maker) // nobody of the Hub may
		}
		h.portal.ServeHTTP(w, r)
	})
	schemathesis.Run(t, portal.OpenAPI, below, "root-token")
}
