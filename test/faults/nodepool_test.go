//go:build e2e

package faults

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/client"
)

const burstGPU = "example.com/burst-gpu"

// configure has elastichub serve run with more lines in its configuration, behind one
// that is there, for the length of a test.
func (d *Demo) configure(t *testing.T, behind, lines string) {
	t.Helper()
	before := d.must(t, "get", "configmap", "elastichub", "-o", `jsonpath={.data.config\.yaml}`)
	require.Equal(t, 1, strings.Count(before, behind))
	set := func(config string) {
		patch, err := json.Marshal(map[string]any{"data": map[string]string{"config.yaml": config}})
		require.NoError(t, err)
		d.must(t, "patch", "configmap", "elastichub", "--type=merge", "-p", string(patch))
		d.must(t, "rollout", "restart", "deployment/elastichub")
		d.must(t, "rollout", "status", "deployment/elastichub", "--timeout=110s")
	}
	t.Cleanup(func() { set(before) })
	set(strings.Replace(before, behind, behind+lines, 1))
}

// lends has the gateway offer one more kernelspec, and its clients have it by one more policy.
func (d *Demo) lends(t *testing.T, kernelSpec, resource string, perUser int) {
	t.Helper()
	image := d.must(t, "get", "jupyterkernelspec", "python-gpu", "-o", "jsonpath={.spec.image}")
	d.apply(t, `{"apiVersion":"kubeflow.tkestack.io/v1alpha1","kind":"JupyterKernelSpec","metadata":{"name":"`+kernelSpec+`"},"spec":{
		"language":"python","displayName":"Burst","image":"`+image+`","resources":{"requests":{"cpu":"20m","memory":"64Mi"},"limits":{"cpu":"1","memory":"1Gi","`+resource+`":"1"}}}}`)
	d.apply(t, `{"apiVersion":"kubeflow.tkestack.io/v1alpha1","kind":"GroupPolicy","metadata":{"name":"faults-`+kernelSpec+`"},"spec":{
		"groups":["nobody-has-this-group"],"cpu":{"min":"1","max":"1"},"memory":{"min":"1Gi","max":"1Gi"},"images":[{"id":"none","image":"none"}],
		"kernels":{"allowed":["`+kernelSpec+`"],"gpuResource":"`+resource+`","gpusPerKernel":1,"gpusPerUser":`+fmt.Sprint(perUser)+`}}}`)
	kernels := d.must(t, "get", "jupytergateway", "default", "-o", "jsonpath={.spec.kernels}")
	clients := d.must(t, "get", "jupytergateway", "default", "-o", "jsonpath={.spec.auth.clients}")
	patch := func(path, value string) {
		d.must(t, "patch", "jupytergateway", "default", "--type=json", "-p", `[{"op":"replace","path":"`+path+`","value":`+value+`}]`)
	}
	t.Cleanup(func() {
		patch("/spec/kernels", kernels)
		patch("/spec/auth/clients", clients)
		d.must(t, "delete", "grouppolicy/faults-"+kernelSpec, "jupyterkernelspec/"+kernelSpec)
	})
	patch("/spec/kernels", strings.TrimSuffix(kernels, "]")+`,"`+kernelSpec+`"]`)
	patch("/spec/auth/clients/0/policies", `["faults-`+kernelSpec+`"]`)
	gateway := d.replicas(t, 1)[0]
	require.Eventually(t, func() bool { return offers(t, d, gateway, kernelSpec) }, time.Minute, 200*time.Millisecond)
}

// autoscaler says something of a Pod, as the cluster autoscaler does.
func (d *Demo) autoscaler(t *testing.T, pod, reason, message string) {
	t.Helper()
	uid := d.must(t, "get", "pod", pod, "-o", "jsonpath={.metadata.uid}")
	d.apply(t, `{"apiVersion":"v1","kind":"Event","metadata":{"name":"`+pod+`.`+strings.ToLower(reason)+`","namespace":"`+d.Namespace+`"},
		"involvedObject":{"kind":"Pod","name":"`+pod+`","namespace":"`+d.Namespace+`","uid":"`+uid+`","apiVersion":"v1"},
		"reason":"`+reason+`","message":"`+message+`","type":"Normal","source":{"component":"cluster-autoscaler"},"lastTimestamp":"`+time.Now().UTC().Format(time.RFC3339)+`"}`)
}

