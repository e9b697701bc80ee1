package spawner

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// TestWhereAServerListens: where its Service finds it. Whoever has asked for an address has it.
func TestWhereAServerListens(t *testing.T) {
	t.Parallel()
	for told, want := range map[string]string{
		"http://0.0.0.0:8888/jhub/user/lea/": "http://[::]:8888/jhub/user/lea/",
		"https://0.0.0.0/user/le%20a/":       "https://[::]/user/le%20a/",
		"http://[::]:8888/user/lea/":         "http://[::]:8888/user/lea/",
		"http://127.0.0.1:8888/user/lea/":    "http://127.0.0.1:8888/user/lea/",
		"http://:8888/user/lea/":             "http://:8888/user/lea/",
		"http://0.0.0.0.example.org:8888/":   "http://0.0.0.0.example.org:8888/",
		"http://0.0.0.0:none/":               "http://0.0.0.0:none/",
		"":                                   "",
	} {
		req := testRequest("lea", "", "s1")
		req.Env = map[string]string{envServiceURL: told}
		for _, ipv6 := range []bool{true, false} {
			cfg := testConfig()
			cfg.IPv6 = ipv6
			got := string(envSecret(cfg, req, "nb").Data[envServiceURL])
			if ipv6 {
				assert.Equal(t, want, got)
			} else {
				assert.Equal(t, told, got)
			}
		}
		assert.Equal(t, told, req.Env[envServiceURL], "what was asked for is not written to")
	}
	cfg := testConfig()
	assert.Contains(t, standalone(cfg).Command, "--ip=0.0.0.0", "a changed one would restart every server")
	cfg.IPv6 = true
	assert.Contains(t, standalone(cfg).Command, "--ip=::")
}

// TestServersBehindAProxy reach Hub and gateway without it.
func TestServersBehindAProxy(t *testing.T) {
	t.Parallel()
	const direct = ".example.org,localhost,127.0.0.1,::1,.svc,.cluster.local"
	cfg := testConfig()
	req := testRequest("lea", "", "s1")
	req.Env = map[string]string{"HTTPS_PROXY": "http://theirs:1", envHubAPIURL: "http://hub:8081/jhub/hub/api"}
	data := envSecret(cfg, req, "nb").Data
	assert.Equal(t, "localhost,127.0.0.1,::1,.svc,.cluster.local,hub", string(data["NO_PROXY"]))
	cfg.Proxy = podrules.Proxy{HTTP: "http://proxy:3128", HTTPS: "http://proxy:3128", NoProxy: []string{".example.org"}}
	data = envSecret(cfg, req, "nb").Data
	assert.Equal(t, "http://proxy:3128", string(data["http_proxy"]))
	assert.Equal(t, "http://theirs:1", string(data["HTTPS_PROXY"]))
	assert.Equal(t, direct+",hub", string(data["no_proxy"]))
	req.Env[envHubAPIURL] = "http://[fd00::1]:8081/hub/api"
	assert.Equal(t, direct+",fd00::1", string(envSecret(cfg, req, "nb").Data["NO_PROXY"]))

	nb := &v1alpha1.JupyterNotebook{}
	c := corev1.Container{Name: "nb"}
	completeContainer(cfg, nb, &c, corev1.SecretKeySelector{})
	assert.Contains(t, c.Env, corev1.EnvVar{Name: "NO_PROXY", Value: direct})
	assert.Contains(t, c.Env, corev1.EnvVar{Name: "HTTPS_PROXY", Value: "http://proxy:3128"})
	nb.Spec.EnvSecret = "nb-env"
	c = corev1.Container{Name: "nb"}
	completeContainer(cfg, nb, &c, corev1.SecretKeySelector{})
	assert.NotContains(t, c.Env, corev1.EnvVar{Name: "NO_PROXY", Value: direct}, "the Secret has them")
}
