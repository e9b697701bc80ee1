package hubservers_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/spawner/orphans"
	"github.com/elastichub/elastichub/test/hubtest"
)

// TestPeopleOfARealHub are all of them, with stopped servers, and never a part.
func TestPeopleOfARealHub(t *testing.T) {
	hub := hubtest.Start(t)
	for i := range 60 { // more than a page
		hub.User(fmt.Sprint("user-", i))
	}
	warden := newHub(t, hub.API, hubtest.Warden)
	alice := spawner.Key{User: "user-7", Server: "gpu"}
	_, err := newHub(t, hub.API, hubtest.Steward).Ask(t.Context(), spawner.HubStart, alice)
	require.NoError(t, err)
	people, err := warden.People(t.Context())
	require.NoError(t, err)
	for _, p := range people {
		if p.Name == "user-7" {
			assert.Equal(t, orphans.Active, p.Servers["gpu"])
		}
	}
	_, err = newHub(t, hub.API, hubtest.Steward).Ask(t.Context(), spawner.HubStop, alice)
	require.NoError(t, err)

	people, err = warden.People(t.Context())
	require.NoError(t, err)
	found := map[string]bool{}
	for _, p := range people {
		found[p.Name] = true
		if p.Name == "user-7" {
			assert.Equal(t, map[string]orphans.ServerState{"": orphans.Stopped, "gpu": orphans.Stopped}, p.Servers)
			assert.Equal(t, hub.Created("user-7").Unix(), p.Created)
		}
	}
	for i := range 60 {
		assert.True(t, found[fmt.Sprint("user-", i)], i)
	}
	for _, token := range []string{hubtest.Steward, hubtest.Reader, hubtest.Nobody} {
		_, err := newHub(t, hub.API, token).People(t.Context())
		assert.ErrorIs(t, err, spawner.ErrHubScopes, token[:1])
	}
	works, err := warden.TokenWorks(t.Context(), hubtest.Reader)
	require.NoError(t, err)
	assert.True(t, works)
	works, err = warden.TokenWorks(t.Context(), "00000000000000000000000000000000")
	require.NoError(t, err)
	assert.False(t, works)
	hub.Stop()
	_, err = warden.People(t.Context())
	require.Error(t, err)
	assert.NotErrorIs(t, err, spawner.ErrHubScopes)
	_, err = warden.TokenWorks(t.Context(), hubtest.Reader)
	assert.Error(t, err, "a Hub that is down refuses no token")
}
