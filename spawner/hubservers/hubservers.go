// Package hubservers has JupyterHub start and stop its servers, for the spawner.
package hubservers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/elastichub/elastichub/hubclient"
	"github.com/elastichub/elastichub/outbound"
	"github.com/elastichub/elastichub/spawner"
)

// Hub implements spawner.Hub. Its client's token needs the scopes read:users and servers.
type Hub struct{ client *hubclient.Client }

// New does not close the client.
func New(client *hubclient.Client) Hub { return Hub{client} }

// Ask implements spawner.Hub.
func (h Hub) Ask(ctx context.Context, act spawner.HubAct, k spawner.Key) (spawner.HubServer, error) {
	user, err := h.client.User(ctx, k.User)
	if err == nil {
		err = isPerson(user, k.HubUser)
	}
	if err != nil {
		return spawner.HubServer{}, meaning(err)
	}
	server, active := user.Servers[k.Server]
	found := spawner.HubServer{Active: active, Stopping: server.Pending == hubclient.PendingStop}
	switch {
	case act == spawner.HubStop && active && !found.Stopping:
		err = h.client.StopServer(ctx, user.Name, k.Server)
	case act == spawner.HubStart && found.Stopping:
		err = &spawner.HubRefusal{Message: "it is being stopped", Passing: true}
	case act == spawner.HubStart && server.Pending != hubclient.PendingSpawn:
		// One that ended unnoticed is ready yet: the Hub looks before it answers.
		err = h.client.StartServer(ctx, user.Name, k.Server)
	}
	var answer *hubclient.ServerError
	if errors.As(err, &answer) && answer.Code == http.StatusBadRequest && server.Ready {
		err = &spawner.HubRefusal{Message: answer.Message, Passing: true}
	}
	return found, meaning(err)
}

// isPerson compares by when the Hub made the user, where both know it: names are given
// away, and the Hub's API tells no ids.
func isPerson(user hubclient.User, want spawner.HubUser) error {
	if user.Created == "" || user.Servers == nil {
		return spawner.ErrHubScopes
	}
	created, err := time.Parse(time.RFC3339, user.Created)
	if err != nil {
		return err
	}
	if want.Known() && !want.Is(spawner.HubUser{ID: want.ID, Created: created.Unix()}) {
		return spawner.ErrHubUser
	}
	return nil
}

// meaning makes the client's errors the spawner's. Those that it does not know pass.
func meaning(err error) error {
	var status *outbound.StatusError
	var answer *hubclient.ServerError
	switch {
	case errors.Is(err, hubclient.ErrNotFound):
		return spawner.ErrHubUser
	case errors.As(err, &status) && (status.Code == http.StatusForbidden || status.Code == http.StatusUnauthorized):
		return spawner.ErrHubScopes
	case errors.As(err, &answer) && answer.Code == http.StatusUnauthorized:
		return spawner.ErrHubScopes
	case errors.As(err, &answer):
		passing := answer.Code >= http.StatusInternalServerError || answer.Code == http.StatusTooManyRequests
		return &spawner.HubRefusal{Message: answer.Message, Passing: passing}
	}
	return err
}
