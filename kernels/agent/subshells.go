package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/elastichub/elastichub/kernels/wire"
)

const (
	// subshellTime is how long a kernel may take to make a subshell.
	subshellTime = 5 * time.Second
	// mostReplaced bounds the subshells that are made for those of earlier processes.
	mostReplaced = 64
)

// subshells are those of one process of a kernel. A client goes on to name one that it
// had in an earlier process, of whose end it knows nothing: JupyterLab does so in a
// console of a subshell, and for every widget of a kind that it has shown before. Each of
// these gets another in its place.
type subshells struct {
	mu       sync.Mutex
	made     map[string]bool   // by clients in this process, also those that are deleted
	replaced map[string]string // by those of earlier processes
	making   sync.Mutex
}

func newSubshells() *subshells {
	return &subshells{made: map[string]bool{}, replaced: map[string]string{}}
}

// note takes the reply to a client's create_subshell_request.
func (s *subshells) note(reply []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.made) < mostTracked {
		s.made[wire.Member(reply, subshellID)] = true
	}
}

// subshellID is the member of headers and contents that names a subshell.
const subshellID = "subshell_id"

// instead is the subshell that takes the place of one; missing reports whether that is
// one of another process that has none yet.
func (s *subshells) instead(id string) (other string, missing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other, ok := s.replaced[id]; ok {
		return other, false
	}
	if s.made[id] || len(s.made) >= mostTracked || len(s.replaced) >= mostReplaced || uuid.Validate(id) != nil {
		return id, false
	}
	return id, true
}

// relocate has a message of a client go to a subshell of this process.
func (k *kernel) relocate(ctx context.Context, m *wire.Message) {
	switch m.Channel {
	case wire.Shell:
		id := string(m.Fields().Subshell)
		if id == "" || !k.hasSubshells() {
			return
		}
		other, err := k.subshellFor(ctx, id)
		if err != nil {
			k.a.log.Warn("no subshell in the place of an earlier process's", slog.Any("error", err))
		}
		if other != id {
			m.Header = withSubshell(m.Header, other)
		}
	case wire.Control:
		if m.Type() == typeDeleteSubshellRequest {
			id := wire.Member(m.Content, subshellID)
			if other, _ := k.subshells.instead(id); other != id {
				m.Content = withSubshell(m.Content, other)
			}
		}
	case wire.IOPub, wire.Stdin:
	}
}

// subshellFor is the subshell for one that a client names. It is made if it is one of
// an earlier process.
func (k *kernel) subshellFor(ctx context.Context, id string) (string, error) {
	if other, missing := k.subshells.instead(id); !missing {
		return other, nil
	}
	k.subshells.making.Lock()
	defer k.subshells.making.Unlock()
	other, missing := k.subshells.instead(id)
	c := k.control.Load()
	if !missing || c == nil {
		return other, nil
	}
	ctx, cancel := context.WithTimeout(ctx, subshellTime)
	defer cancel()
	reply, err := k.exchange(ctx, c, k.a.builder.New(wire.Control, typeCreateSubshellRequest, nil, struct{}{}))
	if err != nil {
		return id, err
	}
	if other = wire.Member(reply, subshellID); other == "" {
		return id, fmt.Errorf("agent: the kernel answers %.200s", reply)
	}
	k.subshells.mu.Lock()
	defer k.subshells.mu.Unlock()
	k.subshells.replaced[id] = other
	return other, nil
}

const (
	typeCreateSubshellRequest = "create_subshell_request"
	typeCreateSubshellReply   = "create_subshell_reply"
	typeDeleteSubshellRequest = "delete_subshell_request"
)

// hasSubshells reports whether the kernel knows of subshells: others read past them.
func (k *kernel) hasSubshells() bool {
	var info struct {
		Features []string `json:"supported_features"`
	}
	_ = json.Unmarshal(k.info, &info)
	return slices.Contains(info.Features, "kernel subshells")
}

// withSubshell is a JSON object with another subshell_id.
func withSubshell(object []byte, id string) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil {
		return object
	}
	name, err := json.Marshal(id)
	if err != nil {
		return object
	}
	members[subshellID] = name
	changed, err := json.Marshal(members)
	if err != nil {
		return object
	}
	return changed
}
