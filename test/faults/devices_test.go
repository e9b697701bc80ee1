//go:build e2e

package faults

import (
	"bufio"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/test/client"
)

// claimedGPU is what the driver's DeviceClass answers for; no node names it.
const claimedGPU = "example.com/gpu"

// publishes has a driver publish two devices, which the scheduler allocates by claims,
// for the length of a test. It ends when nobody holds one: the kubelet asks it to let go.
func (d *Demo) publishes(t *testing.T) {
	t.Helper()
	driver := exec.Command("localcluster", "publish-devices", "--devices=2")
	out, err := driver.StdoutPipe()
	require.NoError(t, err)
	var log strings.Builder
	driver.Stderr = &log
	require.NoError(t, driver.Start())
	t.Cleanup(func() {
		assert.Eventually(t, func() bool { return d.must(t, "get", "resourceclaims", "-A", "-o", "name") == "" }, 2*time.Minute, 250*time.Millisecond, "claims that stay")
		assert.NoError(t, driver.Process.Signal(syscall.SIGINT))
		assert.NoError(t, driver.Wait(), log.String())
		assert.Empty(t, d.must(t, "get", "resourceslices", "-o", "name"))
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, log.String())
	require.Equal(t, "published 2 devices\n", line)
}

// claims has somebody who knows nothing of elastichub hold one of the devices in a Pod,
// by a claim of their own, until the function that it returns is called.
func (d *Demo) claims(t *testing.T) (end func()) {
	t.Helper()
	const namespace = "faults-claims"
	image := d.must(t, "get", "jupyterkernelspec", "python-gpu", "-o", "jsonpath={.spec.image}")
	d.apply(t, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"`+namespace+`"}}`)
	end = func() { d.must(t, "delete", "namespace", namespace, "--ignore-not-found", "--timeout=100s") }
	t.Cleanup(end)
	d.applyIn(t, namespace, `{"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaim","metadata":{"name":"training"},
		"spec":{"devices":{"requests":[{"name":"gpu","exactly":{"deviceClassName":"gpu.elastichub.io"}}]}}}`)
	d.applyIn(t, namespace, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"training"},"spec":{"terminationGracePeriodSeconds":0,
		"resourceClaims":[{"name":"gpu","resourceClaimName":"training"}],
		"containers":[{"name":"training","image":"`+image+`","command":["sleep","600"],"resources":{"claims":[{"name":"gpu"}]}}]}}`)
	d.must(t, "wait", "-n", namespace, "pod/training", "--for=condition=Ready", "--timeout=60s")
	return end
}

// TestDevicesByClaimsAreLent: they are counted like those that nodes name, each once,
// whether a kernel has it or somebody else by a claim of their own.
func TestDevicesByClaimsAreLent(t *testing.T) {
	d := demo(t)
	d.publishes(t)
	d.lends(t, "python-claimed", claimedGPU, 8)
	shutDown := func(k *client.Kernel) {
		t.Helper()
		k.Close()
		d.must(t, "delete", "jupyterkernel", k.ID, "--wait=false")
	}
	all := "All 2 " + claimedGPU + " of the cluster are in use."

	first := d.opens(t, "python-claimed")
	reads(t, first, hasRun, time.Minute)
	second := d.opens(t, "python-claimed") // what the first was given is counted once
	reads(t, second, hasRun, time.Minute)
	third := d.opens(t, "python-claimed")
	reads(t, third, all, 20*time.Second)
	assert.Equal(t, []string{"Ready", "Ready", "Queued"}, []string{d.phase(t, first), d.phase(t, second), d.phase(t, third)})
	claim := d.must(t, "get", "pod", d.podOf(t, first), "-o", "jsonpath={.status.extendedResourceClaimStatus.resourceClaimName}")
	assert.NotEmpty(t, claim, "the scheduler has made a claim")

	shutDown(first)
	reads(t, third, hasRun, time.Minute)
	shutDown(second)
	end := d.claims(t)
	fourth := d.opens(t, "python-claimed")
	reads(t, fourth, all, 20*time.Second)
	assert.Equal(t, []string{"Ready", "Queued"}, []string{d.phase(t, third), d.phase(t, fourth)})
	assert.Empty(t, d.must(t, "get", "pods", "-l", "elastichub.io/kernel="+fourth.ID, "-o", "name"), "it is not admitted over what others hold")
	end()
	reads(t, fourth, hasRun, time.Minute)
}
