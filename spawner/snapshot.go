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
	servers map[string]*v1alpha1.JupyterNotebook // by their names
	// byUser and byHubUser lead to the names of servers.
	byUser    map[serverOfUser]names
	byHubUser map[serverOfHubUser]names
	// changed is closed and replaced when a server's object changes; only
	// servers that somebody waits for have one.
	changed map[string]chan struct{}
}

type names map[string]struct{}

type serverOfUser struct{ user, server string }

// serverOfHubUser has the id alone: times of one person may differ by a second.
type serverOfHubUser struct {
	id     int64
	server string
}

func newSnapshot(namespace string) *snapshot {
	return &snapshot{
		namespace: namespace,
		synced:    func() bool { return false },
		servers:   map[string]*v1alpha1.JupyterNotebook{},
		byUser:    map[serverOfUser]names{},
		byHubUser: map[serverOfHubUser]names{},
		changed:   map[string]chan struct{}{},
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
// state of the one it was given. Objects that are noted as no Hub user's and whose
// name is not that of their key are not servers of the Hub.
func (s *snapshot) put(nb *v1alpha1.JupyterNotebook) State {
	key := keyOf(nb)
	if nb.Namespace == s.namespace && key.User != "" && (key.HubUser.Known() || nb.Name == Name(key)) {
		s.mu.Lock()
		if known := s.servers[nb.Name]; known == nil || !older(nb, known) {
			s.unlist(known)
			s.list(nb)
			s.wake(nb.Name)
		}
		s.mu.Unlock()
	}
	return stateOf(nb)
}

// list is called with mu held.
func (s *snapshot) list(nb *v1alpha1.JupyterNotebook) {
	key := keyOf(nb)
	s.servers[nb.Name] = nb
	add(s.byUser, serverOfUser{key.User, key.Server}, nb.Name)
	if key.HubUser.Known() {
		add(s.byHubUser, serverOfHubUser{key.HubUser.ID, key.Server}, nb.Name)
	}
}

// unlist is called with mu held; nil is no server.
func (s *snapshot) unlist(nb *v1alpha1.JupyterNotebook) {
	if nb == nil {
		return
	}
	key := keyOf(nb)
	delete(s.servers, nb.Name)
	remove(s.byUser, serverOfUser{key.User, key.Server}, nb.Name)
	remove(s.byHubUser, serverOfHubUser{key.HubUser.ID, key.Server}, nb.Name)
}

func add[K comparable](index map[K]names, key K, name string) {
	if index[key] == nil {
		index[key] = names{}
	}
	index[key][name] = struct{}{}
}

func remove[K comparable](index map[K]names, key K, name string) {
	delete(index[key], name)
	if len(index[key]) == 0 {
		delete(index, key)
	}
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
	if known := s.servers[nb.Name]; known != nil && known.UID == nb.UID {
		s.unlist(known)
		s.wake(nb.Name)
	}
}

// wake is called with mu held.
func (s *snapshot) wake(name string) {
	if waiting, ok := s.changed[name]; ok {
		close(waiting)
		delete(s.changed, name)
	}
}

// look finds the server of a key, nil if there is none: the person's, else the
// name's. It is called with mu held.
func (s *snapshot) look(k Key) *v1alpha1.JupyterNotebook {
	who := requester{Key: k}
	for _, found := range []names{s.byHubUser[serverOfHubUser{k.HubUser.ID, k.Server}], s.byUser[serverOfUser{k.User, k.Server}]} {
		var newest *v1alpha1.JupyterNotebook
		for name := range found {
			if nb := s.servers[name]; isServer(nb, who) && (newest == nil || newest.CreationTimestamp.Before(&nb.CreationTimestamp)) {
				newest = nb
			}
		}
		if newest != nil {
			return newest
		}
	}
	return nil
}

func (s *snapshot) state(key Key) (State, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if nb := s.look(key); nb != nil {
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
	return s.look(key)
}

// watch gives the object of that name, nil if there is none, and a channel that
// is closed when that changes.
func (s *snapshot) watch(name string) (*v1alpha1.JupyterNotebook, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	nb := s.servers[name]
	if nb == nil {
		return nil, nil // nobody waits for what is not there
	}
	waiting, ok := s.changed[name]
	if !ok {
		waiting = make(chan struct{})
		s.changed[name] = waiting
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
