package main

import (
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/groups"
)

const minimal = `
namespace: hub
groups:
  cacheTTL: 30s
  ldap:
    urls: [ldap://directory:389]
    startTLS: false
    allowPlaintext: true
    userBase: ou=people,dc=example,dc=org
notebooks: {image: notebook:1}
kernels: {serviceImage: elastichub:1, image: kernel:1}
`

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestConfigFileAndEnvironmentOverDefaults(t *testing.T) {
	config, err := loadServeConfig(writeConfig(t, minimal), []string{
		"ELASTICHUB_GROUPS_STALELIMIT=5m",
		"ELASTICHUB_KERNELS_CLUSTERCAPACITY=false",
		"ELASTICHUB_POLICIES_MATCHING=union",
		"ELASTICHUB_GROUPS_LDAP_URLS=ldap://a,ldap://b",
		"PATH=/bin",
	})
	require.NoError(t, err)

	want := defaultServeConfig()
	want.Namespace = "hub"
	want.Groups.Limits.CacheTTL = 30 * time.Second
	want.Groups.Limits.StaleLimit = 5 * time.Minute
	want.Groups.LDAP.Config.URLs = []string{"ldap://a", "ldap://b"}
	want.Groups.LDAP.Config.StartTLS = false
	want.Groups.LDAP.Config.AllowPlaintext = true
	want.Groups.LDAP.Config.UserBase = "ou=people,dc=example,dc=org"
	want.Notebooks.Image = "notebook:1"
	want.Kernels.ServiceImage = "elastichub:1"
	want.Kernels.Image = "kernel:1"
	want.Kernels.ClusterCapacity = false
	want.Policies.Matching = groups.MatchUnion
	assert.Equal(t, want, config)
}