// reads waits until a cell shows a text.
func reads(t *testing.T, k *client.Kernel, text string, within time.Duration) {
	t.Helper()
	begun := time.Now()
	for {
		m, err := k.Next()
		require.NoError(t, err, text)
		if strings.Contains(string(m.Content), text) {
			break
		}
	}
	assert.Less(t, time.Since(begun), within, text)
}

// hasRun is what the cell of opens prints; nothing else says so, its code neither.
const hasRun = "the cell has run"

// opens starts a kernel in which a cell is to run, wherever it waits, for the length of a test.
func (d *Demo) opens(t *testing.T, kernelSpec string) *client.Kernel {
	t.Helper()
	started, err := d.Start(kernelSpec)
	require.NoError(t, err)
	k := d.Kernel(started.ID, wire.SubprotocolV1) // which has the notices of the gateway itself
	t.Cleanup(func() {
		k.Close()
		d.must(t, "delete", "jupyterkernel", k.ID, "--ignore-not-found", "--wait=false")
	})
	require.NoError(t, k.Open(t.Context()))
	_, err = k.Execute("print('the cell', 'has run')")
	require.NoError(t, err)
	return k
}

func (d *Demo) phase(t *testing.T, k *client.Kernel) string {
	t.Helper()
	return d.must(t, "get", "jupyterkernel", k.ID, "-o", "jsonpath={.status.phase}")
}

func (d *Demo) becomes(t *testing.T, k *client.Kernel, want string) {
	t.Helper()
	require.Eventually(t, func() bool { return d.phase(t, k) == want }, time.Minute, 250*time.Millisecond, want)
}

// TestAPoolGrowsFromZero: kernels are admitted up to what a pool may become, their Pods
// wait where an autoscaler sees them, the others queue, and the cell says what the
// autoscaler says. The test is the autoscaler: it adds devices to the node.
func TestAPoolGrowsFromZero(t *testing.T) {
	d := demo(t)
	node := d.must(t, "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
	d.configure(t, "  clusterCapacity: true\n", `  nodePools:
    - name: burst
      maxNodes: 2
      labels: [{key: faults/pool, value: burst}]
      resources: [{name: `+burstGPU+`, count: 1}]
`)
	d.lends(t, "python-burst", burstGPU, 8)
	first := d.opens(t, "python-burst")
	d.becomes(t, first, "Starting")
	second := d.opens(t, "python-burst")
	d.becomes(t, second, "Starting")
	third := d.opens(t, "python-burst")
	d.becomes(t, third, "Queued")
	reads(t, third, "All 2 "+burstGPU, 20*time.Second)
	assert.Equal(t, "Pending", d.must(t, "get", "pod", d.podOf(t, first), "-o", "jsonpath={.status.phase}"))

	d.autoscaler(t, d.podOf(t, first), "NotTriggerScaleUp", "pod did not trigger scale-up: 1 in backoff after failed scale-up")
	reads(t, first, "the cluster adds none: pod did not trigger scale-up: 1 in backoff", 10*time.Second)
	d.autoscaler(t, d.podOf(t, first), "TriggeredScaleUp", "pod triggered scale-up: burst 0 to 1")
	reads(t, first, "The cluster adds a node for the kernel", 10*time.Second)

	t.Cleanup(func() {
		d.must(t, "label", "node", node, "faults/pool-")
		d.must(t, "patch", "node", node, "--subresource=status", "--type=json", "-p", `[{"op":"remove","path":"/status/capacity/example.com~1burst-gpu"}]`)
	})
	d.must(t, "label", "node", node, "faults/pool=burst") // a node has its labels before its devices
	d.must(t, "patch", "node", node, "--subresource=status", "--type=json", "-p", `[{"op":"add","path":"/status/capacity/example.com~1burst-gpu","value":"1"}]`)
	reads(t, first, hasRun, time.Minute)
	d.becomes(t, first, "Ready")
	assert.Equal(t, []string{"Starting", "Queued"}, []string{d.phase(t, second), d.phase(t, third)}, "one node has come, one may, and no third")
}
