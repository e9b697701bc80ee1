package removal

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/test/helm"
)

// TestEveryObjectOfTheChartIsKnown: what the chart has is looked for by kind, label and, in no
// namespace, name; Secrets, hooks' objects and the kinds are no part of the release.
func TestEveryObjectOfTheChartIsKnown(t *testing.T) {
	t.Parallel()
	chart := filepath.Join("..", "charts", "elastichub")
	site := Site{Namespace: "jupyterhub", Release: "a-release-whose-name-is-longer-than-40-charac"}
	for file, more := range map[string]string{"everything": "watchNamespaces=all", "smallest": "watchNamespaces={team-a}"} {
		out, err := helm.Run(t, "template", site.Release, chart, "--namespace", site.Namespace, "--kube-version", "1.34", "--no-hooks",
			"--api-versions", "monitoring.coreos.com/v1/ServiceMonitor", "--values", filepath.Join(chart, "testdata", file+".yaml"), "--set", more)
		require.NoError(t, err, out)
		objects := 0
		for text := range strings.SplitSeq(out, "\n---\n") {
			var o metav1.PartialObjectMetadata
			require.NoError(t, yaml.Unmarshal([]byte(text), &o))
			if o.Kind == "" {
				continue
			}
			objects++
			at := slices.IndexFunc(chartKinds, func(k kind) bool { return k.GroupVersionKind == o.GroupVersionKind() })
			if !assert.GreaterOrEqual(t, at, 0, "%s %s", o.Kind, o.Name) {
				continue
			}
			for key, value := range site.labels() {
				assert.Equal(t, value, o.Labels[key], "%s %s", o.Kind, o.Name)
			}
			if chartKinds[at].wide {
				assert.True(t, site.owns(o.Name), "%s %s", o.Kind, o.Name)
			}
		}
		assert.Greater(t, objects, 10)
	}
	for _, others := range []string{"jupyterhub-a-release-whose-name-is-longer-than-40-charactersome", "jupyterhub-elastichub", "a-jupyterhub-a-release-whose-name-is-longer-than-40"} {
		assert.False(t, site.owns(others), others)
	}
}
