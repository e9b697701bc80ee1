package podrules

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
)

const never = "localhost,127.0.0.1,::1,.svc,.cluster.local"

// TestAProxyIsNotAskedForTheCluster, whoever has named it.
func TestAProxyIsNotAskedForTheCluster(t *testing.T) {
	t.Parallel()
	ours := Proxy{HTTP: "http://proxy:3128", HTTPS: "http://proxy:3129", NoProxy: []string{".example.org"}}
	from := []corev1.EnvVar{{Name: "HTTPS_PROXY", ValueFrom: &corev1.EnvVarSource{}}}
	both := func(name, value string) map[string]string {
		return map[string]string{"HTTP_PROXY": name, "http_proxy": name, "HTTPS_PROXY": "http://proxy:3129", "https_proxy": "http://proxy:3129", "NO_PROXY": value, "no_proxy": value}
	}
	for name, row := range map[string]struct {
		proxy  Proxy
		env    map[string]string
		others []corev1.EnvVar
		want   map[string]string
	}{
		"none":    {Proxy{}, map[string]string{"NO_PROXY": "a", "A": "$(B)"}, nil, map[string]string{"NO_PROXY": "a", "A": "$(B)"}},
		"nothing": {Proxy{}, nil, nil, map[string]string{}},
		"ours":    {ours, nil, nil, both("http://proxy:3128", ".example.org,"+never+",hub")},
		"in lower case": {Proxy{}, map[string]string{"https_proxy": "http://p"}, nil,
			map[string]string{"https_proxy": "http://p", "NO_PROXY": never + ",hub", "no_proxy": never + ",hub"}},
		"for all": {Proxy{}, map[string]string{"ALL_PROXY": "socks5://p"}, nil,
			map[string]string{"ALL_PROXY": "socks5://p", "NO_PROXY": never + ",hub", "no_proxy": never + ",hub"}},
		"both lists count, once": {Proxy{}, map[string]string{"HTTP_PROXY": "http://p", "NO_PROXY": "a, .svc,$x", "no_proxy": "b,a,"}, nil,
			map[string]string{"HTTP_PROXY": "http://p", "NO_PROXY": "a,.svc,$x,b,localhost,127.0.0.1,::1,.cluster.local,hub", "no_proxy": "a,.svc,$x,b,localhost,127.0.0.1,::1,.cluster.local,hub"}},
		"for nothing":  {ours, map[string]string{"no_proxy": "*"}, nil, both("http://proxy:3128", "*")},
		"switched off": {Proxy{HTTP: "http://proxy:3128"}, map[string]string{"http_proxy": ""}, nil, map[string]string{"http_proxy": ""}},
		"theirs": {Proxy{HTTP: "http://proxy:3128"}, map[string]string{"http_proxy": "http://p"}, nil,
			map[string]string{"http_proxy": "http://p", "NO_PROXY": never + ",hub", "no_proxy": never + ",hub"}},
		"in a Secret": {Proxy{}, nil, from, map[string]string{"NO_PROXY": never + ",hub", "no_proxy": never + ",hub"}},
		"the list is in a Secret": {Proxy{}, map[string]string{"HTTP_PROXY": "http://p"}, []corev1.EnvVar{{Name: "no_proxy", ValueFrom: &corev1.EnvVarSource{}}},
			map[string]string{"HTTP_PROXY": "http://p"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, row.want, row.proxy.CompleteValues(row.env, row.others, "hub"))
		})
	}
	vars := []corev1.EnvVar{{Name: "HTTP_PROXY", Value: "http://p"}, {Name: "NO_PROXY", Value: "$(OWN)"}}
	assert.Equal(t, []corev1.EnvVar{{Name: "HTTP_PROXY", Value: "http://p"}, {Name: "NO_PROXY", Value: "$(OWN)," + never}, {Name: "no_proxy", Value: "$(OWN)," + never}},
		Proxy{}.Complete(vars), "references stay")
	assert.Equal(t, "$(OWN)", vars[1].Value, "what was given is not written to")
}

func TestProxiesAreChecked(t *testing.T) {
	t.Parallel()
	for _, good := range []Proxy{{}, {HTTP: "http://proxy"}, {HTTPS: "https://[fd00::1]:3128/", NoProxy: []string{".a", "10.0.0.0/8"}}} {
		assert.NoError(t, good.Validate(), good)
	}
	for _, bad := range []Proxy{{HTTP: "proxy:3128"}, {HTTP: "socks5://proxy"}, {HTTPS: "http://proxy/path"}, {HTTPS: "http://:3128"}, {NoProxy: []string{"a"}}, {HTTP: "http://a", NoProxy: []string{"a,b"}}, {HTTP: "http://a", NoProxy: []string{""}}} {
		assert.Error(t, bad.Validate(), bad)
	}
	err := Proxy{HTTP: "http://me:geheim@proxy", HTTPS: "geheim"}.Validate()
	assert.ErrorContains(t, err, "http: has a name or a password in it")
	assert.ErrorContains(t, err, "https: not like")
	assert.NotContains(t, err.Error(), "geheim")
}

func TestWithNoProxy(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"A"}, WithNoProxy([]string{"A"}))
	assert.Equal(t, []string{"A", "https_proxy", "no_proxy", "NO_PROXY"}, WithNoProxy([]string{"A", "https_proxy", "no_proxy"}))
}
