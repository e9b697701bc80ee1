//go:build e2e

package faults

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/spawner/homes"
	"github.com/elastichub/elastichub/spawner/homes/archive"
	"github.com/elastichub/elastichub/test/docs"
)

// helm runs it in the demo's namespace.
func (d *Demo) helm(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // also at the end of a test
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(d.kubectl), "helm"), append([]string{"-n", d.Namespace}, args...)...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// TestARemovedReleaseHoldsNoGPU: the service is uninstalled by Helm, as docs/removal.md has it, while a
// GPU kernel runs a cell and another kernel has variables. GPUs are free within a minute, homes and Secrets are there,
// nothing of Helm's Job is left, and after an install both kernels come back, one with its variables.
func TestARemovedReleaseHoldsNoGPU(t *testing.T) {
	d := demo(t)
	blocks, _, err := docs.ReadPage("docs/removal.md")
	require.NoError(t, err)
	var typed []string
	for _, b := range blocks {
		if command, is := strings.CutPrefix(strings.TrimSpace(b.Text), "helm uninstall "); is {
			typed = strings.Fields(strings.ReplaceAll(command, " -n jupyterhub", ""))
		}
	}
	require.Equal(t, []string{"elastichub"}, typed)
	values := filepath.Join(t.TempDir(), "values.yaml")
	require.NoError(t, os.WriteFile(values, []byte(d.helm(t, "get", "values", "elastichub", "-o", "yaml")), 0o600))
	install := func() {
		d.helm(t, "upgrade", "--install", "elastichub", "../../charts/elastichub", "-f", values)
		d.must(t, "rollout", "status", "deployment/elastichub", "--timeout=60s")
	}
	t.Cleanup(install)

	s := d.notebook(t, "faults-removal", nil, "64Mi")
	_, idle := s.open(wire.SubprotocolV1)
	busy := d.start(t, "python-gpu")
	_, err = busy.Execute("print(6*7, flush=True); time.sleep(300)")
	require.NoError(t, err)
	reads(t, busy, "42", time.Minute)
	held, err := holders(d)
	require.NoError(t, err)
	require.Positive(t, held)
	kept := func() string {
		return d.must(t, "get", "secret/elastichub-signing", "secret/elastichub-keep", "secret/elastichub-hub-token", "persistentvolumeclaim/home-faults-removal", "-o", "jsonpath={.items[*].metadata.uid}")
	}
	before := kept()

	// the command says beforehand what stays, and changes nothing
	code, out, errs := binary(t)("uninstall", "-n", d.Namespace, "--dry-run")
	require.Zero(t, code, errs)
	assert.Contains(t, out, "JupyterKernel "+d.Namespace+"/"+idle.ID+" is parked (dry run)\n")
	assert.Contains(t, out, "PersistentVolumeClaim "+d.Namespace+"/home-faults-removal stays (dry run)")
	assert.Contains(t, out, "Deployment "+d.Namespace+"/elastichub is removed (dry run)\n")

	began := time.Now()
	d.helm(t, append([]string{"uninstall"}, typed...)...)
	held, err = holders(d)
	require.NoError(t, err)
	assert.Zero(t, held, "Pods that hold a GPU")
	t.Logf("uninstalled, and no GPU is held, after %.1f s", time.Since(began).Seconds())
	assert.Less(t, time.Since(began), time.Minute)
	assert.Equal(t, before, kept())
	assert.Empty(t, d.must(t, "get", "job,serviceaccount,role,rolebinding", "-l", "app.kubernetes.io/component=uninstall", "-o", "name"))
	assert.Empty(t, d.must(t, "get", "deployment", "elastichub", "--ignore-not-found", "-o", "name"))
	assert.NotEmpty(t, d.must(t, "get", "jupyterkernel", idle.ID, "-o", "name"))

	install()
	var now kernelStatus
	require.Eventually(t, func() bool {
		var k struct{ Status kernelStatus }
		out, err := d.Kubectl("get", "jupyterkernel", idle.ID, "-o", "json")
		if err != nil || json.Unmarshal([]byte(out), &k) != nil {
			return false
		}
		now = k.Status
		return now.Phase == "Parked"
	}, time.Minute, 250*time.Millisecond)
	assert.Equal(t, "whole", now.Kept.Outcome)
	idle.Close()
	require.Eventually(t, func() bool { return idle.Open(t.Context()) == nil }, time.Minute, time.Second)
	assert.Equal(t, "6\n", run(t, idle, "print(x)"))
	busy.Close()
	require.Eventually(t, func() bool { return busy.Open(t.Context()) == nil }, time.Minute, time.Second)
	assert.Equal(t, "42\n", run(t, busy, "print(6*7)"))
}

