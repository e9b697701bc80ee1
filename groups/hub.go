package groups

import (
	"context"
	"fmt"
	"time"
	"unsafe"
)

// Bounds of the groups that the Hub may name for one user.
const (
	maxHubGroups      = 10_000
	maxGroupNameBytes = 1024
)

// SentByHub is a Source that repeats the groups JupyterHub sends with its
// questions. They are as trustworthy as the Hub itself, which also says who
// the user is. They count for as long as limit after they were sent, then the
// Hub has to send them again.
type SentByHub struct {
	limit time.Duration
	now   func() time.Time
	sent  *SignIns[[]Group]
}

// NewSentByHub knows no user yet.
func NewSentByHub(limit time.Duration, now func() time.Time) *SentByHub {
	return &SentByHub{limit: limit, now: now, sent: NewSignIns(bytesOf)}
}

func bytesOf(all []Group) int {
	n := 0
	for _, g := range all {
		n += int(unsafe.Sizeof(g)) + len(g.Name)
	}
	return n
}

// Present implements Witness.
func (s *SentByHub) Present(user string, signIn SignIn) {
	if signIn.Groups == nil {
		return
	}
	found, err := HubGroups(signIn.Groups)
	if err != nil {
		s.sent.Forget(user)
		return
	}
	s.sent.Put(user, s.now(), found)
}

// Lookup implements Source.
func (s *SentByHub) Lookup(_ context.Context, user string) (Membership, error) {
	found, at, known := s.sent.Get(user)
	if !known || s.now().Sub(at) >= s.limit {
		return Membership{}, fmt.Errorf("%w: hub: it has sent no groups of this user lately; ElasticSpawner.send_groups makes it", ErrUnavailable)
	}
	return Membership{User: user, Groups: found, Source: "hub", AsOf: at}, nil
}

// Refresh implements Members: nobody knows more than what was sent last.
func (s *SentByHub) Refresh(ctx context.Context, user string) (Membership, error) {
	return s.Lookup(ctx, user)
}

// HubGroups makes groups of the names that a Hub gives. They are names
// whatever they look like: a Hub has no DNs.
func HubGroups(names []string) ([]Group, error) {
	if len(names) > maxHubGroups {
		return nil, fmt.Errorf("more than %d groups", maxHubGroups)
	}
	all := make([]Group, 0, len(names))
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if name == "" || len(name) > maxGroupNameBytes {
			return nil, fmt.Errorf("the name of a group has %d bytes, not 1 to %d", len(name), maxGroupNameBytes)
		}
		if !seen[name] {
			seen[name] = true
			all = append(all, Group{Name: name})
		}
	}
	return all, nil
}
