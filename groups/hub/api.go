package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/hubclient"
)

const (
	// scopeGroups lets a service read the groups of every user, and no more.
	scopeGroups = "read:users:groups"
	// scopesAge is how long the Hub's answer on our scopes is believed.
	scopesAge = time.Minute
)

// API is a groups.Source that asks JupyterHub's REST API
// (GET /users/{name}). Put a cache in front of it: the Hub is one process.
type API struct {
	client *hubclient.Client
	now    func() time.Time

	mu sync.Mutex
	// allowedAt is when the Hub said that we may read groups.
	allowedAt time.Time
}

// NewAPI reads the files once, to find faults early.
func NewAPI(config Config, now func() time.Time) (*API, error) {
	client, err := hubclient.New(config.client())
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	return &API{client: client, now: now}, nil
}

// Close ends the connections that are not in use.
func (h *API) Close() { h.client.Close() }

// Lookup implements groups.Source. User names are compared exactly.
func (h *API) Lookup(ctx context.Context, user string) (groups.Membership, error) {
	m := groups.Membership{User: user, Source: "hub", AsOf: h.now()}
	answer, err := h.client.User(ctx, user)
	if errors.Is(err, hubclient.ErrNotFound) {
		// So the Hub answers about users whom we may not see, too.
		if err := h.mayRead(ctx); err != nil {
			return groups.Membership{}, unavailable(err)
		}
		return groups.Membership{}, groups.ErrUnknownUser
	}
	if err != nil {
		return groups.Membership{}, unavailable(err)
	}
	if answer.Groups == nil {
		return groups.Membership{}, unavailable(errors.New("no groups in the answer: the token lacks the scope " + scopeGroups))
	}
	if answer.Name != user {
		return groups.Membership{}, groups.ErrUnknownUser
	}
	if m.Groups, err = groupsOf(answer.Groups); err != nil {
		return groups.Membership{}, fmt.Errorf("%w: hub: %w", groups.ErrOneUser, err)
	}
	return m, nil
}

func unavailable(err error) error { return fmt.Errorf("%w: hub: %w", groups.ErrUnavailable, err) }

// mayRead is nil if the token's scopes include the groups of all users.
func (h *API) mayRead(ctx context.Context) error {
	h.mu.Lock()
	known := h.now().Sub(h.allowedAt) < scopesAge
	h.mu.Unlock()
	if known {
		return nil
	}
	asked := h.now()
	self, err := h.client.Self(ctx)
	if err != nil {
		return err
	}
	// Wider scopes are given with all that they include.
	if !slices.Contains(self.Scopes, scopeGroups) {
		return errors.New("the token lacks the scope " + scopeGroups + " for all users")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.allowedAt = asked
	return nil
}