// TestHomesAreListed: by what the cluster tells, and in the service's Pod by who is there.
func TestHomesAreListed(t *testing.T) {
	d := demo(t)
	code, out, errs := binary(t)("homes", "-n", d.Namespace)
	require.Zero(t, code, errs)
	assert.Contains(t, out, "LAST USE")
	out = d.must(t, "exec", "deploy/elastichub", "--", "/elastichub", "homes", "--config", "/etc/elastichub/config.yaml")
	assert.Contains(t, out, "FATE")
	assert.NotContains(t, out, "Nobody can tell")
}

// TestAHomeIsArchived by the Job that the leader makes for it, run by the kubelet: as the home's user and
// without any rights, and read back; the home is as it was.
func TestAHomeIsArchived(t *testing.T) {
	d := demo(t)
	t.Cleanup(func() {
		d.must(t, "delete", "jobs", "-l", "app.kubernetes.io/component=home-archive", "--ignore-not-found", "--wait=false")
		d.must(t, "delete", "persistentvolumeclaim", "faults-archives", "--ignore-not-found", "--wait=false")
	})
	d.apply(t, `{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "faults-archives"},
		"spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "64Mi"}}}}`)
	s := d.notebook(t, "faults-archived", nil, "64Mi")
	d.must(t, "exec", s.ready().Metadata.Name, "--", "sh", "-ec", "echo hers > ~/own; ln -s /etc/passwd ~/out; mkfifo ~/fifo; truncate -s 1G ~/holes")
	d.must(t, "delete", "jupyternotebook", "faults-archived", "--wait=true")

	var claim corev1.PersistentVolumeClaim
	require.NoError(t, json.Unmarshal([]byte(d.must(t, "get", "persistentvolumeclaim", "home-faults-archived", "-o", "json")), &claim))
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, v1alpha1.LabelHubUsername, "ann")
	job := homes.JobFor(homes.Config{
		Namespace: d.Namespace, ArchiveClaim: "faults-archives",
		Image: d.must(t, "get", "deployment", "elastichub", "-o", "jsonpath={.spec.template.spec.containers[0].image}"),
	}, homes.Home{Claim: &claim}, time.Now())
	job.APIVersion, job.Kind = "batch/v1", "Job"
	raw, err := json.Marshal(job)
	require.NoError(t, err)
	d.apply(t, string(raw))
	d.must(t, "wait", "job/"+job.Name, "--for=condition=Complete", "--timeout=50s")
	told := d.must(t, "get", "pods", "-l", "batch.kubernetes.io/job-name="+job.Name,
		"-o", "jsonpath={.items[0].status.containerStatuses[0].state.terminated.message}")
	var result archive.Result
	require.NoError(t, json.Unmarshal([]byte(told), &result), told)
	assert.GreaterOrEqual(t, result.Entries, int64(5), told)
	assert.Zero(t, result.LeftOut)
	assert.Less(t, result.Size, int64(1<<20))
	assert.Contains(t, d.must(t, "logs", "job/"+job.Name), strings.TrimSpace(told))

	reader := d.notebook(t, "faults-archives", nil, "", map[string]any{"storage": map[string]any{"home": map[string]any{"claim": "faults-archives", "size": "64Mi"}}})
	out := d.must(t, "exec", reader.ready().Metadata.Name, "--", "sh", "-ec", "cd ~; ls *.partial 2>/dev/null || sha256sum -c "+result.File+".sha256")
	assert.Equal(t, result.File+": OK", strings.TrimSpace(out))
}
