package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/hub"
	"github.com/elastichub/elastichub/groups/ldap"
	"github.com/elastichub/elastichub/groups/openid"
)

// without are the required parts but groups.
const without = `
namespace: hub
notebooks: {image: notebook:1}
kernels: {serviceImage: elastichub:1, image: kernel:1}
`

func TestGroupsFaultsAreToldTogether(t *testing.T) {
	for name, row := range map[string]struct {
		text string
		want []string
	}{
		"ldap": {"groups: {ldap: {urls: [ldap://x], startTLS: false, userBase: x, nestedGroups: deep, referrals: chase}}", []string{
			"groups.ldap.urls[0]: ldap:// needs startTLS", "groups.ldap.userBase: ", "groups.ldap.nestedGroups: ", "groups.ldap.referrals: "}},
		"oidc":       {"groups: {oidc: {issuer: http://x, algorithms: [none], from: cookie}}", []string{"groups.oidc.issuer: ", "groups.oidc.algorithms[0]: ", "groups.oidc.from: "}},
		"hub":        {"groups: {hub: {apiURL: hub}}", []string{"groups.hub.apiURL: ", "groups.hub.tokenFile: "}},
		"both ways":  {"groups: {hub: {sent: true, apiURL: 'http://hub', tokenFile: x}}", []string{"groups.hub.sent: sent and apiURL"}},
		"combine":    {"groups: {file: x, combine: all}", []string{"groups.combine: "}},
		"sources":    {"groups: {file: x, sources: [ldap, file]}", []string{"groups.sources: names ldap, file, but configured are file"}},
		"limits":     {"groups: {file: x, oidc: {limits: {cacheTTL: 1h}}}", []string{"groups.oidc.limits.staleLimit: 10m0s is below cacheTTL, 1h"}},
		"no sources": {"groups: {sources: [ldap]}", []string{"groups.sources: names ldap, but configured are "}},
		"unknown":    {"groups: {file: x, oidc: {clientSecret: x}}", []string{"clientSecret"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadServeConfig(writeConfig(t, without+row.text+"\n"), nil)
			for _, want := range row.want {
				assert.ErrorContains(t, fmt.Errorf("%s", strings.ToLower(fmt.Sprint(err))), strings.ToLower(want))
			}
		})
	}
}

func TestSourcesAreCombinedInTheirOrder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "groups.yaml")
	require.NoError(t, os.WriteFile(file, []byte("users: {alice: [ml]}"), 0o600))
	config := func(more string) groupsConfig {
		c, err := loadServeConfig(writeConfig(t, without+"groups: {file: "+file+", hub: {sent: true}, oidc: {issuer: 'https://idp.example', audience: hub}, "+more+"}\n"), nil)
		require.NoError(t, err)
		return c.Groups
	}
	assert.Equal(t, []string{"oidc", "hub", "file"}, names(config("").order()))

	registry := prometheus.NewPedanticRegistry()
	d, err := newDirectories(config("combine: first, sources: [file, hub, oidc]"), registry)
	require.NoError(t, err)
	defer d.Close()
	assert.Len(t, d.signInReceivers, 2)
	m, err := d.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, []groups.Group{{Name: "ml", Source: "file"}}, m.Groups)
	_, err = d.Lookup(t.Context(), "bob")
	assert.ErrorIs(t, err, groups.ErrUnavailable, "the Hub has to say")
	for _, receiver := range d.signInReceivers {
		receiver.Present("bob", groups.SignIn{Groups: []string{"staff"}})
	}
	m, err = d.Lookup(t.Context(), "bob")
	require.NoError(t, err)
	assert.Equal(t, "hub", m.Source)

	families, err := registry.Gather()
	require.NoError(t, err)
	sources := map[string]bool{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "source" {
					sources[label.GetValue()] = true
				}
			}
		}
	}
	assert.Equal(t, map[string]bool{"oidc": true, "file": true}, sources)

	_, err = newDirectories(groupsConfig{File: "/nowhere", Combine: groups.CombineUnion, Limits: cacheLimits{1, 1}}, prometheus.NewRegistry())
	assert.ErrorContains(t, err, "groups.file: ")
}

// A section of a source that has no row would be read and never asked.
func TestEverySectionOfASourceHasARow(t *testing.T) {
	var sections []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[groupsConfig]()) {
		if field.Type.Kind() != reflect.Struct {
			continue
		}
		if config, ok := field.Type.FieldByName("Config"); ok && config.Type.Implements(reflect.TypeFor[packageConfig]()) {
			sections = append(sections, strings.ToLower(field.Name))
		}
	}
	assert.NotEmpty(t, sections)
	assert.ElementsMatch(t, append(sections, "file"), names(defaultGroupsConfig().sources()))
}

func TestReadSignIn(t *testing.T) {
	got, err := readSignIn(writeConfig(t, `{"sign_in": {"id_token": "secret", "groups": ["a"]}}`))
	require.NoError(t, err)
	assert.Equal(t, groups.SignIn{IDToken: "secret", Groups: []string{"a"}}, got)
	_, err = readSignIn(writeConfig(t, `{"id_token": "secret"}`))
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "secret")
	_, err = readSignIn("/nowhere")
	assert.True(t, errors.Is(err, os.ErrNotExist))
	got, err = readSignIn("")
	require.NoError(t, err)
	assert.Equal(t, groups.SignIn{}, got)
}

