package lifecycle

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/namespaces"
)

func TestSweep(t *testing.T) {
	c := kerneltest.NewNamespace(t)
	k := kerneltest.Kernel("kept", "gw", v1alpha1.DefaultKernelName)
	c.Make(k)
	kept := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "kept-1", Labels: podspec.KernelLabels(k, 1)}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	kept.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(k, v1alpha1.GroupVersion.WithKind("JupyterKernel"))}
	k.Status.Run = 1
	c.Make(kept, podspec.RunSecret(k, keys.Secret{1}))
	object := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Labels: podspec.KernelLabels(kerneltest.Kernel("lost", "gw", ""), 1)}
	}
	unowned := &corev1.Pod{ObjectMeta: object("unowned"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	secret := &corev1.Secret{ObjectMeta: object("lost-1")}
	secret.OwnerReferences = []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "JupyterKernel", Name: "lost", UID: "gone", Controller: new(true)}}
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "foreign"}}
	c.Make(unowned, secret, foreign)

	meters, err := NewMetrics(prometheus.NewRegistry())
	require.NoError(t, err)
	s := &sweeper{scope: namespaces.Only(c.Name), client: c, live: c, now: time.Now, meters: meters}
	require.NoError(t, s.sweep(t.Context()))
	assert.True(t, c.Find("unowned", unowned), "what is young is spared")

	suspicious, err := s.suspects(t.Context())
	require.NoError(t, err)
	assert.False(t, suspicious)

	s.now = func() time.Time { return time.Now().Add(time.Hour) }
	suspicious, err = s.suspects(t.Context())
	require.NoError(t, err)
	assert.True(t, suspicious)
	require.NoError(t, s.sweep(t.Context()))
	suspicious, err = s.suspects(t.Context())
	require.NoError(t, err)
	assert.False(t, suspicious, "what has a kernel is none")
	assert.False(t, c.Find("unowned", unowned))
	assert.False(t, c.Find("lost-1", secret))
	assert.True(t, c.Find("foreign", foreign))
	assert.True(t, c.Find("kept-1", kept))
	assert.True(t, c.Find("kept-1", &corev1.Secret{}))
}
