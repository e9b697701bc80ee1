package portal_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal"
	"github.com/elastichub/elastichub/portal/holdings"
)

// readLog reads by what the test has, or by the API server.
func (h *harness) readLog(ctx context.Context, pod, container string) (io.ReadCloser, error) {
	if h.logs == nil {
		var err error
		if h.logs, err = portal.PodLogs(apiServer, h.namespace); err != nil {
			return nil, err
		}
	}
	return h.logs(ctx, pod, container)
}

// kubelet is a node of the API server that answers for logs as a kubelet does.
func (h *harness) kubelet(name string, answer http.HandlerFunc) {
	h.Helper()
	server := httptest.NewTLSServer(answer)
	h.Cleanup(server.Close)
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(h, err)
	number, err := strconv.Atoi(port)
	require.NoError(h, err)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	require.NoError(h, h.api.Create(h.Context(), node))
	h.Cleanup(func() { _ = h.api.Delete(context.Background(), node) })
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: host}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(number)
	require.NoError(h, h.api.Status().Update(h.Context(), node))
}

func (h *harness) podOn(node, name string, containers ...string) {
	h.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{NodeName: node}}
	for _, c := range containers {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: c, Image: "i"})
	}
	h.create(pod)
}

// TestLastLogLines: by a real API server, which asks a kubelet of the test's.
func TestLastLogLines(t *testing.T) {
	h := newHarness(t)
	asked := make(chan string, 20)
	h.kubelet(h.namespace, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.RequestURI()
		switch {
		case strings.HasSuffix(r.URL.Path, "/agent"):
			http.Error(w, "container is waiting to start", http.StatusBadRequest)
		case strings.HasSuffix(r.URL.Path, "/notebook"):
			<-r.Context().Done() // it hangs
		default:
			fmt.Fprint(w, "\x1b[32mepoch 1\x1b[0m\n</pre><script>alert(1)</script>\nhttp://x/lab?token=s3cret\n")
		}
	})
	h.kernel("k", "alice", "jupyter-alice", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady, PodName: "k-1"})
	h.podOn(h.namespace, "k-1", "agent", "kernel")
	lines := []string{"epoch 1", "</pre><script>alert(1)</script>", "http://x/lab?token=…"}
	for _, user := range []string{"alice", "root"} {
		logs := rowsOf[holdings.Log](t, h.call(user, http.MethodGet, "api/v1/kernels/k/log", "").Body.Bytes())
		assert.Equal(t, []holdings.Log{{Container: "kernel", Lines: lines}, {Container: "agent", Lines: []string{}, Missing: holdings.LogWaiting}}, logs)
	}
	assert.Equal(t, http.StatusNotFound, h.call("bob", http.MethodGet, "api/v1/kernels/k/log", "").Code)
	for range 2 {
		uri := <-asked
		assert.Contains(t, uri, "/containerLogs/"+h.namespace+"/k-1/")
		assert.Contains(t, uri, "tailLines=100")
		assert.Contains(t, uri, "limitBytes=1048576")
	}
	page := h.signIn("root").open("kernels/k").Body.String()
	assert.Contains(t, page, "epoch 1\n&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;")
	assert.NotContains(t, page, "s3cret")

	h.server("jupyter-alice", "alice", v1alpha1.JupyterNotebookStatus{Phase: v1alpha1.NotebookReady, PodName: "jupyter-alice"})
	h.podOn(h.namespace, "jupyter-alice", "notebook")
	begin := time.Now()
	logs := rowsOf[holdings.Log](t, h.call("alice", http.MethodGet, "api/v1/servers/jupyter-alice/log", "").Body.Bytes())
	assert.Equal(t, []holdings.Log{{Container: "notebook", Lines: []string{}, Missing: holdings.LogSilent}}, logs)
	assert.Less(t, time.Since(begin), 9*time.Second, "the page is there without it")
	assert.Contains(t, h.signIn("alice").open("servers/jupyter-alice").Body.String(), "the node does not answer")

	h.kernel("parked", "alice", "jupyter-alice", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelParked})
	h.kernel("lost", "alice", "jupyter-alice", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady, PodName: "lost-1"})
	for _, name := range []string{"parked", "lost"} {
		logs = rowsOf[holdings.Log](t, h.call("alice", http.MethodGet, "api/v1/kernels/"+name+"/log", "").Body.Bytes())
		assert.Equal(t, []holdings.Log{{Lines: []string{}, Missing: holdings.LogGone}}, logs)
	}
	assert.Contains(t, h.signIn("alice").open("kernels/parked").Body.String(), "There is no Pod, and so no log.")

	h.logs = func(context.Context, string, string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(strings.Repeat("x", 2<<20))), nil
	}
	logs = rowsOf[holdings.Log](t, h.call("alice", http.MethodGet, "api/v1/kernels/k/log", "").Body.Bytes())
	assert.True(t, logs[0].Cut)
	assert.Len(t, logs[0].Lines[0], holdings.MostLogBytes)
}
