package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/removal"
)

// TestUninstallTakesNoContradictions: before it asks a cluster anything.
func TestUninstallTakesNoContradictions(t *testing.T) {
	for args, want := range map[string]string{
		"--patience=-1s":             "--patience is less than nothing",
		"--for-helm --everything":    "--for-helm goes with -n, --release and --patience alone",
		"--for-helm --dry-run":       "--for-helm goes with",
		"--for-helm --confirm hub":   "--for-helm goes with",
		"--everything --confirm a b": "unknown command",
	} {
		root := command()
		root.SetArgs(append([]string{"uninstall"}, strings.Fields(args)...))
		root.SetOut(&bytes.Buffer{})
		require.ErrorContains(t, root.Execute(), want, args)
	}
}

// TestAPlanIsTold: by kind and name, and why.
func TestAPlanIsTold(t *testing.T) {
	item := func(kind, namespace, name, why string) removal.Item {
		return removal.Item{Object: &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: kind}, ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}, Why: why}
	}
	var out bytes.Buffer
	writePlan(&out, removal.Plan{
		Kernels: []removal.Item{item("JupyterKernel", "hub", "k", "")}, Servers: []removal.Item{item("JupyterNotebook", "hub", "nb", "")},
		Goes: []removal.Item{item("ClusterRole", "", "hub-elastichub-capacity", "")}, Last: []removal.Item{item("Secret", "hub", "sh.helm.release.v1.elastichub.v1", "Helm's record")},
		Stays: []removal.Item{item("PersistentVolumeClaim", "hub", "claim-ann", "a home")}, Unknown: []string{"FlowSchemas cannot be listed: no"},
	})
	assert.Equal(t, `JupyterKernel hub/k is parked (dry run)
JupyterNotebook hub/nb is stopped (dry run)
ClusterRole hub-elastichub-capacity is removed (dry run)
Secret hub/sh.helm.release.v1.elastichub.v1 is removed (dry run): Helm's record
PersistentVolumeClaim hub/claim-ann stays (dry run): a home
FlowSchemas cannot be listed: no
The definitions of the kinds stay. Where no other release uses them, kubectl delete crd removes them, and every object of theirs in the cluster.
`, out.String())
}
