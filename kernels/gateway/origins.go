package gateway

import (
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// AnnotationAllowOrigins of a JupyterGateway names the origins whose pages may
// use it, with a comma between two, or "*" for all: Enterprise Gateway's
// EG_ALLOW_ORIGIN. Absent, none may. A page needs a token all the same, and no
// cookie is ever taken for one.
const AnnotationAllowOrigins = "elastichub.io/allow-origins"

// What pages of those origins may send and read.
const (
	corsMethods = "GET, POST, PATCH, DELETE, OPTIONS"
	corsHeaders = "Authorization, Content-Type"
	corsExposed = "Location, X-Request-Id"
	corsMaxAge  = "600" // seconds for which a browser need not ask again
)

// allowsOrigin reports whether pages of a request's origin may use this gateway.
func (s *Server) allowsOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	var gw v1alpha1.JupyterGateway
	if !s.synced() || s.cache.Get(r.Context(), types.NamespacedName{Namespace: s.cfg.Namespace, Name: s.cfg.Name}, &gw) != nil {
		return false
	}
	allowed := strings.FieldsFunc(gw.Annotations[AnnotationAllowOrigins], func(c rune) bool { return c == ',' || c == ' ' })
	return slices.Contains(allowed, origin) || slices.Contains(allowed, "*")
}

// crossOrigin lets browsers show answers to pages of the allowed origins, and
// answers the question that they ask before, which bears no token.
func (s *Server) crossOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "" {
			w.Header().Add("Vary", "Origin")
		}
		if s.allowsOrigin(r) {
			w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
			w.Header().Set("Access-Control-Expose-Headers", corsExposed)
			if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
				w.Header().Set("Access-Control-Allow-Methods", corsMethods)
				w.Header().Set("Access-Control-Allow-Headers", corsHeaders)
				w.Header().Set("Access-Control-Max-Age", corsMaxAge)
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
