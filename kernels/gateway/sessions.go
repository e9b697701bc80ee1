package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// aliveWithin is how soon a client that is there answers a ping.
const aliveWithin = time.Second

// pinged is a socket that can be asked whether it is still there.
type pinged interface {
	Ping(ctx context.Context) error
}

// sessions knows which sockets of this replica use which session id.
//
// jupyter_server 2.21 opens two sockets with one session id when JupyterLab
// connects twice in a row, as it does on opening a notebook, and forgets to
// close one; either may arrive first. If the later one took over the session at
// the agent, jupyter_server could lose the socket it uses, and with it, without
// a word, whatever was run until it is back.
type sessions struct {
	mu   sync.Mutex
	open map[sessionKey][]pinged
}

func newSessions() *sessions { return &sessions{open: map[sessionKey][]pinged{}} }

// enter registers a socket and returns the session that it is to use at the
// agent: the client's own, to resume it, or one of its own while another socket
// of the same id is alive. Call leave when the socket has ended.
func (s *sessions) enter(ctx context.Context, key sessionKey, socket pinged) (session string, leave func()) {
	s.mu.Lock()
	others := slices.Clone(s.open[key])
	s.open[key] = append(s.open[key], socket)
	s.mu.Unlock()
	leave = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		left := slices.DeleteFunc(s.open[key], func(other pinged) bool { return other == socket })
		if len(left) == 0 {
			delete(s.open, key)
			return
		}
		s.open[key] = left
	}
	ping, cancel := context.WithTimeout(ctx, aliveWithin)
	defer cancel()
	for _, other := range others {
		if other.Ping(ping) == nil {
			return uuid.NewString(), leave
		}
	}
	return key.session, leave
}
