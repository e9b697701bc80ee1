package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/hubclient"
	"github.com/elastichub/elastichub/portal"
	"github.com/elastichub/elastichub/portal/signin"
	hours "github.com/elastichub/elastichub/usage"
)

const withConsole = minimal + `
hub: {apiURL: "http://hub:8081/hub/api", tokenFile: /etc/elastichub/hub-api/token}
portal:
  enabled: true
  admins: {groups: [platform-admins, "cn=admins,dc=example"]}
  prices: [{resource: nvidia.com/gpu, perHour: 2.5}, {resource: cpu, perHour: 0.1}]
  currency: EUR
`

func TestConsoleConfig(t *testing.T) {
	config, err := loadServeConfig(writeConfig(t, withConsole), []string{"ELASTICHUB_PORTAL_ADMINS_HUB=true", "ELASTICHUB_PORTAL_HUB_CLIENTID=service-console"})
	require.NoError(t, err)
	want := defaultPortalConfig()
	want.Enabled, want.Admins.Groups, want.Admins.Hub = true, []string{"platform-admins", "cn=admins,dc=example"}, true
	want.SignIn.Hub.ClientID = "service-console"
	want.Prices, want.Currency = []priceConfig{{"nvidia.com/gpu", 2.5}, {"cpu", 0.1}}, "EUR"
	assert.Equal(t, want, config.Portal)
	assert.Equal(t, hours.Prices{"nvidia.com/gpu": 2.5, hours.CPU: 0.1}, config.Portal.handler("ns").Prices)
	assert.Equal(t, "elastichub-usage", config.Usage.ConfigMaps)
	assert.Equal(t, "http://hub:8081/hub/api", config.Hub.APIURL)

	_, err = loadServeConfig(writeConfig(t, minimal), nil)
	assert.NoError(t, err, "there may be none")
	_, err = loadServeConfig(writeConfig(t, minimal+"portal: {enabled: true, basePath: x, admins: {groups: ['']}}\n"), nil)
	for _, fault := range []string{"portal.basePath", "portal.admins.groups[0]", "hub.apiURL", "hub.tokenFile"} {
		assert.ErrorContains(t, err, fault)
	}
	_, err = loadServeConfig(writeConfig(t, minimal+"usage: {configMaps: A_B}\nportal: {enabled: true, prices: [{resource: cpu, perHour: -1}], currency: 'a currency of another world'}\n"), nil)
	for _, fault := range []string{"usage.configMaps", "portal.prices", "portal.currency"} {
		assert.ErrorContains(t, err, fault)
	}
	_, err = loadServeConfig(writeConfig(t, minimal+"portal: {enabled: true, provider: oidc, oidc: {issuer: 'http://idp'}}\n"), nil)
	for _, fault := range []string{"portal.publicURL", "portal.oidc.issuer", "portal.oidc.clientID"} {
		assert.ErrorContains(t, err, fault)
	}
	assert.NotContains(t, err.Error(), "hub.apiURL", "without a Hub its tokens are no proof, and that is all")
	_, err = loadServeConfig(writeConfig(t, minimal+"portal: {enabled: true, provider: none, kubernetesTokens: false}\n"), nil)
	assert.ErrorContains(t, err, "portal.kubernetesTokens")
	config, err = loadServeConfig(writeConfig(t, minimal+"portal: {enabled: true, provider: none, keyFile: ''}\n"), nil)
	require.NoError(t, err, "there may be no Hub")
	assert.True(t, config.Portal.handler("ns").APIOnly)
}

// TestWhoServesWhat: the console, wherever it is, keeps nothing from the Hub.
func TestWhoServesWhat(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(key, []byte("0123456789abcdef0123456789abcdef"), 0o600))
	config, err := loadServeConfig(writeConfig(t, withConsole), nil)
	require.NoError(t, err)
	config.Portal.SignIn.KeyFile, config.Hub.TokenFile = key, key
	hub, err := openHub(config.Hub, prometheus.NewRegistry())
	require.NoError(t, err)
	t.Cleanup(hub.Close)
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for base, ours := range map[string][]string{
		"/services/elastichub/": {"/services/elastichub/", "/services/elastichub/api/v1/me"},
		"/":                     {"/", "/api/v1/me", "/cluster", "/services/elastichub/"},
	} {
		config.Portal.SignIn.BasePath = base
		people, err := newConsole(config, hub, &directories{}, nil, nil, nil, catalogue{}, nil, nil, nil, slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry())
		require.NoError(t, err)
		t.Cleanup(people.close)
		code := func(path string) int {
			w := httptest.NewRecorder()
			serving(api, people).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			return w.Code
		}
		for _, path := range []string{"/healthz", "/readyz", "/api/spawner/v1/servers", "/api/spawner/v1"} {
			assert.Equal(t, http.StatusTeapot, code(path), "%s with %s", path, base)
		}
		for _, path := range ours {
			assert.NotEqual(t, http.StatusTeapot, code(path), "%s with %s", path, base)
		}
	}
	w := httptest.NewRecorder()
	serving(api, nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/services/elastichub/", nil))
	assert.Equal(t, http.StatusTeapot, w.Code)
}

func TestChartConfiguresTheConsole(t *testing.T) {
	const groups = "groups: {file: 'users: {}'}\n"
	got := chartConfig(t, groups)
	assert.Equal(t, defaultPortalConfig(), got.Portal)

	got = chartConfig(t, groups+"hub: {apiURL: 'http://hub:8081/hub/api', tokenSecret: t}\nportal: {enabled: true, admins: {groups: [admins]}}\n")
	want := defaultPortalConfig()
	want.Enabled, want.Admins.Groups = true, []string{"admins"}
	assert.Equal(t, want, got.Portal)
	assert.Equal(t, hubclient.Config{APIURL: "http://hub:8081/hub/api", TokenFile: "/etc/elastichub/hub-api/token", Timeout: 3 * time.Second}, got.Hub)

	got = chartConfig(t, groups+`
hub: {publicURL: "https://hub.example.org/hub/"}
portal:
  enabled: true
  basePath: /
  publicURL: https://console.example.org
  provider: oidc
  admins: {groups: [], hub: true}
  policies: {edit: true}
  kubernetesTokens: false
  prices: [{resource: nvidia.com/gpu, perHour: 2}]
  currency: USD
  hub: {clientID: service-x}
  oidc: {issuer: http://idp, clientID: c, secret: s, usernameClaim: email, scopes: [email], algorithms: [EdDSA], allowPlaintext: true, caFile: /ca, timeout: 9s}
`)
	want = defaultPortalConfig()
	want.Enabled, want.Admins = true, portal.Admins{Groups: []string{}, Hub: true}
	want.Policies.Edit, want.KubernetesTokens = true, false
	want.Prices, want.Currency = []priceConfig{{"nvidia.com/gpu", 2}}, "USD"
	assert.Equal(t, usageConfig{ConfigMaps: "hub-usage"}, got.Usage)
	want.SignIn.Provider, want.SignIn.BasePath, want.SignIn.PublicURL = signin.ProviderOIDC, "/", "https://console.example.org"
	want.SignIn.Hub = signin.HubConfig{PublicURL: "https://hub.example.org/hub/", ClientID: "service-x"}
	want.SignIn.OIDC = signin.OIDCConfig{
		Issuer: "http://idp", ClientID: "c", SecretFile: "/etc/elastichub/portal-oidc/secret", UsernameClaim: "email", Scopes: []string{"email"},
		Algorithms: []string{"EdDSA"}, AllowPlaintext: true, CAFile: "/ca", Timeout: 9 * time.Second,
	}
	assert.Equal(t, want, got.Portal)
}
