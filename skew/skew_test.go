package skew

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTheReleaseIsSaidOnce: Python's is the chart's, and it has the same header.
func TestTheReleaseIsSaidOnce(t *testing.T) {
	t.Parallel()
	distribution, err := os.ReadFile("../python/elastichub/__init__.py")
	require.NoError(t, err)
	assert.Contains(t, string(distribution), `__version__ = "`+Release()+`"`)
	module, err := os.ReadFile("../python/elastichub/skew.py")
	require.NoError(t, err)
	assert.Contains(t, string(module), `HEADER = "`+Header+`"`)
	for name, protocol := range map[string]int{"HUB_PROTOCOL": HubProtocol, "GATEWAY_PROTOCOL": GatewayProtocol} {
		found := regexp.MustCompile(name + ` = (\d+)\n`).FindSubmatch(module)
		if assert.NotNil(t, found, name) {
			assert.Equal(t, strconv.Itoa(protocol), string(found[1]), name)
		}
	}
}

func TestWhoWorksTogether(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		one, other string
		near       bool
	}{
		{"0.2.0", "0.2.0", true},
		{"0.2.0", "0.2.9", true},
		{"0.2.0", "0.1.0", true},
		{"0.2.0", "0.3.7", true},
		{"0.2.0", "0.4.0", false},
		{"0.3.1", "0.1.9", false},
		{"0.2.0-rc.1", "0.1.0", true},
		{"0.9.0", "0.10.0", true},
		{"1.0.0", "0.1.0", false},
		{"1.0.0", "0.0.0", false},
		{"0.2.0", "a1b2c3d4e5f6", true},
		{"0.2.0", "", true},
		{"0.2.0", "7", true},
	} {
		assert.Equal(t, row.near, Near(row.one, row.other), "%s %s", row.one, row.other)
		assert.Equal(t, row.near, Near(row.other, row.one), "%s %s", row.other, row.one)
	}
}

func TestWhatIsTold(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Told{
		"0.2.0; protocol=5":                 {"0.2.0", 5},
		"0.2.0":                             {"0.2.0", 0},
		"0.2.0-rc.1;protocol=12":            {"0.2.0-rc.1", 12},
		"0.2.0; protocol=-1":                {"0.2.0", 0},
		"0.2.0; protocol=x; more=1":         {"0.2.0", 0},
		"":                                  {},
		"two":                               {},
		"0.2":                               {},
		"0.2.0\r\nevil: 1":                  {},
		"0.2.0; " + strings.Repeat("x", 64): {},
	} {
		assert.Equal(t, want, Parse(text), "%q", text)
	}
	here := Here(5)
	assert.Equal(t, here, Parse(here.String()))
	assert.False(t, here.IsNewer(5))
	assert.True(t, here.IsNewer(4))
	for release, newer := range map[string]bool{"0.2.1": true, "0.3.0": true, "1.0.0": true, "0.2.0": false, "0.1.9": false, "": false} {
		assert.Equal(t, newer, Told{Release: release}.isNewer("0.2.0", 1), release)
	}
}

// TestWhoIsRefused: both releases are named, and who has to follow is known.
func TestWhoIsRefused(t *testing.T) {
	t.Parallel()
	require.NoError(t, Check(Service, Hub, Told{}))
	require.NoError(t, check("0.2.0", Service, Hub, Told{Release: "0.1.0"}))
	require.NoError(t, check("7.0.0", Service, Hub, Told{}), "who tells nothing may be no part of ours")
	require.NoError(t, checkOurs("0.2.0", Gateway, Agent, Told{}), "what works today")
	for release, older := range map[string]bool{"0.2.4": true, "0.6.0": false} {
		err := check("0.4.0", Service, Hub, Told{Release: release})
		var apart *ApartError
		require.ErrorAs(t, err, &apart)
		assert.Contains(t, err.Error(), "0.4.0")
		assert.Contains(t, err.Error(), release)
		assert.Equal(t, older, apart.OtherIsOlder())
	}
	require.ErrorContains(t, checkOurs("0.3.0", Gateway, Agent, Told{}), "the kernel's agent is "+Silent)
}

func TestWhoIsSeen(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	seen := NewSeen(Gateway, 3, func() time.Time { return now })
	assert.True(t, seen.Note(Wheel, "a", Told{Release: "0.2.0"}))
	assert.False(t, seen.Note(Wheel, "a", Told{Release: "0.2.0"}))
	assert.True(t, seen.Note(Wheel, "a", Told{Release: "0.3.0"}))
	seen.Note(Wheel, "b", Told{Release: "0.3.0"})
	seen.Note(Agent, "a", Told{})
	answer := httptest.NewRecorder()
	seen.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, Path, nil))
	var v Versions
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &v))
	assert.Equal(t, Versions{Gateway, Release(), 3, map[Part]map[string]int{Wheel: {"0.3.0": 2}, Agent: {TellsNone: 1}}}, v)
	assert.Equal(t, Here(3), Parse(answer.Header().Get(Header)))

	now = now.Add(remembered + time.Second)
	assert.Empty(t, seen.Versions().Neighbours)
	answer = httptest.NewRecorder()
	seen.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, Path, nil))
	assert.Equal(t, http.StatusMethodNotAllowed, answer.Code)
	assert.False(t, (*Seen)(nil).Note(Wheel, "a", Told{}))
}
