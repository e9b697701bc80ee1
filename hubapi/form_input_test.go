package hubapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/file"
	"github.com/elastichub/elastichub/hubapi"
	"github.com/elastichub/elastichub/hubapi/internal/inmemory"
	"github.com/elastichub/elastichub/spawner"
)

// choices are the routes that take a user's choice, with a body that a researcher may send.
func choices(user string) map[string][3]string {
	at := "/api/spawner/v1/users/" + strings.ReplaceAll(url.PathEscape(user), ".", "%2E")
	return map[string][3]string{
		"form":    {"GET", at + "/form?server=", ""},
		"submit":  {"POST", at + "/options?server=&form=true", `{"form":{"cpu":["4"],"memory":["8"],"image":["next"]}}`},
		"check":   {"POST", at + "/options/check?server=", `{"options":{"cpu":"4"}}`},
		"restart": {"PUT", at + "/server?name=", `{"start":"s1","options":{"cpu":"4"},"env":{},"cmd":["c"]}`},
	}
}

func TestNobodyGetsWhatSomebodyElseMayHave(t *testing.T) {
	h := newHarness(t)
	for _, user := range []string{
		"*", "research*", "researcher)(cn=*", "researcher)(|(cn=*", `researcher\2a`, `uid=researcher,ou=people`, `researcher\`, "researcher,", "#researcher", "+researcher", "<researcher>", "researcher;", `"researcher"`,
		"researcher\x00", "\x00researcher", "researcher ", " researcher", "Researcher", "RESEARCHER", "rеsearcher", "ｒesearcher", "researcher\u200b", "re\u00adsearcher", "researcher\n", "ſ", "\u202eresearcher", "researchér", "résearcher",
		"researcher/../researcher", "../users/researcher", "researcher%00", "{user}", "{{.}}", "$(id)", strings.Repeat("r", 1024),
	} {
		for name, c := range choices(user) {
			w := h.call(c[0], c[1], c[2])
			require.Equal(t, http.StatusNotFound, w.Code, "%s of %q: %s", name, user, w.Body)
			assert.Equal(t, "urn:elastichub:problem:unknown-user", problemOf(t, w)["type"])
		}
	}
	for _, user := range []string{strings.Repeat("r", 1025), strings.Repeat("r", 10_000), "researcher\xff", "\xc0\xaf"} {
		for name, c := range choices(user) {
			w := h.call(c[0], c[1], c[2])
			require.Equal(t, http.StatusBadRequest, w.Code, "%s of %.20q", name, user)
		}
	}
	assert.NotContains(t, h.log.String(), strings.Repeat("r", 3000), "a name does not fill the log")
	states, err := h.servers.States(t.Context())
	require.NoError(t, err)
	assert.Empty(t, states)
}

func TestStartsOfRESTCallersAreWithinTheAllowance(t *testing.T) {
	h := newHarness(t)
	for _, options := range []string{
		`{"cpu":"99"}`, `{"cpu":-1}`, `{"cpu":"-1"}`, `{"cpu":1.5}`, `{"cpu":1e0}`, `{"cpu":1E2}`, `{"cpu":1e999}`, `{"cpu":"NaN"}`, `{"cpu":"Infinity"}`, `{"cpu":"inf"}`, `{"cpu":""}`, `{"cpu":" 1"}`,
		`{"cpu":"１"}`, `{"cpu":"٣"}`, `{"cpu":"1\u0000"}`, `{"cpu":"0x1"}`, `{"cpu":"1_0"}`, `{"cpu":"1,0"}`, `{"cpu":"1000m"}`, `{"cpu":null}`, `{"cpu":true}`, `{"cpu":["1"]}`, `{"cpu":{"x":1}}`, `{"cpu":0}`, `{"cpu":"` + strings.Repeat("1", 5000) + `"}`,
		`{"cpu":1.0000000000000000000000000000001}`, `{"cpu":4.00000000000000000000000001}`, `{"memory":"9Gi"}`, `{"memory":"1Ti"}`, `{"memory":"1G"}`, `{"memory":"1024Mi "}`, `{"memory":"1500Mi"}`, `{"memory":"-1Gi"}`, `{"memory":1073741824}`,
		`{"image":"Stable"}`, `{"image":"stable "}`, `{"image":"stab1e"}`, `{"image":"ѕtable"}`, `{"image":"stable\u0000"}`, `{"image":"registry.example/notebook:1"}`, `{"image":1}`, `{"image":null}`, `{"image":""}`,
		`{"cpu":"1","cpu":"1"}`, `{"cpu":"1","cp\u0075":"9"}`, `{"CPU":"1"}`, `{"gpu":1}`, `{"preset":"large"}`, `{"lang":"ru"}`, `{"kernel":"python-gpu "}`, `{"node_selector":{}}`, `{"privileged":true}`, `{"":1}`, `{"` + strings.Repeat("k", 5000) + `":1}`,
		`[]`, `"x"`, `1`, `true`, `{"image":"` + strings.Repeat("x", 20<<10) + `"}`,
	} {
		for _, request := range [][3]string{
			{"POST", "/options/check?server=", `{"options":` + options + `}`},
			{"PUT", "/server?name=", `{"start":"s1","options":` + options + `,"env":{},"cmd":["c"]}`},
		} {
			w := h.call(request[0], researcher+request[1], request[2])
			require.Equal(t, http.StatusUnprocessableEntity, w.Code, "%s %.80s: %s", request[1], options, w.Body)
			for _, fault := range problemOf(t, w)["errors"].([]any) {
				f := fault.(map[string]any)
				assert.NotEmpty(t, f["message"])
				assert.LessOrEqual(t, len(f["field"].(string)), 70, "what came in is not repeated at length")
			}
		}
	}
	_, started := h.servers.Request(spawner.Key{User: "researcher"})
	assert.False(t, started)
}

// editable makes a harness over a copy of the contract that the test edits.
func editable(t *testing.T) (h *harness, write func(file, old, new string)) {
	dir := t.TempDir()
	for _, name := range []string{"users.yaml", "policies.yaml"} {
		text, err := os.ReadFile(filepath.Join(contract, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	people, err := inmemory.NewPeople(dir, time.Now)
	require.NoError(t, err)
	h = newHarness(t, func(_ *hubapi.Config, d *hubapi.Dependencies) { d.Allowances = people })
	return h, func(file, old, new string) {
		text, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		require.Contains(t, string(text), old)
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(strings.Replace(string(text), old, new, 1)), 0o600))
	}
}

func TestAGroupIsTakenAwayBetweenFormAndSubmit(t *testing.T) {
	h, write := editable(t)
	all := choices("researcher")
	require.Equal(t, http.StatusOK, h.call(all["form"][0], all["form"][1], "").Code)
	options := h.call(all["submit"][0], all["submit"][1], all["submit"][2])
	require.Equal(t, http.StatusOK, options.Code)
	require.Equal(t, http.StatusOK, h.call("PUT", researcher+"/server?name=running", `{"start":"r1","options":{"cpu":"4"},"env":{},"cmd":["c"]}`).Code)

	// Another group: what was allowed a moment ago is held against the new one.
	write("users.yaml", "researcher: [ml-research]", "researcher: [analysts]")
	for _, name := range []string{"submit", "check", "restart"} {
		w := h.call(all[name][0], all[name][1], all[name][2])
		require.Equal(t, http.StatusUnprocessableEntity, w.Code, name)
		assert.Contains(t, w.Body.String(), "At most 1 CPUs.")
	}
	w := h.call(all["submit"][0], all["submit"][1], all["submit"][2])
	page := problemOf(t, w)["form"].(string)
	assert.Equal(t, []string{"4", "8", ""}, entered(t, page), "kept, though no image is chosen any more")
	assert.Contains(t, page, "Options for Analysts")
	// Options that the Hub has kept are checked again by the start.
	var kept struct{ Options json.RawMessage }
	require.NoError(t, json.Unmarshal(options.Body.Bytes(), &kept))
	w = h.call("PUT", researcher+"/server?name=", fmt.Sprintf(`{"start":"s2","options":%s,"env":{},"cmd":["c"]}`, kept.Options))
	assert.Equal(t, http.StatusUnprocessableEntity, w.Code)

	// No group, then nobody.
	write("users.yaml", "researcher: [analysts]", "researcher: []")
	for name, c := range all {
		assert.Equal(t, http.StatusForbidden, h.call(c[0], c[1], c[2]).Code, name)
	}
	write("users.yaml", "researcher: []", "somebody: []")
	for name, c := range all {
		assert.Equal(t, http.StatusNotFound, h.call(c[0], c[1], c[2]).Code, name)
	}
	_, started := h.servers.Request(spawner.Key{User: "researcher"})
	assert.False(t, started)
	running, err := h.servers.State(t.Context(), spawner.Key{User: "researcher", Server: "running"})
	require.NoError(t, err)
	assert.Equal(t, "r1", running.Start, "what runs is left alone")
}

// However many submits race, each is answered, and what runs is one of them.
func TestStartsThatRace(t *testing.T) {
	h := newHarness(t)
	const n = 50
	status := make([]int, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			body := fmt.Sprintf(`{"start":"s%d","options":{"cpu":"%d"},"env":{},"cmd":["c"]}`, i, i%6)
			status[i] = h.call("PUT", researcher+"/server?name=", body).Code
		})
	}
	wg.Wait()
	for i, code := range status {
		if i%6 == 0 || i%6 == 5 {
			assert.Equal(t, http.StatusUnprocessableEntity, code, "%d CPUs", i%6)
		} else {
			assert.Contains(t, []int{http.StatusOK, http.StatusConflict, http.StatusServiceUnavailable}, code)
		}
	}
	request, started := h.servers.Request(spawner.Key{User: "researcher"})
	require.True(t, started)
	assert.Contains(t, []string{"1", "2", "3", "4"}, request.CPULimit.String())
	states, err := h.servers.States(t.Context())
	require.NoError(t, err)
	require.Len(t, states, 1)
	assert.Equal(t, request.Start, states[0].Start)
}

// A form may be a little behind; a start counts the groups of now.
func TestAStartDoesNotTrustTheCache(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "users.yaml")
	require.NoError(t, os.WriteFile(users, []byte("users: {researcher: [ml-research]}"), 0o600))
	directory, err := file.New(file.Config{Path: users}, time.Now)
	require.NoError(t, err)
	cache, err := groups.NewCache(directory, groups.DefaultCacheConfig(), time.Now, prometheus.NewRegistry())
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(contract, "policies.yaml"))
	require.NoError(t, err)
	var policies allPolicies
	require.NoError(t, yaml.UnmarshalStrict(text, &policies))
	h := newHarness(t, func(_ *hubapi.Config, d *hubapi.Dependencies) {
		d.Allowances = groups.NewService(cache, policies, groups.MatchPriority)
	})
	all := choices("researcher")
	require.Equal(t, http.StatusOK, h.call(all["form"][0], all["form"][1], "").Code)
	require.NoError(t, os.WriteFile(users, []byte("users: {researcher: []}"), 0o600))
	assert.Equal(t, http.StatusOK, h.call(all["form"][0], all["form"][1], "").Code, "from the cache")
	w := h.call(all["restart"][0], all["restart"][1], all["restart"][2])
	assert.Equal(t, http.StatusForbidden, w.Code)
	assert.Equal(t, "urn:elastichub:problem:no-policy", problemOf(t, w)["type"])
	_, started := h.servers.Request(spawner.Key{User: "researcher"})
	assert.False(t, started)
}
