package kernels

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
)

func TestSweep(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw")
	c.create(kerneltest.Kernel("kept", "gw", v1alpha1.DefaultKernelName))
	kept := c.ready("kept", 1, "")
	c.stop() // what is left behind while nobody looks
	object := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Labels: podspec.KernelLabels(kerneltest.Kernel("lost", "gw", ""), 1)}
	}
	unowned := &corev1.Pod{ObjectMeta: object("unowned"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	secret := &corev1.Secret{ObjectMeta: object("lost-1")}
	secret.OwnerReferences = []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "JupyterKernel", Name: "lost", UID: "gone", Controller: new(true)}}
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "foreign"}}
	c.create(unowned, secret, foreign)

	meters, err := newInstruments(prometheus.NewRegistry())
	require.NoError(t, err)
	s := &sweeper{cfg: c.cfg, client: c.api, live: c.api, now: time.Now, meters: meters}
	require.NoError(t, s.sweep(t.Context()))
	assert.True(t, c.get("unowned", unowned), "what is young is spared")

	s.now = func() time.Time { return time.Now().Add(time.Hour) }
	require.NoError(t, s.sweep(t.Context()))
	c.gone(unowned)
	c.gone(secret)
	assert.True(t, c.get("foreign", foreign))
	assert.True(t, c.get("kept-1", kept))
	assert.True(t, c.get("kept-1", &corev1.Secret{}))
}
