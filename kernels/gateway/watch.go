package gateway

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// watch passes changes of JupyterKernels on to the sockets that are open on
// them. A slow socket misses intermediate states, never the last one.
type watch struct {
	removed func(k *v1alpha1.JupyterKernel) // called with every object that is no more

	mu   sync.Mutex
	subs map[types.NamespacedName]map[*subscription]struct{}
}

func newWatch(removed func(k *v1alpha1.JupyterKernel)) *watch {
	return &watch{removed: removed, subs: map[types.NamespacedName]map[*subscription]struct{}{}}
}

// subscription is one socket's view of one kernel: of the object with the UID
// it was bound to, for as long as that is the socket's owner's. An id can be
// used again, by somebody else too; a subscription that has ended stays so.
//
//	subscribe ── bind ──▶ follows ── gone, another UID, another owner ──▶ over
type subscription struct {
	watch     *watch
	kernelKey types.NamespacedName
	changed   chan struct{} // capacity 1
	over      chan struct{} // closed once the kernel is gone or not the owner's

	mu     sync.Mutex
	uid    types.UID // empty before bind
	owned  func(*v1alpha1.JupyterKernel) bool
	kernel *v1alpha1.JupyterKernel               // nil once it is over
	last   *v1alpha1.JupyterKernel               // as it was seen last, by any owner
	early  map[types.UID]*v1alpha1.JupyterKernel // states that came before bind; nil for gone
}

// subscribe must be called before the kernel that is passed to bind is read,
// so that no change falls between.
func (w *watch) subscribe(kernel types.NamespacedName) *subscription {
	s := &subscription{
		watch: w, kernelKey: kernel, changed: make(chan struct{}, 1), over: make(chan struct{}),
		early: map[types.UID]*v1alpha1.JupyterKernel{},
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.subs[kernel] == nil {
		w.subs[kernel] = map[*subscription]struct{}{}
	}
	w.subs[kernel][s] = struct{}{}
	return s
}

// bind ties the subscription to the object that k shows. owned is asked at
// every change of it.
func (s *subscription) bind(k *v1alpha1.JupyterKernel, owned func(*v1alpha1.JupyterKernel) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uid, s.owned = k.UID, owned
	if newer, came := s.early[k.UID]; came {
		k = newer
	}
	s.early = nil
	s.update(k)
}

// update is set for the object itself; mu is held. A nil kernel is gone.
func (s *subscription) update(k *v1alpha1.JupyterKernel) {
	select {
	case <-s.over:
		return
	default:
	}
	if k != nil && k.UID == s.uid {
		s.last = k
	}
	if k == nil || k.UID != s.uid || !s.owned(k) {
		s.kernel = nil
		close(s.over)
		return
	}
	s.kernel = k
}

// latest returns the kernel, or nil once the subscription is over.
func (s *subscription) latest() *v1alpha1.JupyterKernel {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kernel
}

// lastSeen is the kernel as it was seen last, also once the subscription is over.
func (s *subscription) lastSeen() *v1alpha1.JupyterKernel {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func (s *subscription) close() {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	delete(s.watch.subs[s.kernelKey], s)
	if len(s.watch.subs[s.kernelKey]) == 0 {
		delete(s.watch.subs, s.kernelKey)
	}
}

// set takes a state of the object with that UID; nil if it is no more.
func (s *subscription) set(uid types.UID, k *v1alpha1.JupyterKernel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.uid == "":
		s.early[uid] = k
		return
	case k == nil && uid != s.uid:
		return // an earlier object of that name
	}
	s.update(k)
	signal(s.changed)
}

// publish tells of a kernel's new state.
func (w *watch) publish(k *v1alpha1.JupyterKernel) {
	if k.DeletionTimestamp != nil {
		w.each(k, nil)
		return
	}
	w.each(k, k)
}

// deleted tells that a kernel is no more.
func (w *watch) deleted(k *v1alpha1.JupyterKernel) {
	w.removed(k)
	w.each(k, nil)
}

// each tells of what has become of a kernel; now is nil if it is no more.
func (w *watch) each(of, now *v1alpha1.JupyterKernel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.subs[client.ObjectKeyFromObject(of)] {
		s.set(of.UID, now)
	}
}

// The informer calls these; see k8s.io/client-go/tools/cache.ResourceEventHandler.

// OnAdd is called for every kernel there is and every new one.
func (w *watch) OnAdd(obj any, _ bool) { w.onObject(obj) }

// OnUpdate is called for every change and resync. After the watch broke off it
// may show another object of the same name, with nothing said of the first.
func (w *watch) OnUpdate(old, obj any) {
	before, ok := old.(*v1alpha1.JupyterKernel)
	if k, now := obj.(*v1alpha1.JupyterKernel); ok && now && before.UID != k.UID {
		w.deleted(before)
	}
	w.onObject(obj)
}

// OnDelete gets a tombstone with the last known state if the watch broke off.
func (w *watch) OnDelete(obj any) {
	if t, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	if k, ok := obj.(*v1alpha1.JupyterKernel); ok {
		w.deleted(k)
	}
}

func (w *watch) onObject(obj any) {
	if k, ok := obj.(*v1alpha1.JupyterKernel); ok {
		w.publish(k)
	}
}
