package spawner

import (
	"sync"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// snapshot is what this replica knows of all servers: the informer's view,
// ahead of it where this replica itself has written. It keeps pointers into
// the informer's store, which nobody changes.
type snapshot struct {
	namespace string

	mu      sync.RWMutex
	synced  func() bool
	servers map[Key]*v1alpha1.JupyterNotebook
	// changed is closed and replaced when a server's object changes; only
	// servers that somebody waits for have one.
	changed map[Key]chan struct{}
}

func newSnapshot(namespace string) *snapshot {
	return &snapshot{
		namespace: namespace,
		synced:    func() bool { return false },
		servers:   map[Key]*v1alpha1.JupyterNotebook{},
		changed:   map[Key]chan struct{}{},
	}
}

func (s *snapshot) follow(informer cache.Informer) error {
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { s.seen(object) },
		UpdateFunc: func(_, object any) { s.seen(object) },
		DeleteFunc: func(object any) {
			if tombstone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
				object = tombstone.Obj
			}
			if nb, ok := object.(*v1alpha1.JupyterNotebook); ok {
				s.drop(nb)
			}
		},
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.synced = registration.HasSynced
	return nil
}

func (s *snapshot) seen(object any) {
	if nb, ok := object.(*v1alpha1.JupyterNotebook); ok {
		s.put(nb)
	}
}

// put takes an object unless a newer version of it is known, and returns the
// state of the one it was given. Objects whose name is not that of their key
// are not servers of the Hub.
func (s *snapshot) put(nb *v1alpha1.JupyterNotebook) State {
	key := keyOf(nb)
	if nb.Namespace == s.namespace && key.User != "" && nb.Name == Name(key) {
		s.mu.Lock()
		if known := s.servers[key]; known == nil || !older(nb, known) {
			s.servers[key] = nb
			s.wake(key)
		}
		s.mu.Unlock()
	}
	return stateOf(nb)
}

func older(a, than *v1alpha1.JupyterNotebook) bool {
	if a.UID != than.UID {
		return a.CreationTimestamp.Before(&than.CreationTimestamp)
	}
	order, err := resourceversion.CompareResourceVersion(a.ResourceVersion, than.ResourceVersion)
	return err == nil && order < 0
}

// drop forgets an object, unless another one has taken its place.
func (s *snapshot) drop(nb *v1alpha1.JupyterNotebook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := keyOf(nb)
	if known := s.servers[key]; known != nil && known.UID == nb.UID {
		delete(s.servers, key)
		s.wake(key)
	}
}

// wake is called with mu held.
func (s *snapshot) wake(key Key) {
	if waiting, ok := s.changed[key]; ok {
		close(waiting)
		delete(s.changed, key)
	}
}

func (s *snapshot) state(key Key) (State, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if nb := s.servers[key]; nb != nil {
		return stateOf(nb), nil
	}
	if !s.synced() {
		return State{}, ErrNotSynced
	}
	return State{}, ErrNotFound
}

func (s *snapshot) states() ([]State, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.synced() {
		return nil, ErrNotSynced
	}
	all := make([]State, 0, len(s.servers))
	for _, nb := range s.servers {
		all = append(all, stateOf(nb))
	}
	return all, nil
}

func (s *snapshot) find(key Key) *v1alpha1.JupyterNotebook {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.servers[key]
}

// watch gives a server's object, nil if there is none, and a channel that is
// closed when that changes.
func (s *snapshot) watch(key Key) (*v1alpha1.JupyterNotebook, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	nb := s.servers[key]
	if nb == nil {
		return nil, nil // nobody waits for what is not there
	}
	waiting, ok := s.changed[key]
	if !ok {
		waiting = make(chan struct{})
		s.changed[key] = waiting
	}
	return nb, waiting
}

// stateOf reads an object whose status may lag behind its spec.
func stateOf(nb *v1alpha1.JupyterNotebook) State {
	state := State{Key: keyOf(nb), Start: nb.Spec.Start, Phase: nb.Status.Phase, Reason: nb.Status.Reason, Message: nb.Status.Message, AutoStop: autoStopOf(nb)}
	if options := nb.Annotations[v1alpha1.AnnotationOptions]; options != "" {
		state.Options = []byte(options)
	}
	current := nb.Status.Start == nb.Spec.Start && nb.Status.ObservedGeneration == nb.Generation
	asleep := nb.Status.Phase == v1alpha1.NotebookStopped || nb.Status.Phase == v1alpha1.NotebookStopping
	switch {
	case nb.Spec.Stopped && !(current && asleep):
		state.Phase, state.Reason, state.Message = v1alpha1.NotebookStopping, string(ReasonStopping), ""
	case nb.Spec.Stopped:
	case nb.Status.Start != nb.Spec.Start, nb.Status.Phase == "", asleep:
		state.Phase, state.Reason, state.Message = v1alpha1.NotebookPending, "", ""
	}
	if state.Phase == v1alpha1.NotebookReady {
		state.URL = nb.Status.URL
	}
	if t := nb.Status.LastActivity; t != nil {
		state.LastActivity = t.Time
	}
	if t := nb.Status.StopEligibleAt; t != nil {
		state.StopEligibleAt, state.StopCause = t.Time, nb.Status.StopCause
	}
	if image := apimeta.FindStatusCondition(nb.Status.Conditions, ConditionImage); image != nil && image.Status == metav1.ConditionFalse {
		state.ImageNotice = image.Message
	}
	return state
}
