package elastichub

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/test/helm"
)

// TestWhatKernelsMayReach: of both families of addresses, by the blocks of the policies of
// kernels and notebooks.
func TestWhatKernelsMayReach(t *testing.T) {
	t.Parallel()
	const (
		public4, private4, link4 = "93.184.215.14", "10.1.2.3", "169.254.169.254"
		public6, private6, link6 = "2606:2800:21f::1", "fd00:ec2::254", "fe80::1"
		own4, own6               = "100.64.0.1", "2001:db8:40::1"
		nat64, nat64Private      = "64:ff9b::5db8:d70e", "64:ff9b::a01:203"
	)
	own := `networkPolicy.egress.private=["2001:db8:40::/48","100.64.0.0/10"]`
	for name, row := range map[string]struct {
		set  []string
		want []string
	}{
		"by itself":  {nil, []string{public4, public6, own4, own6, nat64}},
		"own blocks": {[]string{own}, []string{public4, public6, nat64}},
		"private, too": {[]string{own, "networkPolicy.egress.privateAddresses=true"},
			[]string{public4, public6, private4, private6, own4, own6, nat64}},
		"private alone": {[]string{"networkPolicy.egress.privateAddresses=true", "networkPolicy.egress.internet=false"}, []string{private4, private6}},
		"a proxy alone": {[]string{"networkPolicy.egress.internet=false", `networkPolicy.egress.rules=[{"to":[{"ipBlock":{"cidr":"10.1.2.3/32"}}],"ports":[{"port":3128}]}]`},
			[]string{private4}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/smallest.yaml", "--show-only", "templates/networkpolicy.yaml"}
			for _, set := range row.set {
				args = append(args, "--set-json", set)
			}
			out, err := helm.Run(t, args...)
			require.NoError(t, err, out)
			found := 0
			for text := range strings.SplitSeq(out, "\n---\n") {
				var policy networkingv1.NetworkPolicy
				require.NoError(t, yaml.UnmarshalStrict([]byte(text), &policy))
				if !slices.Contains([]string{"elastichub-kernels", "elastichub-notebooks"}, policy.Name) {
					continue
				}
				found++
				var reached []string
				for _, address := range []string{public4, public6, private4, private6, link4, link6, own4, own6, nat64, nat64Private} {
					if reaches(t, policy, netip.MustParseAddr(address)) {
						reached = append(reached, address)
					}
				}
				assert.ElementsMatch(t, row.want, reached, policy.Name)
			}
			assert.Equal(t, 2, found)
		})
	}
	for _, wrong := range []string{`["10.0.0.0"]`, `["10.0.0.0/8/9"]`, `["hub/24"]`, `[8]`} {
		out, err := helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/smallest.yaml", "--set-json", "networkPolicy.egress.private="+wrong)
		assert.Error(t, err, wrong)
		assert.Contains(t, out, "/networkPolicy/egress/private", wrong)
	}
}

// reaches tells whether a policy lets an address be reached. As the API server, it takes no exception
// that is not within its block.
func reaches(t *testing.T, policy networkingv1.NetworkPolicy, address netip.Addr) bool {
	t.Helper()
	reached := false
	for _, rule := range policy.Spec.Egress {
		for _, peer := range rule.To {
			if peer.IPBlock == nil {
				continue
			}
			block := netip.MustParsePrefix(peer.IPBlock.CIDR)
			excepted := false
			for _, text := range peer.IPBlock.Except {
				except := netip.MustParsePrefix(text)
				require.Equal(t, except.Masked(), except, "%s is no block", text)
				require.True(t, block.Contains(except.Addr()) && except.Bits() > block.Bits(), "%s is not within %s", except, block)
				excepted = excepted || except.Contains(address)
			}
			reached = reached || block.Contains(address) && !excepted
		}
	}
	return reached
}

// TestTheProxyIsKnown to the service, which asks it for nothing of the cluster, and to what the
// service makes.
func TestTheProxyIsKnown(t *testing.T) {
	t.Parallel()
	render := func(file string) (map[string]string, map[string]any) {
		out, err := helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/"+file+".yaml")
		require.NoError(t, err, out)
		env, config := map[string]string{}, map[string]any{}
		for text := range strings.SplitSeq(out, "\n---\n") {
			var deployment appsv1.Deployment
			var parsed corev1.ConfigMap
			switch {
			case strings.Contains(text, "\nkind: Deployment\n"):
				require.NoError(t, yaml.UnmarshalStrict([]byte(text), &deployment))
				for _, v := range deployment.Spec.Template.Spec.Containers[0].Env {
					env[v.Name] = v.Value
				}
			case strings.Contains(text, "\n  config.yaml: "):
				require.NoError(t, yaml.UnmarshalStrict([]byte(text), &parsed))
				require.NoError(t, yaml.Unmarshal([]byte(parsed.Data["config.yaml"]), &config))
			}
		}
		return env, config
	}
	env, config := render("smallest")
	assert.NotContains(t, env, "NO_PROXY")
	assert.NotContains(t, config, "proxy")
	env, config = render("everything")
	assert.Equal(t, map[string]any{"http": "http://proxy.example.org:3128", "https": "http://proxy.example.org:3129", "noProxy": []any{".example.com", "10.0.0.0/8"}}, config["proxy"])
	for _, spelled := range []func(string) string{strings.ToUpper, strings.ToLower} {
		assert.Equal(t, "http://proxy.example.org:3128", env[spelled("http_proxy")])
		assert.Equal(t, "http://proxy.example.org:3129", env[spelled("https_proxy")])
		assert.Equal(t, "localhost,127.0.0.1,::1,.svc,.cluster.local,$(KUBERNETES_SERVICE_HOST),.example.com,10.0.0.0/8,hub,prometheus.monitoring", env[spelled("no_proxy")])
	}
	for _, wrong := range []string{"http=proxy:3128", "https=http://me:secret@proxy:3128", "http=http://proxy/x", "noProxy[0]=a b", "all=http://proxy"} {
		out, err := helm.Run(t, "template", "elastichub", ".", "--kube-version", "1.34", "--values", "testdata/smallest.yaml", "--set", "proxy."+wrong)
		assert.Error(t, err, wrong)
		assert.Contains(t, out, "/proxy", wrong)
	}
}
