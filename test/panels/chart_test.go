package panels

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// chart is where the chart is.
const chart = "../../charts/elastichub"

// rendered are the documents of the chart's monitoring for a namespace. Without Helm a test is
// skipped, and fails in CI.
func rendered(t *testing.T, namespace string) []string {
	t.Helper()
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS is not set: Helm is there")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set")
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(assets, "helm"), "template", "elastichub", chart, "--namespace", namespace, "--kube-version", "1.34",
		"--values", filepath.Join(chart, "testdata/everything.yaml"), "--set", "prometheusRule.queueSeconds=900", "--show-only", "templates/monitoring.yaml")
	cmd.Env = append(os.Environ(), "HELM_CONFIG_HOME="+t.TempDir(), "HELM_CACHE_HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return strings.Split(string(out), "\n---\n")
}
