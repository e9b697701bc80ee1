package spawner

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// A dozen servers that one person starts at once are a dozen reservations and a dozen confirmations of
// slots, all in one ConfigMap, of which each round of writes lets one win. So changes that come
// while another of the same account is being made become a group: they are decided one after the other on what was
// read once, and written by one write. What is right does not depend on it: other
// replicas have groups of their own.

// slotsTimeout bounds how long a group may take, whoever has asked for what.
const slotsTimeout = 15 * time.Second

// slotChange decides on what has been read, as often as somebody else has been faster, and changes it
// if write is true. It may be left to itself by whoever has asked for it: a slot that is
// reserved in vain is given away like that of a start that crashed.
type slotChange func(ctx context.Context, at *slotsRead) (write bool, err error)

// slotsRead is what one attempt has read.
type slotsRead struct {
	cm    *corev1.ConfigMap
	slots slots

	store     slotStore
	notebooks map[Key][]v1alpha1.JupyterNotebook
}

// notebooksOf are read after the ConfigMap, once for each attempt.
func (r *slotsRead) notebooksOf(ctx context.Context, person Key) ([]v1alpha1.JupyterNotebook, error) {
	person.Server = ""
	own, known := r.notebooks[person]
	if known {
		return own, nil
	}
	own, err := r.store.notebooksOf(ctx, person)
	if err != nil {
		return nil, err
	}
	r.notebooks[person] = own
	return own, nil
}

type slotsMember struct {
	change slotChange
	err    error // when the group is over
}

type slotsGroup struct {
	members []*slotsMember
	over    chan struct{}
}

// slotsGroups are the changes of one process. The zero value is ready.
type slotsGroups struct {
	mu sync.Mutex
	// next is the group of each account that is joined now. The account is there as long as a group of
	// it is being made, with nil if nobody has come since.
	next map[string]*slotsGroup
}

// join adds a change to the account's next group. makes tells that none is being made: then the
// caller has to make this one and all that come after it.
func (q *slotsGroups) join(account string, m *slotsMember) (g *slotsGroup, makes bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	g, making := q.next[account]
	if g == nil {
		g = &slotsGroup{over: make(chan struct{})}
		if q.next == nil {
			q.next = map[string]*slotsGroup{}
		}
		q.next[account] = g
	}
	g.members = append(g.members, m)
	return g, !making
}

// take ends the joining of the account's next group; nil if nobody has come.
func (q *slotsGroups) take(account string) *slotsGroup {
	q.mu.Lock()
	defer q.mu.Unlock()
	g := q.next[account]
	if g == nil {
		delete(q.next, account)
	} else {
		q.next[account] = nil
	}
	return g
}

// change reads, lets decide, and writes until nobody else has written in between, together with other
// changes of the same account.
func (l slotStore) change(ctx context.Context, user string, decide slotChange) error {
	m := &slotsMember{change: decide}
	g, makes := l.groups.join(account(user), m)
	if makes {
		go l.makeGroups(context.WithoutCancel(ctx), account(user))
	}
	select {
	case <-g.over:
		return m.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l slotStore) makeGroups(ctx context.Context, account string) {
	for g := l.groups.take(account); g != nil; g = l.groups.take(account) {
		l.makeGroup(ctx, account, g.members)
		close(g.over)
	}
}

func (l slotStore) makeGroup(ctx context.Context, account string, members []*slotsMember) {
	ctx, cancel := context.WithTimeout(ctx, slotsTimeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		err := l.attempt(ctx, account, members)
		if err == nil {
			return
		}
		if lostRace(err) && attempt < slotAttempts {
			select {
			case <-time.After(time.Duration(rand.Int64N(int64(slotBackoff)))):
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		for _, m := range members {
			m.err = err
		}
		return
	}
}

// attempt returns what has kept all from being made; what became of each is in the members.
func (l slotStore) attempt(ctx context.Context, account string, members []*slotsMember) error {
	cm, s, err := l.read(ctx, account)
	if err != nil {
		return err
	}
	before, changed := cm.DeepCopy(), false
	at := &slotsRead{cm: cm, slots: s, store: l, notebooks: map[Key][]v1alpha1.JupyterNotebook{}}
	for _, m := range members {
		var write bool
		write, m.err = m.change(ctx, at)
		changed = changed || write
	}
	if !changed {
		return nil
	}
	return l.write(ctx, before, cm, s)
}
