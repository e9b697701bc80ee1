package gateway

import (
	_ "embed"
	"net/http"
	"strings"
)

// OpenAPI describes the REST API.
//
//go:embed openapi.yaml
var OpenAPI []byte

func (s *Server) document(w http.ResponseWriter, _ *call) error {
	w.Header().Set("Content-Type", "application/yaml")
	_, err := w.Write(OpenAPI)
	return err
}

// about is what a gateway says of itself. Clients look for features before they rely
// on them: a former release, and Enterprise Gateway, have none.
type about struct {
	Version  string   `json:"version"`
	Features []string `json:"features"`
}

// featureOutliving: kernels and their sessions outlive the notebook server that made
// them. One that is replaced leaves them alone, and the next one takes them over.
const featureOutliving = "outliving"

func (s *Server) version(w http.ResponseWriter, _ *call) error {
	writeJSON(w, http.StatusOK, about{Version: "elastichub", Features: []string{featureOutliving}})
	return nil
}

// listSpecs also answers for one kernelspec in the form that jupyter_server
// makes of its URL when KERNEL_USERNAME is set: ?user=alice/python3. The user
// in it means nothing.
func (s *Server) listSpecs(w http.ResponseWriter, c *call) error {
	if _, name, ok := strings.Cut(c.URL.Query().Get("user"), "/"); ok && name != "" {
		return s.renderSpec(w, c, name)
	}
	cat, err := readCatalogue(c.Context(), s.cache, s.cfg, c.id)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, cat.list())
	return nil
}

func (s *Server) getSpec(w http.ResponseWriter, c *call) error {
	return s.renderSpec(w, c, c.PathValue("name"))
}

// renderSpec hides what is not allowed: it is as good as absent.
func (s *Server) renderSpec(w http.ResponseWriter, c *call, name string) error {
	cat, err := readCatalogue(c.Context(), s.cache, s.cfg, c.id)
	if err != nil {
		return err
	}
	ks, err := cat.find(name)
	if err != nil {
		return failBecause(kindNotFound, "There is no such kernelspec.", err)
	}
	writeJSON(w, http.StatusOK, cat.modelOf(ks))
	return nil
}
