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

	// What its Pod looked like is of no use to anybody, and would be kept for ever.
	r.last.Store(client.ObjectKeyFromObject(pod), pod)
	r.clocks.Store(ask.NamespacedName, startClock{})
	_, err = r.Reconcile(t.Context(), ask)
	require.NoError(t, err)
	r.last.Range(func(any, any) bool { assert.Fail(t, "a Pod is remembered"); return false })
	r.clocks.Range(func(any, any) bool { assert.Fail(t, "a start is remembered"); return false })
}

// TestWhatIsRememberedOfVanishedPods is what the Pod of the current run looked like, once; nothing of former
// runs, and as much as is there of those to come and of other kernels.
func TestWhatIsRememberedOfVanishedPods(t *testing.T) {
	t.Parallel()
	k := kerneltest.Kernel("k", "gw", v1alpha1.DefaultKernelName)
	k.Namespace, k.UID, k.Status.Run, k.Status.PodName = "n", "uid", 2, "k-2"
	other := k.DeepCopy()
	other.Name, other.UID = "other", "other"
	r := &kernelReconciler{}
	vanish := func(of *v1alpha1.JupyterKernel, name string, run int64) *corev1.Pod {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: of.Namespace, Name: name, Labels: podspec.KernelLabels(of, run),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(of, v1alpha1.GroupVersion.WithKind("JupyterKernel"))}}}
		r.last.Store(client.ObjectKeyFromObject(pod), pod)
		return pod
	}
	vanish(k, "k-1", 1)
	current := vanish(k, "k-2", 2)
	vanish(k, "k-3", 3)
	vanish(other, "other-1", 1)
	assert.Same(t, current, r.lastOf(k))
	assert.Nil(t, r.lastOf(k))
	remembered := func() (names []string) {
		r.last.Range(func(key, _ any) bool { names = append(names, key.(types.NamespacedName).Name); return true })
		return names
	}
	assert.ElementsMatch(t, []string{"k-3", "other-1"}, remembered())
	r.forgetKernel(client.ObjectKeyFromObject(k))
	assert.Equal(t, []string{"other-1"}, remembered())
}
