package hubservers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/elastichub/elastichub/hubclient"
	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/spawner/orphans"
)

// People implements orphans.Hub. It takes the scopes list:users, read:users and read:servers.
func (h Hub) People(ctx context.Context) ([]orphans.Person, error) {
	users, err := h.client.AllUsers(ctx)
	if errors.Is(err, hubclient.ErrNotAll) {
		return nil, fmt.Errorf("%w: %w", spawner.ErrHubScopes, err)
	}
	if err != nil {
		return nil, meaning(err)
	}
	people := make([]orphans.Person, len(users))
	for i, user := range users {
		created, err := time.Parse(time.RFC3339, user.Created)
		if err != nil {
			return nil, err
		}
		people[i] = orphans.Person{Name: user.Name, Created: created.Unix(), Servers: map[string]orphans.ServerState{}}
		for name, server := range user.Servers {
			people[i].Servers[name] = orphans.Active
			if server.IsStopped() {
				people[i].Servers[name] = orphans.Stopped
			}
		}
	}
	return people, nil
}

// TokenWorks implements orphans.Hub.
func (h Hub) TokenWorks(ctx context.Context, token string) (bool, error) {
	_, err := h.client.OwnerOf(ctx, token)
	if errors.Is(err, hubclient.ErrRefused) {
		return false, nil
	}
	return err == nil, err
}
