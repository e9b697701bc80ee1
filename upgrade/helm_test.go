package upgrade

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	chart "github.com/elastichub/elastichub/charts/elastichub"
	"github.com/elastichub/elastichub/skew"
)

// former unpacks the release before this one.
func former(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "tar", "-xJf", "../test/upgrade/elastichub-0.1.0.tar.xz", "-C", directory).CombinedOutput()
	require.NoError(t, err, string(out))
	return filepath.Join(directory, "elastichub-0.1.0")
}

// TestHelmRollsAndGoesBack: Helm brings the release before to this one and back again, on a real
// API server. The Secrets that the former chart has made keep their values on both ways, and one
// that was rotated is not brought back.
func TestHelmRollsAndGoesBack(t *testing.T) {
	t.Parallel()
	c, environment := apiServer(t)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, environment.KubeConfig, 0o600))
	program := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "helm")
	before := former(t)
	helm := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), program, append(args, "--namespace", ns, "--kubeconfig", kubeconfig, "--no-hooks")...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	given := func(tree, release string) []string {
		return []string{
			filepath.Join(tree, "charts/elastichub"), "--values", filepath.Join(tree, "charts/demo/elastichub-values.yaml"), "--values", "testdata/images.yaml",
			"--set", "image.tag=" + release,
		}
	}
	out, err := helm(append([]string{"install", "elastichub", "--create-namespace"}, given(before, "0.1.0")...)...)
	require.NoError(t, err, out)
	secrets := func() map[string]map[string][]byte {
		all := map[string]map[string][]byte{}
		for _, name := range []string{"signing", "hub-token", "keep", "portal"} {
			s := &corev1.Secret{}
			require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "elastichub-" + name}, s))
			all[name] = s.Data
		}
		return all
	}
	made := secrets()
	service := func() *appsv1.Deployment {
		d := &appsv1.Deployment{}
		require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "elastichub"}, d))
		return d
	}

	var said bytes.Buffer
	u := &Upgrade{API: c, Namespace: ns, Release: "elastichub", Ours: skew.Release(), Kinds: chart.CRDs, Patience: 3 * time.Minute, Out: &said, Helm: &Helm{
		Program: program, Kubeconfig: kubeconfig, Namespace: ns, Release: "elastichub", Args: append(given("..", skew.Release()), "--no-hooks"), Out: &said,
	}}
	u.DryRun = true
	at := versions(t, c)
	require.NoError(t, u.Run(t.Context()), said.String())
	assert.Equal(t, at, versions(t, c), "a dry run writes nothing")
	assert.Contains(t, said.String(), "Helm rolls Deployment elastichub: "+program+" upgrade elastichub --namespace lab")
	assert.Contains(t, said.String(), "Kind jupyterkernels.kubeflow.tkestack.io gets ")

	u.DryRun = false
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { // what controllers would do
		defer close(ended)
		for ctx.Err() == nil {
			d := &appsv1.Deployment{}
			if c.Get(ctx, client.ObjectKey{Namespace: ns, Name: "elastichub"}, d) == nil && d.Status.ObservedGeneration < d.Generation {
				n := *d.Spec.Replicas
				d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
				_ = c.Status().Update(ctx, d)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	defer func() { stop(); <-ended }()
	said.Reset()
	require.NoError(t, u.Run(t.Context()), said.String())
	assert.Contains(t, said.String(), "Rolled out: service lab/elastichub\nelastichub "+skew.Release()+" runs")
	assert.Equal(t, skew.Release(), service().Labels[labelVersion])
	assert.Equal(t, made, secrets(), "after the upgrade")

	out, err = helm("rollback", "elastichub", "1")
	require.NoError(t, err, out)
	assert.Equal(t, "0.1.0", service().Labels[labelVersion])
	assert.Equal(t, made, secrets(), "after the roll-back")

	again := func() {
		t.Helper()
		out, err := helm(append([]string{"upgrade", "elastichub"}, given("..", skew.Release())...)...)
		require.NoError(t, err, out)
	}
	again()
	signing := &corev1.Secret{}
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "elastichub-signing"}, signing))
	delete(signing.Labels, labelChart) // as rotate does
	signing.Data["seed"], signing.Data["former"] = []byte("rotated"), signing.Data["seed"]
	require.NoError(t, c.Update(t.Context(), signing))
	rotated := secrets()
	again()
	assert.Equal(t, rotated, secrets(), "once more after the rotation")
	out, err = helm("rollback", "elastichub", "1")
	assert.Error(t, err, out)
	assert.Equal(t, rotated, secrets(), "Helm does not know the Secret any more, and writes over nothing")
	out, err = helm(append([]string{"upgrade", "elastichub", "--set", "crds.upgrade=false"}, given(before, "0.1.0")...)...)
	require.NoError(t, err, out)
	assert.Equal(t, "0.1.0", service().Labels[labelVersion])
	assert.Equal(t, rotated["signing"]["seed"], secrets()["signing"]["seed"], "the former chart takes the value of now")

	// What Helm refuses is no fault of ours, and is said.
	u.Helm.Args = append(given("..", skew.Release()), "--set", "replicas=many")
	plan, err := u.Helm.Plan(t.Context())
	require.NoError(t, err)
	assert.Contains(t, plan.against(skew.Release()), "Helm refuses: ")
	assert.Contains(t, plan.Refused, "replicas")
	u.Helm.Program = "no-such-helm"
	_, err = u.Helm.Plan(t.Context())
	require.ErrorContains(t, err, "Helm cannot be run")
}
