// Package inmemory runs notebook servers without Kubernetes, for tests of the
// API and of the Hub's side of it. What a server is, a Runner decides.
package inmemory

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/spawner"
)

// Runner makes a server run. It returns the server's URL and a function that
// ends it and waits for its end; it is called once for each start.
type Runner func(request spawner.Request) (url string, end func(), err error)

// Servers implements hubapi.Servers. The zero value is not useful.
type Servers struct {
	run Runner
	now func() time.Time

	mu        sync.Mutex
	servers   map[spawner.Key]*server // by person
	notSynced bool
	refusal   error
}

type server struct {
	request  spawner.Request
	state    spawner.State
	events   []spawner.Event
	grown    chan struct{}
	end      func()
	finished bool
	// former are the starts before its own.
	former []string
}

// New returns no servers. With a nil Runner nothing advances by itself: the
// test calls Advance.
func New(run Runner, now func() time.Time) *Servers {
	return &Servers{run: run, now: now, servers: map[spawner.Key]*server{}}
}

// SetSynced says whether the state is known.
func (s *Servers) SetSynced(synced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notSynced = !synced
}

// Refuse has every start end with err.
func (s *Servers) Refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = err
}

// person is a key without what may change of it.
func person(key spawner.Key) spawner.Key {
	if key.HubUser.Known() {
		key.User = ""
	}
	return key
}

// id is under what a server is kept: the person's, else, for those that say
// nothing of persons or that were started so, the name's. It is called with mu held.
func (s *Servers) id(key spawner.Key) spawner.Key {
	if _, found := s.servers[person(key)]; found {
		return person(key)
	}
	for id, sv := range s.servers {
		unsaid := !key.HubUser.Known() || !sv.state.HubUser.Known()
		if unsaid && sv.state.User == key.User && sv.state.Server == key.Server {
			return id
		}
	}
	return person(key)
}

func sameUser(held, asked spawner.Key) bool {
	asked = person(asked)
	return held.User == asked.User && held.HubUser == asked.HubUser
}

// Request is what the last start of a server asked for.
func (s *Servers) Request(key spawner.Key) (spawner.Request, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sv, found := s.servers[s.id(key)]; found {
		return sv.request, true
	}
	return spawner.Request{}, false
}

// Start implements hubapi.Servers.
func (s *Servers) Start(_ context.Context, request spawner.Request) (spawner.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.notSynced {
		return spawner.State{}, spawner.ErrNotSynced
	}
	if s.refusal != nil {
		return spawner.State{}, s.refusal
	}
	old := s.servers[s.id(request.Key)]
	if old != nil && (old.request.Start == request.Start || slices.Contains(old.former, request.Start)) {
		return old.state, nil
	}
	if request.SSL != nil && !request.SSL.IsFor(Host) {
		return spawner.State{}, spawner.ErrOtherHost
	}
	if request.ServersPerUser > 0 && s.running(request.Key) >= int(request.ServersPerUser) {
		return spawner.State{}, spawner.ErrTooManyServers
	}
	if old != nil && old.end != nil {
		old.end()
	}
	sv := &server{request: request, grown: make(chan struct{}), state: spawner.State{
		Key: request.Key, Start: request.Start, Phase: v1alpha1.NotebookPending, Options: request.Options, LastActivity: s.now(),
	}}
	if old != nil {
		sv.former = append(old.former, old.request.Start)
	}
	s.servers[s.id(request.Key)] = sv
	s.advance(sv, v1alpha1.NotebookPending, "", "Server requested.")
	if s.run != nil {
		s.advance(sv, v1alpha1.NotebookStarting, "", "Starting the process.")
		url, end, err := s.run(request)
		if err != nil {
			s.advance(sv, v1alpha1.NotebookFailed, "", err.Error())
			return sv.state, nil
		}
		sv.end = end
		s.advance(sv, v1alpha1.NotebookReady, url, "The server answers.")
	}
	return sv.state, nil
}

// Host implements hubapi.Servers: all servers are on this machine.
func (s *Servers) Host(context.Context, spawner.Key, []spawner.HubUser) (string, error) {
	return Host, nil
}

// Host is where all servers are.
const Host = "127.0.0.1"

// running counts the user's other servers that are not stopped.
func (s *Servers) running(except spawner.Key) int {
	n := 0
	for key, sv := range s.servers {
		if sameUser(key, except) && key != s.id(except) && sv.state.Phase != v1alpha1.NotebookStopped {
			n++
		}
	}
	return n
}

// Advance moves a server to a phase and tells its viewers.
func (s *Servers) Advance(key spawner.Key, phase v1alpha1.NotebookPhase, url, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(s.servers[s.id(key)], phase, url, message)
}

// AutoStop stops a server as the spawner does by itself.
func (s *Servers) AutoStop(key spawner.Key, stop spawner.AutoStop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sv := s.servers[s.id(key)]
	sv.state.AutoStop = &stop
	s.advance(sv, v1alpha1.NotebookStopped, "", "The server was stopped.")
}

