package spawner

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// watchedServer is what the leader remembers of a server that is ready. A new leader begins
// without it.
type watchedServer struct {
	// askAt is when the server is asked again; zero: nobody has decided it.
	askAt time.Time
	// told is the last stop that the server was told of.
	told Forewarning
	// generation is that of the object that access was read for; zero: it was not read.
	generation int64
	access     Access
}

// watched remembers servers, so that neither a time nor a token is kept in the API server or read
// from it for every question.
type watched struct {
	mu      sync.Mutex
	servers map[types.NamespacedName]watchedServer
}

func (w *watched) of(nb *v1alpha1.JupyterNotebook) watchedServer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.servers[client.ObjectKeyFromObject(nb)]
}

func (w *watched) note(nb *v1alpha1.JupyterNotebook, change func(*watchedServer)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.servers == nil {
		w.servers = map[types.NamespacedName]watchedServer{}
	}
	name := client.ObjectKeyFromObject(nb)
	server := w.servers[name]
	change(&server)
	w.servers[name] = server
}

func (w *watched) forget(name types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.servers, name)
}
