package portal_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal"
)

// listed is a cache that holds these objects.
type listed struct {
	client.Client
	kernels   []v1alpha1.JupyterKernel
	notebooks []v1alpha1.JupyterNotebook
	pods      []corev1.Pod
}

func (l listed) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	switch list := into.(type) {
	case *v1alpha1.JupyterKernelList:
		list.Items = append(list.Items, l.kernels...)
	case *v1alpha1.JupyterNotebookList:
		list.Items = append(list.Items, l.notebooks...)
	case *corev1.PodList:
		list.Items = append(list.Items, l.pods...)
	}
	return nil
}

// crowd is what a cache holds of that many people, each with a server and a kernel, of
// which every tenth waits.
func crowd(people int) listed {
	var l listed
	requests := corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("1Gi")}}
	for i := range people {
		nb := v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("jupyter-user-%d", i)}}
		nb.Spec.User, nb.Status.Phase = fmt.Sprintf("user-%d", i), v1alpha1.NotebookReady
		k := v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("kernel-%d", i)}}
		k.Spec.User, k.Spec.Notebook, k.Spec.KernelSpec, k.Spec.Policies = nb.Spec.User, nb.Name, "python-gpu", []string{fmt.Sprintf("policy-%d", i%20)}
		k.Status.Phase, k.Status.PodName, k.Status.Node, k.Status.Held = v1alpha1.KernelReady, k.Name+"-1", fmt.Sprintf("node-%d", i%50), gpus("1")
		if i%10 == 0 {
			k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelQueued, Queue: &v1alpha1.QueueStatus{Position: int32(i/10 + 1), Length: int32(people / 10), Reason: "All of them are in use."}}
		}
		pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: k.Name + "-1"}}
		pod.Spec.Containers = []corev1.Container{{Resources: requests}, {Resources: requests}}
		l.notebooks, l.kernels, l.pods = append(l.notebooks, nb), append(l.kernels, k), append(l.pods, pod)
	}
	return l
}

func newCrowd(tb testing.TB, people int) func(path string) *httptest.ResponseRecorder {
	tb.Helper()
	config := portal.DefaultConfig()
	config.Namespace, config.BasePath, config.Admins = "hub", base, portal.Admins{Groups: []string{"admins"}}
	console, err := portal.New(config, portal.Dependencies{
		Gate: newGate(tb, nil), Members: &members{}, Client: crowd(people), Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: prometheus.NewRegistry(), Now: time.Now,
	})
	require.NoError(tb, err)
	return func(path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "http://hub"+base+path, nil)
		r.Header.Set("Authorization", "token root-token")
		w := httptest.NewRecorder()
		console.ServeHTTP(w, r)
		require.Equal(tb, http.StatusOK, w.Code)
		return w
	}
}

// BenchmarkPages is the server's time for a page where 5,000 kernels, as many servers
// and as many Pods are in the cache.
func BenchmarkPages(b *testing.B) {
	open := newCrowd(b, 5000)
	for _, path := range []string{"", "cluster", "kernels", "kernels?q=user-4&sort=-memory", "servers"} {
		b.Run("/"+path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.ReportMetric(float64(open(path).Body.Len()), "B/page")
			}
		})
	}
}