// chartConfig renders the chart and reads its configuration as the service does.
func chartConfig(t *testing.T, values string) serveConfig {
	t.Helper()
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS is not set: Helm is there")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set")
	}
	const required = "image: {name: elastichub, tag: '1'}\nnotebooks: {image: notebook:1}\nkernels: {image: kernel:1}\n"
	helm := exec.Command(filepath.Join(assets, "helm"), "template", "hub", "../../charts/elastichub", "--kube-version", "1.34", "--show-only", "templates/configmap.yaml", "--values", writeConfig(t, required+values))
	helm.Env = append(os.Environ(), "HELM_CONFIG_HOME="+t.TempDir(), "HELM_CACHE_HOME="+t.TempDir())
	out, err := helm.CombinedOutput()
	require.NoError(t, err, "%s", out)
	var configMap struct {
		Data map[string]string `json:"data"`
	}
	require.NoError(t, yaml.Unmarshal(out, &configMap))
	config, err := loadServeConfig(writeConfig(t, configMap.Data["config.yaml"]), []string{"ELASTICHUB_NAMESPACE=hub"})
	require.NoError(t, err)
	return config
}

func TestChartConfiguresSources(t *testing.T) {
	t.Run("defaults", func(t *testing.T) {
		got := chartConfig(t, "groups: {ldap: {urls: ['ldap://ad'], userBase: 'dc=x'}, oidc: {issuer: 'https://idp', audience: hub}, hub: {apiURL: 'http://hub:8081/hub/api', tokenSecret: t}, file: 'users: {}'}\n")
		want := defaultGroupsConfig()
		want.LDAP.Config.URLs, want.LDAP.Config.UserBase = []string{"ldap://ad"}, "dc=x"
		want.OIDC.Config.Issuer, want.OIDC.Config.Audience = "https://idp", "hub"
		want.Hub.Config.APIURL, want.Hub.Config.TokenFile = "http://hub:8081/hub/api", "/etc/elastichub/groups-hub/token"
		want.File = "/etc/elastichub/groups.yaml"
		want.Sources = []string{}
		assert.Equal(t, want, got.Groups)
	})
	t.Run("everything set", func(t *testing.T) {
		got := chartConfig(t, `
groups:
  cacheTTL: 30s
  staleLimit: 5m
  combine: first
  sources: [hub, oidc, ldap]
  ldap:
    urls: [ldap://a, ldap://b]
    startTLS: true
    caFile: /etc/elastichub/ca/ca.crt
    bindDN: cn=reader,dc=x
    bindPasswordSecret: s
    userBase: ou=people,dc=x
    userAttribute: sAMAccountName
    userFilter: (objectClass=user)
    memberOfAttribute: ""
    groupBase: ou=groups,dc=x
    groupFilter: (objectClass=group)
    groupMemberAttributes: [member]
    nestedGroups: inChain
    nestingDepth: 5
    referrals: ignore
    dialTimeout: 1s
    bindTimeout: 1s
    searchTimeout: 1s
    poolSize: 9
    limits: {cacheTTL: 10s, staleLimit: 20s}
  oidc:
    issuer: http://idp
    allowPlaintext: true
    caFile: /ca
    from: accessToken
    audience: api
    usernameClaim: sub
    groupsClaims: [realm_access.roles, 'https://x\.y/groups']
    groupPrefix: 'oidc:'
    algorithms: [EdDSA]
    leeway: 5s
    timeout: 4s
    limits: {cacheTTL: 1m, staleLimit: 12h}
  hub:
    sent: true
    timeout: 7s
    limits: {staleLimit: 1h}
`)
		want := groupsConfig{
			Limits: cacheLimits{CacheTTL: 30 * time.Second, StaleLimit: 5 * time.Minute}, Combine: groups.CombineFirst, Sources: []string{"hub", "oidc", "ldap"},
			LDAP: sourceConfig[ldap.Config]{ldap.Config{
				URLs: []string{"ldap://a", "ldap://b"}, StartTLS: true, CAFile: "/etc/elastichub/ca/ca.crt", BindDN: "cn=reader,dc=x", BindPasswordFile: "/etc/elastichub/ldap/password",
				UserBase: "ou=people,dc=x", UserAttribute: "sAMAccountName", UserFilter: "(objectClass=user)", GroupBase: "ou=groups,dc=x", GroupFilter: "(objectClass=group)",
				GroupMemberAttributes: []string{"member"}, NestedGroups: ldap.NestedInChain, NestingDepth: 5, Referrals: ldap.ReferralsIgnore,
				DialTimeout: time.Second, BindTimeout: time.Second, SearchTimeout: time.Second, PoolSize: 9,
			}, cacheLimits{10 * time.Second, 20 * time.Second}},
			OIDC: sourceConfig[openid.Config]{openid.Config{
				Issuer: "http://idp", AllowPlaintext: true, CAFile: "/ca", From: openid.FromAccessToken, Audience: "api", UsernameClaim: "sub",
				GroupsClaims: []string{"realm_access.roles", `https://x\.y/groups`}, GroupPrefix: "oidc:", Algorithms: []string{"EdDSA"},
				Leeway: 5 * time.Second, Timeout: 4 * time.Second,
			}, cacheLimits{time.Minute, 12 * time.Hour}},
			Hub: sourceConfig[hub.Config]{hub.Config{Sent: true, Timeout: 7 * time.Second}, cacheLimits{StaleLimit: time.Hour}},
		}
		assert.Equal(t, want, got.Groups)
	})
}
