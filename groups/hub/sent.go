package hub

import (
	"context"
	"fmt"
	"time"
	"unsafe"

	"github.com/elastichub/elastichub/groups"
)

// Bounds of the groups that the Hub may name for one user.
const (
	maxGroups         = 10_000
	maxGroupNameBytes = 1024
)

// Sent is a groups.Source that repeats the groups JupyterHub sends with its
// questions. They are as trustworthy as the Hub itself, which also says who
// the user is. They count for as long as limit after they were sent, then the
// Hub has to send them again.
type Sent struct {
	limit time.Duration
	now   func() time.Time
	sent  *groups.SignIns[[]groups.Group]
}

// NewSent knows no user yet.
func NewSent(limit time.Duration, now func() time.Time) *Sent {
	return &Sent{limit: limit, now: now, sent: groups.NewSignIns(bytesOf)}
}

func bytesOf(all []groups.Group) int {
	n := 0
	for _, g := range all {
		n += int(unsafe.Sizeof(g)) + len(g.Name)
	}
	return n
}

// Present implements groups.SignInReceiver.
func (s *Sent) Present(user string, signIn groups.SignIn) {
	if signIn.Groups == nil {
		return
	}
	found, err := groupsOf(signIn.Groups)
	if err != nil {
		s.sent.Forget(user)
		return
	}
	s.sent.Put(user, s.now(), found)
}

// Lookup implements groups.Source.
func (s *Sent) Lookup(_ context.Context, user string) (groups.Membership, error) {
	found, at, known := s.sent.Get(user)
	if !known || s.now().Sub(at) >= s.limit {
		return groups.Membership{}, fmt.Errorf("%w: hub: it has sent no groups of this user lately; ElasticSpawner.send_groups makes it", groups.ErrUnavailable)
	}
	return groups.Membership{User: user, Groups: found, Source: "hub", AsOf: at}, nil
}

// Refresh implements groups.Members: nobody knows more than what was sent last.
func (s *Sent) Refresh(ctx context.Context, user string) (groups.Membership, error) {
	return s.Lookup(ctx, user)
}

// groupsOf makes groups of the names that a Hub gives. They are names
// whatever they look like: a Hub has no DNs.
func groupsOf(names []string) ([]groups.Group, error) {
	if len(names) > maxGroups {
		return nil, fmt.Errorf("more than %d groups", maxGroups)
	}
	all := make([]groups.Group, 0, len(names))
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if name == "" || len(name) > maxGroupNameBytes {
			return nil, fmt.Errorf("the name of a group has %d bytes, not 1 to %d", len(name), maxGroupNameBytes)
		}
		if !seen[name] {
			seen[name] = true
			all = append(all, groups.Group{Name: name})
		}
	}
	return all, nil
}