var progress = map[v1alpha1.NotebookPhase]int{
	v1alpha1.NotebookPending: 10, v1alpha1.NotebookStarting: 50, v1alpha1.NotebookReady: 100,
	v1alpha1.NotebookFailed: 100, v1alpha1.NotebookStopping: 100, v1alpha1.NotebookStopped: 100,
}

func (s *Servers) advance(sv *server, phase v1alpha1.NotebookPhase, url, message string) {
	sv.state.Phase, sv.state.URL, sv.state.Message = phase, url, message
	if sv.finished {
		return
	}
	sv.finished = phase == v1alpha1.NotebookReady || phase == v1alpha1.NotebookFailed || phase == v1alpha1.NotebookStopped
	sv.events = append(sv.events, spawner.Event{
		ID: strconv.Itoa(len(sv.events) + 1), Progress: progress[phase], Message: message, Time: s.now(),
		Final: sv.finished, Failed: phase == v1alpha1.NotebookFailed,
	})
	close(sv.grown)
	sv.grown = make(chan struct{})
}

// State implements hubapi.Servers.
func (s *Servers) State(_ context.Context, key spawner.Key) (spawner.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.notSynced {
		return spawner.State{}, spawner.ErrNotSynced
	}
	sv, found := s.servers[s.id(key)]
	if !found {
		return spawner.State{}, spawner.ErrNotFound
	}
	return sv.state, nil
}

// Running implements hubapi.Servers.
func (s *Servers) Running(_ context.Context, except spawner.Key) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.notSynced {
		return 0, spawner.ErrNotSynced
	}
	n := 0
	for key, sv := range s.servers {
		if sameUser(key, except) && key.Server != except.Server && sv.state.Phase != v1alpha1.NotebookStopped && sv.state.Phase != v1alpha1.NotebookFailed {
			n++
		}
	}
	return n, nil
}

// States implements hubapi.Servers; ordered by user and server.
func (s *Servers) States(context.Context) ([]spawner.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.notSynced {
		return nil, spawner.ErrNotSynced
	}
	var states []spawner.State
	for _, sv := range s.servers {
		states = append(states, sv.state)
	}
	slices.SortFunc(states, func(a, b spawner.State) int {
		if a.User != b.User {
			if a.User < b.User {
				return -1
			}
			return 1
		}
		if a.Server < b.Server {
			return -1
		}
		return 1
	})
	return states, nil
}

// Stop implements hubapi.Servers.
func (s *Servers) Stop(_ context.Context, key spawner.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sv, found := s.servers[s.id(key)]
	if !found {
		return spawner.ErrNotFound
	}
	if sv.end != nil {
		sv.end()
		sv.end = nil
	}
	s.advance(sv, v1alpha1.NotebookStopped, "", "The server has stopped.")
	return nil
}

// StopStart implements hubapi.Servers.
func (s *Servers) StopStart(ctx context.Context, key spawner.Key, start string) error {
	s.mu.Lock()
	sv, found := s.servers[s.id(key)]
	if found && sv.request.Start != start {
		sv.former = append(sv.former, start)
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	return s.Stop(ctx, key)
}

// Remove implements hubapi.Servers.
func (s *Servers) Remove(ctx context.Context, key spawner.Key) error {
	if err := s.Stop(ctx, key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.servers, s.id(key))
	return nil
}

// Rename implements hubapi.Servers.
func (s *Servers) Rename(_ context.Context, key spawner.Key, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	renamed := key
	renamed.Server = to
	sv, found := s.servers[s.id(key)]
	switch _, taken := s.servers[s.id(renamed)]; {
	case taken:
		return spawner.ErrNameTaken
	case !found:
		return nil
	case sv.state.Phase != v1alpha1.NotebookStopped && sv.state.Phase != v1alpha1.NotebookFailed:
		return spawner.ErrRunning
	}
	delete(s.servers, s.id(key))
	s.servers[s.id(renamed)] = sv
	sv.state.Server = to
	return nil
}

// Close ends what runs.
func (s *Servers) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sv := range s.servers {
		if sv.end != nil {
			sv.end()
			sv.end = nil
		}
	}
}

// Events implements hubapi.Servers.
func (s *Servers) Events(ctx context.Context, key spawner.Key, start, after string) (<-chan spawner.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sv, found := s.servers[s.id(key)]
	if !found || sv.request.Start != start {
		return nil, spawner.ErrNotFound
	}
	next := 0
	if after != "" {
		seen, err := strconv.Atoi(after)
		if err != nil || seen < 0 || seen > len(sv.events) {
			return nil, spawner.ErrNotFound
		}
		next = seen
	}
	events := make(chan spawner.Event)
	go s.follow(ctx, sv, next, events)
	return events, nil
}

func (s *Servers) follow(ctx context.Context, sv *server, next int, events chan<- spawner.Event) {
	defer close(events)
	for {
		s.mu.Lock()
		pending, grown, finished := slices.Clone(sv.events[next:]), sv.grown, sv.finished
		s.mu.Unlock()
		for _, event := range pending {
			select {
			case events <- event:
				next++
			case <-ctx.Done():
				return
			}
		}
		if finished {
			return
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return
		}
	}
}
