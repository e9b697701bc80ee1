package hubapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/hub"
	"github.com/elastichub/elastichub/hubapi"
	"github.com/elastichub/elastichub/spawner"
)

// harnessOfSentGroups is a harness whose groups are those that the Hub sends, and what
// was presented last.
func harnessOfSentGroups(t *testing.T) (*harness, *groups.SignIn) {
	t.Helper()
	text, err := os.ReadFile(contract + "/policies.yaml")
	require.NoError(t, err)
	var policies policies
	require.NoError(t, yaml.UnmarshalStrict(text, &policies))
	sent := hub.NewSent(time.Minute, func() time.Time { return clock })
	last := &groups.SignIn{}
	service := groups.NewService(sent, policies, groups.MatchPriority, sent, noting{last})
	return newHarness(t, func(_ *hubapi.Config, d *hubapi.Dependencies) { d.Allowances = service }), last
}

type policies []v1alpha1.GroupPolicy

func (p policies) Policies(context.Context) ([]v1alpha1.GroupPolicy, error) { return p, nil }

type noting struct{ last *groups.SignIn }

func (n noting) Present(_ string, s groups.SignIn) { *n.last = s }

const start = `{"start": "s1", "cmd": ["x"], "options": {"cpu": "2", "memory": "2Gi", "image": "stable"}`

func TestSignInComesBeforeTheQuestion(t *testing.T) {
	for name, call := range map[string]struct {
		method, path, body string
		refused, accepted  int
	}{
		"form":    {http.MethodPost, "/users/eve/form", `{`, http.StatusForbidden, http.StatusOK},
		"options": {http.MethodPost, "/users/eve/options", `{"form": {"cpu": ["2"], "memory": ["2"], "image": ["stable"]}, `, http.StatusForbidden, http.StatusOK},
		"check":   {http.MethodPost, "/users/eve/options/check", `{"options": {"cpu": "2"}, `, http.StatusForbidden, http.StatusOK},
		"start":   {http.MethodPut, "/users/eve/server", start + `, `, http.StatusForbidden, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			h, last := harnessOfSentGroups(t)
			signIn := func(groups string) string {
				return call.body + `"sign_in": {"id_token": "an-id-token", "access_token": "an-access-token", "groups": ` + groups + `}}`
			}
			w := h.call(call.method, hubapi.Prefix+call.path, signIn(`null`))
			assert.Equal(t, http.StatusServiceUnavailable, w.Code, "no groups sent: %s", w.Body)
			w = h.call(call.method, hubapi.Prefix+call.path, signIn(`[]`))
			assert.Equal(t, call.refused, w.Code, "%s", w.Body)
			w = h.call(call.method, hubapi.Prefix+call.path, signIn(`["ml-research"]`))
			assert.Equal(t, call.accepted, w.Code, "%s", w.Body)
			assert.Equal(t, groups.SignIn{IDToken: "an-id-token", AccessToken: "an-access-token", Groups: []string{"ml-research"}}, *last)
			assert.NotContains(t, w.Body.String(), "an-id-token")
			assert.NotContains(t, h.log.String(), "an-id-token")
			assert.NotContains(t, h.log.String(), "an-access-token")
			request, started := h.servers.Request(spawner.Key{User: "eve"})
			assert.Equal(t, name == "start", started)
			text, err := json.Marshal(request)
			require.NoError(t, err)
			assert.NotContains(t, string(text), "an-id-token")
			assert.NotContains(t, string(text), "an-access-token")
		})
	}
}

func TestSignInOutOfBounds(t *testing.T) {
	h, last := harnessOfSentGroups(t)
	for name, signIn := range map[string]string{
		"long token":    `{"id_token": "` + strings.Repeat("x", 64<<10+1) + `"}`,
		"long access":   `{"access_token": "` + strings.Repeat("x", 64<<10+1) + `"}`,
		"empty group":   `{"groups": [""]}`,
		"long group":    `{"groups": ["` + strings.Repeat("x", 1025) + `"]}`,
		"many groups":   `{"groups": ["a"` + strings.Repeat(`,"a"`, 10_000) + `]}`,
		"not a list":    `{"groups": "ml-research"}`,
		"not a text":    `{"id_token": 5}`,
		"unknown field": `{"refresh_token": "x"}`,
	} {
		w := h.call(http.MethodPut, hubapi.Prefix+"/users/eve/server", start+`, "sign_in": `+signIn+`}`)
		assert.Equal(t, http.StatusBadRequest, w.Code, "%s: %s", name, w.Body)
		assert.Equal(t, "urn:elastichub:problem:malformed", problemOf(t, w)["type"], name)
	}
	assert.Equal(t, groups.SignIn{}, *last)
}
