//go:build smoke

// Package smoke checks a running cluster the way a user of it would: run it
// with `go test -tags smoke ./smoke` after `localcluster up`.
package smoke

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/elastichub/elastichub/localcluster/internal/cluster"
	"github.com/elastichub/elastichub/localcluster/internal/host"
	"github.com/elastichub/elastichub/localcluster/internal/images"
	"github.com/elastichub/elastichub/localcluster/internal/progress"
)

const (
	memoryLimit = "64Mi"
	greeting    = "hello from the volume"

	// server writes to its volume and serves it.
	server = `echo "` + greeting + `" > /data/index.html; echo started; exec python3 -m http.server 8080 --directory /data`
)

// bench is a namespace on the running cluster, and the tools to use it.
type bench struct {
	kubernetes.Interface
	namespace string
	layout    cluster.Layout
	kubectl   string
}

func newBench(t *testing.T) bench {
	ctx := t.Context()
	state, err := host.StateDir()
	require.NoError(t, err)
	cache, err := host.CacheDir()
	require.NoError(t, err)
	layout, err := cluster.NewLayout(state)
	require.NoError(t, err)
	status, err := layout.Status(ctx)
	require.NoError(t, err)
	require.Empty(t, status.Faults())

	store, err := images.Open(ctx, cache, progress.New(t.Output()))
	require.NoError(t, err)
	require.NoError(t, store.EnsureBase(ctx))
	require.NoError(t, store.Load(ctx, layout, images.Base))

	client, err := layout.Client()
	require.NoError(t, err)
	namespace, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "smoke-",
		Labels:       map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, client.CoreV1().Namespaces().Delete(context.Background(), namespace.Name, metav1.DeleteOptions{}))
	})
	return bench{Interface: client, namespace: namespace.Name, layout: layout, kubectl: filepath.Join(cache, "bin", "kubectl")}
}

// pod is a Pod that meets Pod Security "restricted".
func (b bench) pod(name, script string, gpus int64) *corev1.Pod {
	yes, no, user, group := true, false, int64(1000), int64(2000)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: b.namespace, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: new(int64),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, RunAsUser: &user, FSGroup: &group,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "main", Image: images.Base, ImagePullPolicy: corev1.PullNever,
				Command: []string{"/bin/sh", "-c", script},
				Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{
					corev1.ResourceMemory: resource.MustParse(memoryLimit),
					"nvidia.com/gpu":      *resource.NewQuantity(gpus, resource.DecimalSI),
				}},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

func (b bench) create(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	_, err := b.CoreV1().Pods(b.namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	require.NoError(t, err)
}

// await polls a Pod until the condition holds.
func (b bench) await(t *testing.T, name, what string, condition func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	require.Eventually(t, func() bool {
		var err error
		pod, err = b.CoreV1().Pods(b.namespace).Get(t.Context(), name, metav1.GetOptions{})
		return err == nil && condition(pod)
	}, time.Minute, 100*time.Millisecond, "Pod %s: %s", name, what)
	return pod
}

func running(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodRunning }

func (b bench) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, b.kubectl, append([]string{
		"--kubeconfig", b.layout.Kubeconfig(), "--namespace", b.namespace,
	}, args...)...)
}

func (b bench) exec(t *testing.T, pod, script string) string {
	t.Helper()
	out, err := b.command(t.Context(), "exec", pod, "--", "/bin/sh", "-c", script).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return strings.TrimSpace(string(out))
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Timeout: 2 * time.Second}
	var body []byte
	require.Eventually(t, func() bool {
		response, err := client.Get(url)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		body, err = io.ReadAll(response.Body)
		return err == nil && response.StatusCode == http.StatusOK
	}, 20*time.Second, 100*time.Millisecond, "GET %s", url)
	return strings.TrimSpace(string(body))
}

