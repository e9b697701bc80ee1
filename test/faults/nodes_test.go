//go:build e2e && nodes

package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/client"
)

// Tests that need two nodes, which `make nodes-test` sees to. The first has the GPUs.

const (
	firstNode, secondNode = "localcluster", "localcluster-2"

	noRoom = "No node can take the kernel's Pod"
)

// cordon keeps new Pods from a node for a while.
func (d *Demo) cordon(t *testing.T, node string) (uncordon func()) {
	t.Helper()
	d.must(t, "cordon", node)
	uncordon = func() { d.must(t, "uncordon", node) }
	t.Cleanup(uncordon)
	return uncordon
}

func (d *Demo) nodeOf(t *testing.T, pod string) string {
	t.Helper()
	return d.must(t, "get", "pod", pod, "-o", "jsonpath={.spec.nodeName}")
}

// fill leaves room for so many Pods of 50m CPU on the second node.
func (d *Demo) fill(t *testing.T, pods int64) (empty func()) {
	t.Helper()
	free := d.freeCPU(t, secondNode) - 50*pods
	require.Positive(t, free)
	object, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "faults-filler"},
		"spec": map[string]any{
			"nodeSelector": map[string]string{"kubernetes.io/hostname": secondNode}, "terminationGracePeriodSeconds": 0,
			"securityContext": map[string]any{"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": map[string]string{"type": "RuntimeDefault"}},
			"containers": []any{map[string]any{
				"name": "main", "image": d.must(t, "get", "jupyterkernelspec", "python-cpu", "-o", "jsonpath={.spec.image}"),
				"command": []string{"sleep", "600"}, "resources": map[string]any{"requests": map[string]string{"cpu": fmt.Sprint(free) + "m"}},
				"securityContext": map[string]any{"allowPrivilegeEscalation": false, "capabilities": map[string]any{"drop": []string{"ALL"}}},
			}},
		},
	})
	require.NoError(t, err)
	empty = func() { d.must(t, "delete", "pod", "faults-filler", "--ignore-not-found", "--wait=true") }
	t.Cleanup(empty)
	d.apply(t, string(object))
	d.must(t, "wait", "pod/faults-filler", "--for=condition=Ready", "--timeout=60s")
	return empty
}

// freeCPU is what the Pods of a node leave of its CPU, in thousandths.
func (d *Demo) freeCPU(t *testing.T, node string) int64 {
	t.Helper()
	var at struct {
		Status struct{ Allocatable struct{ CPU string } }
	}
	require.NoError(t, json.Unmarshal([]byte(d.must(t, "get", "node", node, "-o", "json")), &at))
	free := thousandths(t, at.Status.Allocatable.CPU)
	asked := d.must(t, "get", "pods", "-A", "--field-selector=spec.nodeName="+node+",status.phase!=Succeeded,status.phase!=Failed",
		"-o", "jsonpath={.items[*].spec.containers[*].resources.requests.cpu} {.items[*].spec.initContainers[?(@.restartPolicy==\"Always\")].resources.requests.cpu}")
	for _, cpu := range strings.Fields(asked) {
		free -= thousandths(t, cpu)
	}
	return free
}

func thousandths(t *testing.T, cpu string) int64 {
	t.Helper()
	quantity, err := resource.ParseQuantity(cpu)
	require.NoError(t, err)
	return quantity.MilliValue()
}

// onSecond is a notebook whose Pod is on the second node, with a home like that.
func (d *Demo) onSecond(t *testing.T, name string, home map[string]any, more map[string]any) *server {
	t.Helper()
	home["size"] = "64Mi"
	uncordon := d.cordon(t, firstNode)
	s := d.notebook(t, name, nil, "64Mi", map[string]any{"storage": map[string]any{"home": home}}, more)
	uncordon()
	require.Equal(t, secondNode, d.nodeOf(t, s.ready().Metadata.Name))
	return s
}

// kernel opens a session with a kernel and sends it a cell, without waiting for either.
func (s *server) kernel(path, name, code string) *client.Kernel {
	s.t.Helper()
	var made session
	status, err := s.Call(s.t.Context(), "POST", "/api/sessions",
		map[string]any{"path": path, "name": path, "type": "notebook", "kernel": map[string]string{"name": name}}, &made)
	require.NoError(s.t, err)
	require.Equal(s.t, 201, status)
	k := &client.Kernel{Gateway: s.Gateway, ID: made.Kernel.ID, Session: uuid.NewString(), Subprotocol: wire.SubprotocolV1, Patience: 90 * time.Second}
	require.NoError(s.t, k.Open(s.t.Context()))
	s.t.Cleanup(k.Close)
	_, err = k.Execute(code)
	require.NoError(s.t, err)
	return k
}

// startable is what the condition of a kernel that does not start says.
func (d *Demo) startable(t *testing.T, k *client.Kernel) string {
	t.Helper()
	return d.must(t, "get", "jupyterkernel", k.ID, "-o", `jsonpath={range .status.conditions[?(@.type=="Startable")]}{.status}: {.message}{end}`)
}

