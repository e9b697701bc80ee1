//go:build smoke

package smoke

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/elastichub/elastichub/localcluster/internal/cluster"
	"github.com/elastichub/elastichub/localcluster/internal/images"
	"github.com/elastichub/elastichub/localcluster/internal/progress"
)

const (
	first, second = "localcluster", "localcluster-2"

	// echo answers with the address that a request comes from.
	echo = `exec python3 -c '
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.client_address[0].encode())
print("started", flush=True)
http.server.HTTPServer(("", 8080), Handler).serve_forever()'`

	fetch = `python3 -c 'import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())' `
)

// resize has the running cluster have that many nodes.
func (b bench) resize(t *testing.T, nodes int) {
	t.Helper()
	began := time.Now()
	require.NoError(t, cluster.Up(t.Context(), b.layout, cluster.Request{Nodes: &nodes}, progress.New(t.Output())))
	t.Logf("%d nodes after %s", nodes, time.Since(began).Round(100*time.Millisecond))
}

func (b bench) node(t *testing.T, name string) *corev1.Node {
	t.Helper()
	node, err := b.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	return node
}

// on is a Pod that only that node takes.
func (b bench) on(node, name, script string) *corev1.Pod {
	pod := b.pod(name, script, 0)
	pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
	return pod
}

// claims makes a claim and has the Pod mount it at /data.
func (b bench) claims(t *testing.T, pod *corev1.Pod, name string, mode corev1.PersistentVolumeAccessMode) {
	t.Helper()
	_, err := b.CoreV1().PersistentVolumeClaims(b.namespace).Create(t.Context(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{mode},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	mount(pod, name)
}

func mount(pod *corev1.Pod, claim string) {
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
	}}}
}

// TestSecondNode adds a node to the running cluster, uses it, and removes it.
func TestSecondNode(t *testing.T) {
	b := newBench(t)
	b.resize(t, 2)
	t.Run("with two", func(t *testing.T) { testTwoNodes(t, b) })

	b.resize(t, 1)
	_, err := b.CoreV1().Nodes().Get(t.Context(), second, metav1.GetOptions{})
	assert.True(t, apierrors.IsNotFound(err), "%v", err)
	_, err = b.CoreV1().Pods(b.namespace).Get(t.Context(), "far", metav1.GetOptions{})
	assert.True(t, apierrors.IsNotFound(err), "its Pods go with it: %v", err)
	links, err := net.Interfaces()
	require.NoError(t, err)
	for _, link := range links {
		assert.NotEqual(t, "elastichub-n2", link.Name)
	}
	alone := b.node(t, first).Status
	assert.Equal(t, alone.Capacity.Cpu().MilliValue(), alone.Allocatable.Cpu().MilliValue(), "it has the whole machine again")
	status, err := b.layout.Status(t.Context())
	require.NoError(t, err)
	assert.Empty(t, status.Faults())
	assert.True(t, running(b.await(t, "near", "goes on", running)))
}

func testTwoNodes(t *testing.T, b bench) {
	ctx := t.Context()
	cpus := resource.Quantity{}
	for _, name := range []string{first, second} {
		cpus.Add(*b.node(t, name).Status.Allocatable.Cpu())
	}
	assert.LessOrEqual(t, cpus.MilliValue(), b.node(t, first).Status.Capacity.Cpu().MilliValue(), "what both promise is there")

	near, far := b.on(first, "near", echo), b.on(second, "far", echo)
	b.claims(t, near, "shared", corev1.ReadWriteMany)
	b.claims(t, far, "disk", corev1.ReadWriteOnce)
	b.create(t, near)
	b.create(t, far)
	near, far = b.await(t, "near", "runs", running), b.await(t, "far", "runs", running)
	service, err := b.CoreV1().Services(b.namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "far"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "far"},
			Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)

	t.Run("exec and logs", func(t *testing.T) {
		assert.Equal(t, "1000", b.exec(t, "far", "id -u"))
		out, err := b.command(t.Context(), "logs", "far").CombinedOutput()
		require.NoError(t, err, "%s", out)
		assert.Contains(t, string(out), "started")
	})
	t.Run("network", func(t *testing.T) {
		get(t, "http://"+service.Spec.ClusterIP)
		get(t, fmt.Sprintf("http://127.0.0.1:%d", service.Spec.Ports[0].NodePort))
		assert.Equal(t, near.Status.PodIP, b.exec(t, "near", fetch+"http://far."+b.namespace), "by name, from Pod to Pod with nothing between")
		assert.Equal(t, far.Status.PodIP, b.exec(t, "far", fetch+"http://"+near.Status.PodIP+":8080"))
		assert.Equal(t, service.Spec.ClusterIP, b.exec(t, "far", "getent hosts far."+b.namespace+".svc.cluster.local | cut -d' ' -f1"))
		assert.Contains(t, b.exec(t, "far",
			"SSL_CERT_FILE=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt "+fetch+"https://kubernetes.default.svc/version"),
			"gitVersion", "the API server")
	})
	t.Run("volumes", func(t *testing.T) {
		other := b.on(second, "other", "cat /data/file; sleep 600")
		mount(other, "shared")
		b.exec(t, "near", "echo both have it > /data/file")
		b.create(t, other)
		b.await(t, "other", "runs", running)
		assert.Equal(t, "both have it", b.exec(t, "other", "cat /data/file"), "ReadWriteMany")

		apart := b.on(first, "apart", "sleep 600")
		mount(apart, "disk")
		b.create(t, apart)
		b.await(t, "apart", "waits for the other node", func(pod *corev1.Pod) bool {
			for _, condition := range pod.Status.Conditions {
				if condition.Reason == corev1.PodReasonUnschedulable && strings.Contains(condition.Message, "didn't match PersistentVolume's node affinity") {
					return true
				}
			}
			return false
		})
		require.NoError(t, b.CoreV1().Pods(b.namespace).Delete(ctx, "apart", metav1.DeleteOptions{}))
	})
	t.Run("images", func(t *testing.T) {
		nodes, err := b.layout.Nodes()
		require.NoError(t, err)
		require.Len(t, nodes, 2)
		var ids []string
		for _, node := range nodes {
			id, err := node.ImageID(ctx, images.Base)
			require.NoError(t, err)
			ids = append(ids, id)
		}
		assert.NotEmpty(t, ids[0])
		assert.Equal(t, ids[0], ids[1])
	})
	t.Run("status", func(t *testing.T) {
		status, err := b.layout.Status(ctx)
		require.NoError(t, err)
		require.NoError(t, errors.Join(status.Faults()...))
		assert.Len(t, status.Nodes, 2)
		var names []string
		for _, component := range status.Components {
			names = append(names, component.Name)
		}
		assert.Subset(t, names, []string{"containerd-2", "kubelet-2", "kube-proxy-2"})
	})
}
