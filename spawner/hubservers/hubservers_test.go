package hubservers_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/elastichub/elastichub/hubclient"
	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/spawner/hubservers"
	"github.com/elastichub/elastichub/test/hubtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newHub(t *testing.T, api, token string) hubservers.Hub {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token), 0o600))
	client, err := hubclient.New(hubclient.Config{APIURL: api, TokenFile: file, Timeout: 3 * time.Second})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return hubservers.New(client)
}

func TestServersOfARealHub(t *testing.T) {
	hub := hubtest.Start(t)
	hub.User("alice")
	hub.User("refused")
	steward := newHub(t, hub.API, hubtest.Steward)
	person := spawner.HubUser{ID: 1, Created: hub.Created("alice").Unix()}
	for _, server := range []string{"", "a b/..", "."} {
		k := spawner.Key{User: "alice", Server: server, HubUser: person}
		found, err := steward.Ask(t.Context(), spawner.HubStop, k)
		require.NoError(t, err)
		assert.False(t, found.Active, "what does not run is not stopped")
		if strings.Contains(server, "/") {
			continue // the Hub itself takes none of such a name
		}

		found, err = steward.Ask(t.Context(), spawner.HubStart, k)
		require.NoError(t, err)
		assert.False(t, found.Active, "it was not before")
		assert.Equal(t, []string{server}, hub.Servers("alice"))
		found, err = steward.Ask(t.Context(), spawner.HubLook, k)
		require.NoError(t, err)
		assert.Equal(t, spawner.HubServer{Active: true}, found)
		_, err = steward.Ask(t.Context(), spawner.HubStart, k)
		var refusal *spawner.HubRefusal
		require.ErrorAs(t, err, &refusal)
		assert.True(t, refusal.Passing, "it runs yet: %s", refusal.Message)

		// Nobody else is stopped in its place.
		for _, other := range []spawner.HubUser{{ID: 1, Created: person.Created - 60}, {ID: 9, Created: 1}} {
			_, err = steward.Ask(t.Context(), spawner.HubStop, spawner.Key{User: "alice", Server: server, HubUser: other})
			require.ErrorIs(t, err, spawner.ErrHubUser)
		}
		assert.Equal(t, []string{server}, hub.Servers("alice"))
		found, err = steward.Ask(t.Context(), spawner.HubStop, k)
		require.NoError(t, err)
		assert.True(t, found.Active)
		assert.Empty(t, hub.Servers("alice"))
	}

	_, err := steward.Ask(t.Context(), spawner.HubStart, spawner.Key{User: "refused"})
	var refusal *spawner.HubRefusal
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, spawner.HubRefusal{Message: "As many servers run as the policy allows."}, *refusal)

	hub.Rename("alice", "alison")
	_, err = steward.Ask(t.Context(), spawner.HubStart, spawner.Key{User: "alice", HubUser: person})
	require.ErrorIs(t, err, spawner.ErrHubUser)
	hub.User("alice")
	_, err = steward.Ask(t.Context(), spawner.HubStart, spawner.Key{User: "alice", HubUser: spawner.HubUser{ID: 1, Created: person.Created - 60}})
	require.ErrorIs(t, err, spawner.ErrHubUser, "a newcomer of the name")
	assert.Empty(t, hub.Servers("alice"))

	for _, token := range []string{hubtest.Namer, hubtest.Nobody, hubtest.Console, "00000000000000000000000000000000"} {
		for _, act := range []spawner.HubAct{spawner.HubLook, spawner.HubStop, spawner.HubStart} {
			_, err = newHub(t, hub.API, token).Ask(t.Context(), act, spawner.Key{User: "alison"})
			assert.ErrorIs(t, err, spawner.ErrHubScopes, "%s by %.1s", act, token)
		}
	}
	hub.Stop()
	_, err = steward.Ask(t.Context(), spawner.HubStop, spawner.Key{User: "alison", HubUser: person})
	require.Error(t, err)
	assert.NotErrorIs(t, err, spawner.ErrHubUser, "a Hub that is down says nothing")
	assert.NotErrorIs(t, err, spawner.ErrHubScopes)
	assert.NotErrorAs(t, err, &refusal)
}

func TestWhatTheHubAnswers(t *testing.T) {
	const alice = `{"name": "alice", "created": "2026-01-02T03:04:05.678901Z", "servers": {"s": {"ready": true, "pending": null}, "ending": {"ready": false, "pending": "stop"}, "coming": {"ready": false, "pending": "spawn"}}}`
	for name, row := range map[string]struct {
		server  string
		act     spawner.HubAct
		status  int
		body    string
		calls   int
		want    spawner.HubServer
		message string // of a refusal
		passing bool
	}{
		"a start that is coming": {server: "coming", act: spawner.HubStart, want: spawner.HubServer{Active: true}},
		"a stop on its way":      {server: "ending", act: spawner.HubStop, want: spawner.HubServer{Active: true, Stopping: true}},
		"a start of one that stops": {server: "ending", act: spawner.HubStart, want: spawner.HubServer{Active: true, Stopping: true},
			message: "it is being stopped", passing: true},
		"later":                  {server: "s", act: spawner.HubStop, status: 202, calls: 1, want: spawner.HubServer{Active: true}},
		"too many":               {server: "x", act: spawner.HubStart, status: 429, body: `{"message": "Too many\n  users"}`, calls: 1, message: "Too many users", passing: true},
		"broken":                 {server: "x", act: spawner.HubStart, status: 500, body: `<h1>`, calls: 1, passing: true},
		"quota":                  {server: "x", act: spawner.HubStart, status: 409, body: `{"message": "quota"}`, calls: 1, message: "quota"},
		"a bad request":          {server: "x", act: spawner.HubStart, status: 400, body: `{"message": "limit"}`, calls: 1, message: "limit"},
		"it runs yet":            {server: "s", act: spawner.HubStart, status: 400, body: `{"message": "s is already running"}`, calls: 1, want: spawner.HubServer{Active: true}, message: "s is already running", passing: true},
		"may not stop":           {server: "s", act: spawner.HubStop, status: 403, body: `{"message": "requires any of [delete:servers]"}`, calls: 1, want: spawner.HubServer{Active: true}, message: "requires any of [delete:servers]"},
		"a look changes nothing": {server: "s", act: spawner.HubLook, want: spawner.HubServer{Active: true}},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.Method == http.MethodGet {
					_, _ = w.Write([]byte(alice))
					return
				}
				calls++
				assert.Equal(t, "/users/alice/servers/"+row.server, r.URL.Path)
				assert.Equal(t, "token steward", r.Header.Get("Authorization"))
				w.WriteHeader(row.status)
				_, _ = w.Write([]byte(row.body))
			}))
			defer server.Close()
			k := spawner.Key{User: "alice", Server: row.server, HubUser: spawner.HubUser{ID: 1, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Unix()}}
			found, err := newHub(t, server.URL, "steward").Ask(t.Context(), row.act, k)
			assert.Equal(t, row.want, found)
			assert.Equal(t, row.calls, calls)
			if row.message == "" && !row.passing {
				require.NoError(t, err)
				return
			}
			var refusal *spawner.HubRefusal
			require.ErrorAs(t, err, &refusal)
			assert.Equal(t, spawner.HubRefusal{Message: row.message, Passing: row.passing}, *refusal)
		})
	}
}