// TestWithoutHubNothingIsRequiredForIt: neither groups nor a token.
func TestWithoutHubNothingIsRequiredForIt(t *testing.T) {
	config, err := loadServeConfig(writeConfig(t, without+"hubAPI: {tokenFile: ''}\n"), nil)
	require.NoError(t, err)
	assert.Empty(t, config.Groups.configured())
	config.Signing.SeedFile = writeConfig(t, base64.StdEncoding.EncodeToString(make([]byte, 32)))
	read, err := openSecrets(config, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	assert.Nil(t, read.hubTokens())
	config.HubAPI.TokenFile = "/does/not/exist"
	_, err = openSecrets(config, slog.New(slog.DiscardHandler))
	assert.ErrorContains(t, err, "hubAPI.tokenFile: ")
}

// Empty means no remote kernels; only what is not said at all is the default.
func TestEmptyGatewayIsNotTheDefault(t *testing.T) {
	for name, test := range map[string]struct {
		text    string
		environ []string
		want    string
	}{
		"not said":           {minimal, nil, "default"},
		"empty in the file":  {strings.Replace(minimal, "notebook:1", `notebook:1, gateway: ""`, 1), nil, ""},
		"of the demo":        {minimal, []string{"ELASTICHUB_DEMO_NAMESPACE=n", "ELASTICHUB_DEMO_PASSWORD=p"}, "default"},
		"empty variable":     {minimal, []string{"ELASTICHUB_NOTEBOOKS_GATEWAY="}, ""},
		"variable over file": {strings.Replace(minimal, "notebook:1", `notebook:1, gateway: ""`, 1), []string{"ELASTICHUB_NOTEBOOKS_GATEWAY=gpus"}, "gpus"},
	} {
		config, err := loadServeConfig(writeConfig(t, test.text), test.environ)
		require.NoError(t, err, name)
		assert.Equal(t, test.want, config.Notebooks.Gateway, name)
	}
}

func TestConfigRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for name, test := range map[string]struct {
		text    string
		environ []string
		want    []string
	}{
		"unknown key":         {minimal + "colour: red\n", nil, []string{"colour"}},
		"unknown nested key":  {minimal + "log: {level: info, colour: red}\n", nil, []string{"colour"}},
		"unknown variable":    {minimal, []string{"ELASTICHUB_COLOUR=red"}, []string{"ELASTICHUB_COLOUR"}},
		"malformed variable":  {minimal, []string{"ELASTICHUB_KERNELS_IDLETIMEOUTSECONDS=soon"}, []string{"IdleTimeoutSeconds"}},
		"a token for kernels": {minimal, []string{"ELASTICHUB_KERNELS_HUBENVIRONMENT=MLFLOW_TRACKING_URI,JUPYTERHUB_API_TOKEN"}, []string{`kernels.hubEnvironment: "JUPYTERHUB_API_TOKEN"`}},
		"negative run time":   {minimal, []string{"ELASTICHUB_KERNELS_MAXRUNSECONDS=-1"}, []string{"kernels.maxRunSeconds: -1"}},
		"states kept": {minimal, []string{"ELASTICHUB_KERNELS_KEEP_ENABLED=true", "ELASTICHUB_KERNELS_KEEP_MAXBYTES=much", "ELASTICHUB_KERNELS_KEEP_TTL=0s"},
			[]string{"kernels.keep.seedFile", `kernels.keep.maxBytes: "much"`, "kernels.keep.ttl: 0s"}},
		"a proxy with a password": {minimal + "proxy: {http: 'http://me:secret@proxy', noProxy: ['a,b']}\n", []string{"ELASTICHUB_PROXY_HTTPS=proxy:3128"},
			[]string{"proxy.http: has a name or a password in it", "proxy.https: not like", "proxy.noProxy[0]:"}},
		"traces to nowhere": {minimal + "tracing: {endpoint: 'collector:4317'}\n", []string{"ELASTICHUB_TRACING_SAMPLEPERCENT=200"},
			[]string{"tracing.endpoint: must be", "tracing.samplePercent: 200"}},
		"more than a GPU": {minimal, []string{"ELASTICHUB_KERNELS_BUSYGPU=101"}, []string{"kernels.busyGPU: 101"}},
		"a pool of nodes": {strings.Replace(minimal, "kernel:1", "kernel:1, nodePools: [{name: a, labels: [{key: a.b/c, value: d}], resources: [{name: nvidia.com/gpu, count: 0}], maxNodes: 1}]", 1),
			[]string{"ELASTICHUB_KERNELS_CLUSTERCAPACITY=false"}, []string{"kernels.nodePools[0].resources[nvidia.com/gpu]: 0", "kernels.nodePools: needs kernels.clusterCapacity"}},
		"no Prometheus that is required": {minimal + "prometheus: {required: true, window: 1s, timeout: 1m, matchLabels: [{name: pod, value: a}]}\n", nil,
			[]string{"prometheus.url: required", "prometheus.window: 1s", "prometheus.timeout: 1m0s", `prometheus.matchLabels: "pod"`}},
		"a Prometheus that is none": {minimal + "prometheus: {url: 'ftp://prometheus', keepWhile: up}\n", []string{"ELASTICHUB_NOTEBOOKS_METRICSSECRET=A_"},
			[]string{"prometheus.url: not like", "prometheus.keepWhile: without $pod", "notebooks.metricsSecret"}},
		"duration, no unit":   {minimal, []string{"ELASTICHUB_GROUPS_CACHETTL=30"}, []string{"30"}},
		"not YAML":            {"{", nil, []string{"configuration file"}},
		"matching":            {minimal + "policies: {matching: sum}\n", nil, []string{`policies.matching: "sum" is not one of priority, union`}},
		"adopt homes":         {minimal, []string{"ELASTICHUB_NOTEBOOKS_ADOPTHOMESBEFORE=yesterday"}, []string{`notebooks.adoptHomesBefore: "yesterday"`}},
		"all faults together": {"log: {level: loud}\n", nil, []string{"log.level", "namespace", "notebooks.image", "kernels.image"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadServeConfig(writeConfig(t, test.text), test.environ)
			require.Error(t, err)
			for _, part := range test.want {
				assert.ErrorContains(t, err, part)
			}
		})
	}
}
