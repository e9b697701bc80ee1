package gateway

import (
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// watch passes changes of JupyterKernels on to the sockets that are open on
// them. A slow socket misses intermediate states, never the last one.
type watch struct {
	mu   sync.Mutex
	subs map[string]map[*subscription]struct{} // by kernel id
}

func newWatch() *watch { return &watch{subs: map[string]map[*subscription]struct{}{}} }

// subscription is one socket's view of one kernel.
type subscription struct {
	watch   *watch
	id      string
	changed chan struct{} // capacity 1

	mu     sync.Mutex
	kernel *v1alpha1.JupyterKernel // nil once it is gone
}

// subscribe must be called before the kernel that is passed to seed is read,
// so that no change falls between.
func (w *watch) subscribe(id string) *subscription {
	s := &subscription{watch: w, id: id, changed: make(chan struct{}, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.subs[id] == nil {
		w.subs[id] = map[*subscription]struct{}{}
	}
	w.subs[id][s] = struct{}{}
	return s
}

// seed sets the first state unless a change came first.
func (s *subscription) seed(k *v1alpha1.JupyterKernel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kernel == nil {
		s.kernel = k
	}
}

// latest returns the kernel, or nil once it is gone or on its way out.
func (s *subscription) latest() *v1alpha1.JupyterKernel {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kernel
}

func (s *subscription) close() {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	delete(s.watch.subs[s.id], s)
	if len(s.watch.subs[s.id]) == 0 {
		delete(s.watch.subs, s.id)
	}
}

func (s *subscription) set(k *v1alpha1.JupyterKernel) {
	s.mu.Lock()
	s.kernel = k
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// publish tells of a kernel's new state.
func (w *watch) publish(k *v1alpha1.JupyterKernel) {
	if k.DeletionTimestamp != nil {
		w.gone(k.Name)
		return
	}
	w.each(k.Name, k)
}

// gone tells that a kernel is no more.
func (w *watch) gone(id string) { w.each(id, nil) }

func (w *watch) each(id string, k *v1alpha1.JupyterKernel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.subs[id] {
		s.set(k)
	}
}

// The informer calls these; see k8s.io/client-go/tools/cache.ResourceEventHandler.

// OnAdd is called for every kernel there is and every new one.
func (w *watch) OnAdd(obj any, _ bool) { w.onObject(obj) }

// OnUpdate is called for every change and resync.
func (w *watch) OnUpdate(_, obj any) { w.onObject(obj) }

// OnDelete may get a tombstone that knows the name only.
func (w *watch) OnDelete(obj any) {
	if k, ok := obj.(client.Object); ok {
		w.gone(k.GetName())
		return
	}
	if name, ok := tombstoneName(obj); ok {
		w.gone(name)
	}
}

func (w *watch) onObject(obj any) {
	if k, ok := obj.(*v1alpha1.JupyterKernel); ok {
		w.publish(k)
	}
}
