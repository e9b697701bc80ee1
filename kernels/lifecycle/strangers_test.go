package lifecycle

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
)

// counted counts what the API server is asked for.
type counted struct {
	client.Reader
	gets int
}

func (c *counted) Get(ctx context.Context, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
	c.gets++
	return c.Reader.Get(ctx, key, into, options...)
}

// withoutKernels is a cache that does not know a kernel yet, or not any more.
type withoutKernels struct{ client.Client }

func (c withoutKernels) Get(ctx context.Context, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
	if _, ok := into.(*v1alpha1.JupyterKernel); ok {
		key.Name = "nobody"
	}
	return c.Client.Get(ctx, key, into, options...)
}

// TestPodsOfAKernelThatIsGone are removed on the word of the API server, which is asked for it
// once: not again while they end.
func TestPodsOfAKernelThatIsGone(t *testing.T) {
	c := kerneltest.NewNamespace(t)
	ask := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: c.Name, Name: "k"}}
	k := kerneltest.Kernel("k", "gw", v1alpha1.DefaultKernelName)
	c.Make(k)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "k-1", Labels: podspec.KernelLabels(k, 1), Finalizers: []string{"example.org/held"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(k, v1alpha1.GroupVersion.WithKind("JupyterKernel"))}
	c.Make(pod)
	live := &counted{Reader: c}
	r := &kernelReconciler{pods: podspec.NewBuilder(podspec.Config{}), client: withoutKernels{c}, live: live, now: time.Now}

	// The cache of kernels is behind: the Pod's kernel lives.
	result, err := r.Reconcile(t.Context(), ask)
	require.NoError(t, err)
	assert.Equal(t, Shortly, result.RequeueAfter)
	require.True(t, c.Find("k-1", pod), "it stays")
	assert.Equal(t, 1, live.gets)

	require.NoError(t, c.Delete(t.Context(), k))
	for range 5 { // as often as its Pod changes
		_, err = r.Reconcile(t.Context(), ask)
		require.NoError(t, err)
	}
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))
	assert.NotNil(t, pod.DeletionTimestamp)
	assert.Equal(t, 2, live.gets)
	pod.Finalizers = nil
	require.NoError(t, c.Update(t.Context(), pod))
}