func TestCluster(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	node, err := b.CoreV1().Nodes().Get(ctx, "localcluster", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, "true", node.Labels["elastichub.io/localcluster"])

	claim, err := b.CoreV1().PersistentVolumeClaims(b.namespace).Create(ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	web := b.pod("web", server, 1)
	web.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	web.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name},
	}}}
	b.create(t, web)
	begin := time.Now()
	web = b.await(t, "web", "runs", running)
	t.Logf("from claim and Pod to running: %s", time.Since(begin).Round(10*time.Millisecond))

	service, err := b.CoreV1().Services(b.namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeNodePort,
			Selector: map[string]string{"app": "web"},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	b.create(t, b.pod("client", "sleep 600", 0))
	b.await(t, "client", "runs", running)

	t.Run("exec and logs", func(t *testing.T) {
		assert.Equal(t, "1000", b.exec(t, "web", "id -u"))
		out, err := b.command(t.Context(), "logs", "web").CombinedOutput()
		require.NoError(t, err, "%s", out)
		assert.Contains(t, string(out), "started")
	})
	t.Run("port-forward", func(t *testing.T) { testPortForward(t, b) })
	t.Run("services from the host", func(t *testing.T) {
		assert.Equal(t, greeting, get(t, "http://"+service.Spec.ClusterIP))
		for _, address := range []string{"127.0.0.1", nodeAddress(node)} {
			assert.Equal(t, greeting, get(t, fmt.Sprintf("http://%s:%d", address, service.Spec.Ports[0].NodePort)))
		}
	})
	t.Run("network from a Pod", func(t *testing.T) {
		const fetch = `python3 -c 'import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())' `
		assert.Equal(t, service.Spec.ClusterIP, b.exec(t, "client", "getent hosts web."+b.namespace+".svc.cluster.local | cut -d' ' -f1"))
		assert.Equal(t, greeting, b.exec(t, "client", fetch+"http://web"), "by service name")
		assert.Equal(t, greeting, b.exec(t, "client", fetch+"http://"+service.Spec.ClusterIP), "by cluster IP")
		assert.Equal(t, greeting, b.exec(t, "client", fetch+"http://"+web.Status.PodIP+":8080"), "by Pod IP")
		assert.Equal(t, greeting, b.exec(t, "web", fetch+"http://web."+b.namespace), "from itself through the service")
		assert.Contains(t, b.exec(t, "client",
			"SSL_CERT_FILE=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt "+fetch+"https://kubernetes.default.svc/version"),
			"gitVersion", "the API server")
	})
	t.Run("an address of no service", func(t *testing.T) {
		gone, err := b.CoreV1().Services(b.namespace).Create(t.Context(), &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "gone"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		require.NoError(t, b.CoreV1().Services(b.namespace).Delete(t.Context(), "gone", metav1.DeleteOptions{}))
		address := gone.Spec.ClusterIP
		_, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(t.Context(), "tcp", net.JoinHostPort(address, "80"))
		require.ErrorIs(t, err, syscall.ECONNREFUSED, "from the host")
		const dial = `python3 -c 'import errno, socket, sys; s = socket.socket(); s.settimeout(10); print(errno.errorcode[s.connect_ex((sys.argv[1], 80))])' `
		assert.Equal(t, "ECONNREFUSED", b.exec(t, "client", dial+address), "from a Pod")
	})
	t.Run("memory limit", func(t *testing.T) { testMemoryLimit(t, b) })
	t.Run("Pod Security", func(t *testing.T) {
		bad := b.pod("bad", "true", 0)
		bad.Spec.SecurityContext = nil
		_, err := b.CoreV1().Pods(b.namespace).Create(t.Context(), bad, metav1.CreateOptions{})
		require.True(t, apierrors.IsForbidden(err), "%v", err)
	})
	t.Run("GPUs are scarce", func(t *testing.T) {
		// Web has one, so all of them cannot be had.
		gpus := node.Status.Allocatable["nvidia.com/gpu"]
		b.create(t, b.pod("greedy", "sleep 600", gpus.Value()))
		b.await(t, "greedy", "waits for a GPU", func(pod *corev1.Pod) bool {
			for _, condition := range pod.Status.Conditions {
				if condition.Reason == corev1.PodReasonUnschedulable && strings.Contains(condition.Message, "Insufficient nvidia.com/gpu") {
					return true
				}
			}
			return false
		})
		require.NoError(t, b.CoreV1().Pods(b.namespace).Delete(t.Context(), "greedy", metav1.DeleteOptions{}))
	})
	t.Run("volume", func(t *testing.T) { testVolume(t, b, web) })
}

func testPortForward(t *testing.T, b bench) {
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	forward := b.command(ctx, "port-forward", "pod/web", "18080:8080")
	forward.Stdout, forward.Stderr = &out, &out
	require.NoError(t, forward.Start())
	assert.Equal(t, greeting, get(t, "http://127.0.0.1:18080"))
	cancel()
	_ = forward.Wait() // killed: reports the signal
}

func testMemoryLimit(t *testing.T, b bench) {
	limit := resource.MustParse(memoryLimit)
	assert.Equal(t, fmt.Sprint(limit.Value()), b.exec(t, "client",
		"cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"))
	b.create(t, b.pod("hungry", "exec python3 -c 'x = bytearray(256 << 20); print(len(x))'", 0))
	pod := b.await(t, "hungry", "ends", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodFailed })
	require.NotNil(t, pod.Status.ContainerStatuses[0].State.Terminated)
	assert.Equal(t, "OOMKilled", pod.Status.ContainerStatuses[0].State.Terminated.Reason)
}

// testVolume checks group, directory and, after the claim has been deleted,
// that the directory has gone.
func testVolume(t *testing.T, b bench, web *corev1.Pod) {
	ctx := t.Context()
	assert.Equal(t, "2000", b.exec(t, "web", "stat -c %g /data/index.html"), "fsGroup")
	claim, err := b.CoreV1().PersistentVolumeClaims(b.namespace).Get(ctx, "data", metav1.GetOptions{})
	require.NoError(t, err)
	volume, err := b.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	require.NoError(t, err)
	require.NotNil(t, volume.Spec.Local)
	require.DirExists(t, volume.Spec.Local.Path)
	require.NoError(t, b.CoreV1().Pods(b.namespace).Delete(ctx, web.Name, metav1.DeleteOptions{}))
	require.NoError(t, b.CoreV1().PersistentVolumeClaims(b.namespace).Delete(ctx, claim.Name, metav1.DeleteOptions{}))
	require.Eventually(t, func() bool {
		_, err := os.Stat(volume.Spec.Local.Path)
		return os.IsNotExist(err)
	}, 30*time.Second, 100*time.Millisecond, "the volume's directory goes with the claim")
}

func nodeAddress(node *corev1.Node) string {
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return address.Address
		}
	}
	return ""
}
