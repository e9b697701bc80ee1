package signin_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/rest"

	"github.com/elastichub/elastichub/portal/signin"
)

// webToken looks like a JSON Web Token of these claims.
func webToken(claims string) string {
	return "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

// TestWhomATokenIsShownTo: one of Kubernetes never to the Hub, all others never to the API server.
func TestWhomATokenIsShownTo(t *testing.T) {
	clock := newClock()
	var atHub, atAPIServer atomic.Int32
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		atHub.Add(1)
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(hub.Close)
	status := authenticationv1.TokenReviewStatus{}
	down := false
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		atAPIServer.Add(1)
		if down {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		var review authenticationv1.TokenReview
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&review))
		assert.Equal(t, []string{"elastichub"}, review.Spec.Audiences)
		review.Status = status
		w.Header().Set("Content-Type", "application/json")
		assert.NoError(t, json.NewEncoder(w).Encode(review))
	}))
	t.Cleanup(api.Close)
	accounts, err := signin.NewAccounts(&rest.Config{Host: api.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}, "hub", clock.Now)
	require.NoError(t, err)
	with, err := signin.New(hubConfig(t), newHubClient(t, hub.URL), accounts, clock.Now)
	require.NoError(t, err)
	without := newGate(t, hubConfig(t), newHubClient(t, hub.URL), clock.Now)
	show := func(gate *signin.Gate, token string) (signin.Person, error) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		return gate.Identify(r)
	}
	end := clock.Now().Add(time.Hour).Unix()
	ours := webToken(fmt.Sprintf(`{"aud": ["other", "elastichub"], "exp": %d}`, end))
	for _, row := range []struct {
		token              string
		hub, api, disabled int32
	}{
		{"0123456789abcdef", 1, 0, 1},
		{"eyes.of.a.hub", 1, 0, 1},
		{ours, 0, 1, 0},
		{webToken(fmt.Sprintf(`{"aud": "elastichub", "exp": %d}`, end)), 0, 1, 0},
		{webToken(fmt.Sprintf(`{"aud": ["https://kubernetes.default.svc"], "exp": %d}`, end)), 0, 0, 0},
		{webToken(`{"aud": "elastichub", "exp": 1}`), 0, 0, 0},
		{webToken(`{"aud": "elastichub", "exp": -1e300}`), 0, 0, 0},
		{webToken(`{"aud": "elastichub"}`), 0, 0, 0},
		{webToken(`{}`), 0, 0, 0},
		{ours + string(make([]byte, 20<<10)), 0, 0, 0},
	} {
		atHub.Store(0)
		atAPIServer.Store(0)
		_, err := show(with, row.token)
		assert.ErrorIs(t, err, signin.ErrSignedOut)
		assert.Equal(t, []int32{row.hub, row.api}, []int32{atHub.Load(), atAPIServer.Load()}, "%.80q", row.token)
		atHub.Store(0)
		_, err = show(without, row.token)
		assert.ErrorIs(t, err, signin.ErrSignedOut)
		assert.Equal(t, row.disabled, atHub.Load(), "%.80q", row.token)
	}

	// A refusal is believed for a moment; what is authenticated for others is refused.
	user := authenticationv1.UserInfo{Username: "system:serviceaccount:a:b"}
	status = authenticationv1.TokenReviewStatus{Authenticated: true, User: user}
	atAPIServer.Store(0)
	_, err = show(with, ours)
	assert.ErrorIs(t, err, signin.ErrSignedOut)
	assert.Zero(t, atAPIServer.Load())
	clock.add(5 * time.Second)
	_, err = show(with, ours)
	assert.ErrorIs(t, err, signin.ErrSignedOut, "the API server names no audience")
	status.Audiences = []string{"elastichub"}
	clock.add(5 * time.Second)
	person, err := show(with, ours)
	require.NoError(t, err)
	assert.Empty(t, person.User)
	assert.Equal(t, user.Username, person.Account.Name)
	clock.add(29 * time.Second)
	_, err = show(with, ours)
	require.NoError(t, err)
	assert.EqualValues(t, 2, atAPIServer.Load())
	down = true
	clock.add(time.Second)
	_, err = show(with, ours)
	assert.ErrorIs(t, err, signin.ErrUnavailable, "an old word does not count")
}

// TestAFloodOfTokens: whoever shows many does not make the API server busy.
func TestAFloodOfTokens(t *testing.T) {
	var asked atomic.Int32
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(api.Close)
	accounts, err := signin.NewAccounts(&rest.Config{Host: api.URL}, "hub", time.Now)
	require.NoError(t, err)
	gate, err := signin.New(hubConfig(t), newHubClient(t, hubOfOne(t)), accounts, time.Now)
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for begin, i := time.Now(), 0; time.Since(begin) < time.Second; i++ {
		r.Header.Set("Authorization", "Bearer "+webToken(fmt.Sprintf(`{"aud": "elastichub", "exp": 9e9, "jti": "%d"}`, i)))
		_, err := gate.Identify(r)
		require.ErrorIs(t, err, signin.ErrUnavailable)
	}
	assert.Less(t, asked.Load(), int32(80))
}
