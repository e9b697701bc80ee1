package signals

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// test/monitoring asks a real Prometheus; here it does what one seldom does.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sound(url string) Config { return Config{URL: url, Timeout: time.Second, Window: time.Minute} }

func TestFaultsOfAConfig(t *testing.T) {
	require.NoError(t, sound("").Validate())
	require.NoError(t, sound("https://a.example.org:9090/prometheus").Validate())
	for field, change := range map[string]func(*Config){
		"url: required":                   func(c *Config) { c.URL, c.Required = "", true },
		"url: not like":                   func(c *Config) { c.URL = "http://user:secret@a" },
		"timeout: 11s":                    func(c *Config) { c.Timeout = 11 * time.Second },
		"window: 2h0m0s":                  func(c *Config) { c.Window = 2 * time.Hour },
		`matchLabels: "pod"`:              func(c *Config) { c.MatchLabels = []Label{{"pod", "a"}} },
		`matchLabels: "a-b"`:              func(c *Config) { c.MatchLabels = []Label{{"a-b", "a"}} },
		"keepWhile: without $pod":         func(c *Config) { c.KeepWhile = "up" },
		"keepWhile: longer than 4096":     func(c *Config) { c.KeepWhile = "$pod" + strings.Repeat(" ", maxQueryBytes) },
		"matchLabels: \"__name__\" is no": func(c *Config) { c.MatchLabels = []Label{{"__name__", "a"}} },
	} {
		config := sound("http://a")
		change(&config)
		err := config.Validate()
		require.ErrorContains(t, err, field)
		assert.NotContains(t, err.Error(), "secret")
	}
}

func TestAnAnswerThatIsNone(t *testing.T) {
	const found = `"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"terminal_currently_running_total"},"values":[[1,"0"]]}]}`
	var reached bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer elsewhere.Close()
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("of-the-service\n"), 0o600))
	for name, row := range map[string]struct {
		status int
		body   string
		text   string
		result result
	}{
		"sound":            {200, "{" + found + "}", "", resultMeasured},
		"nothing":          {200, `{"status":"success","data":{"resultType":"matrix","result":[]}}`, ErrNotMeasured.Error(), resultNotMeasured},
		"in part":          {200, `{` + found + `,"warnings":["a store is away"]}`, "a store is away", resultUnavailable},
		"another kind":     {200, `{"status":"success","data":{"resultType":"vector","result":[]}}`, "no matrix", resultUnavailable},
		"no JSON":          {200, "<html>", "prometheus", resultUnavailable},
		"too long":         {200, strings.Repeat(" ", maxBytes+1), "too long", resultUnavailable},
		"refused":          {401, "who are you", "prometheus", resultUnavailable},
		"another's":        {302, elsewhere.URL, "prometheus", resultUnavailable},
		"down for a while": {503, "", "prometheus", resultUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				assert.Equal(t, "Bearer of-the-service", r.Header.Get("Authorization"))
				w.Header().Set("Content-Type", "application/json")
				if row.status == http.StatusFound {
					w.Header().Set("Location", row.body)
				}
				w.WriteHeader(row.status)
				_, _ = io.WriteString(w, row.body)
			}))
			defer server.Close()
			config := sound(server.URL)
			config.TokenFile = token
			c, err := New(config, prometheus.NewRegistry())
			require.NoError(t, err)
			defer c.Close()
			_, err = c.Of(t.Context(), "hub", "jupyter-alice")
			if row.text == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, row.text)
			}
			assert.InDelta(t, 1, testutil.ToFloat64(c.questions.WithLabelValues(string(row.result))), 0)
		})
	}
	assert.False(t, reached, "redirects are not followed")
}
