package spawner

import (
	"context"
	"sync"
)

// turns lets one at a time of the same account do something; others wait, each account for
// itself. It spares the API server races between starts of one person in one process, of which
// each round but one is in vain. What is right does not depend on it: there may be other replicas.
// The zero value is ready.
type turns struct {
	mu sync.Mutex
	of map[string]*turn
}

type turn struct {
	free    chan struct{} // holds one while nobody has the turn
	waiting int           // and whoever has it
}

// take waits for the account's turn and returns what ends it, or the error of ctx.
func (t *turns) take(ctx context.Context, account string) (end func(), err error) {
	t.mu.Lock()
	own := t.of[account]
	if own == nil {
		own = &turn{free: make(chan struct{}, 1)}
		own.free <- struct{}{}
		if t.of == nil {
			t.of = map[string]*turn{}
		}
		t.of[account] = own
	}
	own.waiting++
	t.mu.Unlock()
	select {
	case <-own.free:
		return func() {
			own.free <- struct{}{}
			t.leave(account, own)
		}, nil
	case <-ctx.Done():
		t.leave(account, own)
		return nil, ctx.Err()
	}
}

func (t *turns) leave(account string, own *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.waiting--; own.waiting == 0 {
		delete(t.of, account)
	}
}