// TestNodesKeepAHomeAndItsKernelsTogether: a home that can be attached to either node, as a
// cloud's disk, is in use on the node that has less room.
func TestNodesKeepAHomeAndItsKernelsTogether(t *testing.T) {
	d := demo(t)
	d.keepReady(t, 0)
	disk, err := os.MkdirTemp("", "faults-disk-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(disk)) })
	require.NoError(t, os.Chmod(disk, 0o777))
	t.Cleanup(func() {
		d.must(t, "delete", "storageclass/faults-disk", "persistentvolume/faults-disk", "--ignore-not-found", "--wait=false")
	})
	d.apply(t, `{"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","metadata":{"name":"faults-disk"},
		"provisioner":"kubernetes.io/no-provisioner","volumeBindingMode":"WaitForFirstConsumer"}`)
	d.apply(t, `{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"faults-disk"},"spec":{
		"accessModes":["ReadWriteOnce"],"capacity":{"storage":"64Mi"},"storageClassName":"faults-disk","local":{"path":"`+disk+`"},
		"persistentVolumeReclaimPolicy":"Retain",
		"nodeAffinity":{"required":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"kubernetes.io/hostname","operator":"Exists"}]}]}}}}`)
	s := d.onSecond(t, "faults-together", map[string]any{"storageClassName": "faults-disk"}, nil)
	d.fill(t, 4)
	require.Less(t, d.freeCPU(t, secondNode), d.freeCPU(t, firstNode), "or the scheduler would choose it anyway")
	_, k := s.open(wire.SubprotocolV1)
	assert.Equal(t, secondNode, d.nodeOf(t, d.podOf(t, k)))
}

// TestNodesSayWhyAKernelCannotFollowItsHome: the home's node is full, or has no GPU.
func TestNodesSayWhyAKernelCannotFollowItsHome(t *testing.T) {
	d := demo(t)
	d.keepReady(t, 0)
	s := d.onSecond(t, "faults-apart", map[string]any{}, nil)

	t.Run("full", func(t *testing.T) {
		empty := d.fill(t, 0)
		k := s.kernel("full.ipynb", "python-cpu", "print('ran')")
		reads(t, k, "Insufficient cpu", 10*time.Second)
		assert.Contains(t, d.startable(t, k), "False: "+noRoom)
		empty()
		reads(t, k, "ran", time.Minute)
		assert.Equal(t, secondNode, d.nodeOf(t, d.podOf(t, k)))
	})
	t.Run("no GPU", func(t *testing.T) {
		k := s.kernel("gpu.ipynb", "python-gpu", "print('ran')")
		reads(t, k, "didn't match PersistentVolume's node affinity", 10*time.Second)
		said := d.startable(t, k)
		assert.Contains(t, said, "False: "+noRoom)
		assert.Contains(t, said, "Insufficient nvidia.com/gpu")
	})
}

// TestNodesAreDrained: the node with a notebook's Pod and its kernel's, while a cell counts. The
// next server is on the other node, the kernel goes on where it is, and is parked at its
// idle limit, which ends the drain. Then it comes back beside its server, with what it had.
func TestNodesAreDrained(t *testing.T) {
	d := demo(t)
	d.keepReady(t, 0)
	s := d.onSecond(t, "faults-drain", map[string]any{"accessModes": []string{"ReadWriteMany"}},
		map[string]any{"kernelOptions": map[string]any{"idleTimeoutSeconds": 15}})
	uncordon := d.cordon(t, firstNode)
	made, k := s.open(wire.SubprotocolV1)
	uncordon()
	kernelPod, before := d.podOf(t, k), s.ready()
	require.Equal(t, secondNode, d.nodeOf(t, kernelPod))

	id, err := k.Execute(counting)
	require.NoError(t, err)
	seen := make(chan map[int]int, 1)
	go func() { seen <- d.watch(t, k, id) }()
	time.Sleep(2 * time.Second)
	t.Cleanup(func() { d.must(t, "uncordon", secondNode) })
	began := time.Now()
	drained := make(chan error, 1)
	go func() {
		_, err := d.Kubectl("drain", secondNode, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=110s")
		drained <- err
	}()
	assert.Equal(t, firstNode, d.nodeOf(t, s.ready(before).Metadata.Name))
	t.Logf("the next server answers after %.1f s", time.Since(began).Seconds())
	assert.Equal(t, []session{made}, s.sessions())
	assert.Len(t, <-seen, 250)
	assert.Equal(t, "6\n", run(t, k, "print(x)"))
	assert.Equal(t, kernelPod, d.podOf(t, k), "the same process")

	require.NoError(t, <-drained)
	t.Logf("the drain ends after %.1f s", time.Since(began).Seconds())
	assert.Equal(t, "Parked", d.kernelStatus(t, made.Kernel.ID).Phase)
	assert.Equal(t, []session{made}, s.sessions())
	assert.Equal(t, "6\n", run(t, k, "print(x)"), "its variables came along")
	assert.Equal(t, firstNode, d.nodeOf(t, d.podOf(t, k)))
}

// TestNodesThatAreCordonedAreNamed: the only node with GPUs takes no Pods for a while, and
// the queue says so.
func TestNodesThatAreCordonedAreNamed(t *testing.T) {
	d := demo(t)
	uncordon := d.cordon(t, firstNode)
	started, err := d.Start("python-gpu")
	require.NoError(t, err)
	k := d.Kernel(started.ID, wire.SubprotocolV1)
	t.Cleanup(func() {
		k.Close()
		d.must(t, "delete", "jupyterkernel", k.ID, "--ignore-not-found", "--wait=false")
	})
	require.NoError(t, k.Open(t.Context()))
	_, err = k.Execute("print('ran')")
	require.NoError(t, err)
	reads(t, k, "cordoned", 10*time.Second)
	assert.Equal(t, "Queued", d.kernelStatus(t, k.ID).Phase)
	uncordon()
	reads(t, k, "ran", time.Minute)
}
