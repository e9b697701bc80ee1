package demo

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// existing runs lines of shell with what existing.sh defines, on a real API server.
type existing struct {
	t        *testing.T
	variable []string
}

func newExisting(t *testing.T) existing {
	t.Helper()
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS is not set: a kube-apiserver is needed")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no kube-apiserver")
	}
	environment := &envtest.Environment{}
	_, err := environment.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, environment.Stop()) })
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, environment.KubeConfig, 0o600))
	// The clients are those of the assets, and need not be built.
	bin := filepath.Join(dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o755))
	require.NoError(t, os.Symlink(filepath.Join(assets, "kubectl"), filepath.Join(bin, "kubectl")))
	require.NoError(t, os.WriteFile(filepath.Join(bin, "localcluster"), []byte("#!/bin/sh\n"), 0o755))
	return existing{t, append(os.Environ(), "ELASTICHUB_CACHE="+dir, "ELASTICHUB_STATE="+dir, "DEMO_KUBECONFIG="+kubeconfig, "DEMO_NAMESPACE=demo")}
}

// sh is what the lines print, and whether they end well.
func (e existing) sh(lines string) (string, error) {
	e.t.Helper()
	cmd := exec.CommandContext(e.t.Context(), "bash", "-euo", "pipefail", "-c", ". ./tools.sh\n"+lines)
	cmd.Env = e.variable
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (e existing) must(lines string) string {
	e.t.Helper()
	out, err := e.sh(lines)
	require.NoError(e.t, err, out)
	return out
}

// TestWhatRunMakesOnAClusterThatExists: a namespace and kinds that are known again, and of
// others none.
func TestWhatRunMakesOnAClusterThatExists(t *testing.T) {
	e := newExisting(t)
	const ours = `"$KUBECTL" get customresourcedefinitions -l "$MADE_BY" -o name | wc -l`

	e.must(`"$KUBECTL" create namespace demo`)
	out, err := e.sh(`claim_namespace`)
	require.Error(t, err)
	assert.Contains(t, out, "the namespace demo was not made by make run")
	out, err = e.sh(`namespace_is_ours && echo ours`)
	require.Error(t, err, "another one is an error, and not a no")
	assert.NotContains(t, out, "ours\n")
	out, err = e.sh(`KUBECONFIG=/nowhere; if namespace_is_ours; then echo ours; else echo none; fi`)
	require.Error(t, err, "a cluster that does not answer is no cluster without the namespace")
	assert.NotContains(t, out, "none\n")
	for range 2 {
		assert.Equal(t, "1", e.must(`NAMESPACE=other; claim_namespace; "$KUBECTL" get namespaces -l "$MADE_BY" -o name | wc -l`))
	}

	assert.Equal(t, "6", e.must("bring_kinds; bring_kinds; "+ours))
	const gateway = `printf 'apiVersion: kubeflow.tkestack.io/v1alpha1\nkind: JupyterGateway\nmetadata: {name: g, namespace: default}\n'`
	e.must(`"$KUBECTL" wait --for=condition=Established customresourcedefinitions --all --timeout=30s; ` + gateway + ` | "$KUBECTL" create -f -`)
	assert.Equal(t, "the kinds stay, since others of this cluster use them\n6", e.must("remove_kinds; "+ours))
	e.must(gateway + ` | "$KUBECTL" delete -f -`)
	const service = `"$KUBECTL" -n default create deployment elastichub --image=a`
	e.must(service + `; "$KUBECTL" -n default label deployment elastichub app.kubernetes.io/name=elastichub app.kubernetes.io/component=service`)
	assert.Equal(t, "the kinds stay, since others of this cluster use them\n6", e.must("remove_kinds; "+ours))
	e.must(`"$KUBECTL" -n default delete deployment elastichub`)
	assert.Equal(t, "0", e.must("remove_kinds; "+ours))

	e.must(`"$KUBECTL" create -f ../elastichub/crds/kubeflow.tkestack.io_jupytergateways.yaml`)
	assert.Equal(t, "5", e.must("bring_kinds; "+ours), "one is somebody else's")
	assert.Equal(t, "customresourcedefinition.apiextensions.k8s.io/jupytergateways.kubeflow.tkestack.io",
		e.must(`remove_kinds; "$KUBECTL" get customresourcedefinitions -o name`))
}
