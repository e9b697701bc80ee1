package rotation

import (
	"encoding/json"
	"net/http"
)

// Path is where a process says which steps of rotations it has seen.
const Path = "/rotation"

// Marks answers with the mark of each secret that a process reads, by the secret's name.
// A mark is a random text and tells nothing of a value, so that this wants no token.
func Marks(of map[string]func() string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "GET only", http.StatusMethodNotAllowed)
			return
		}
		seen := map[string]string{}
		for name, mark := range of {
			seen[name] = mark()
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(seen)
	})
}
