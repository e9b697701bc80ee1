// Package helm runs Helm in tests of charts.
package helm

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Run runs a command of Helm and returns what it printed. Without Helm a test
// is skipped, and fails in CI.
func Run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS is not set: Helm is there")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set")
	}
	cmd := exec.Command(filepath.Join(assets, "helm"), args...)
	cmd.Env = append(os.Environ(), "HELM_CONFIG_HOME="+t.TempDir(), "HELM_CACHE_HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	return string(out), err
}
