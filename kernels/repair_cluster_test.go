package kernels

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
)

// TestWhatAGatewayHasIsRepaired, each object of it, edited and deleted.
func TestWhatAGatewayHasIsRepaired(t *testing.T) {
	t.Parallel()
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	gw := c.gateway("gw")
	for name, row := range map[string]struct {
		object client.Object
		spoil  func(client.Object)
		is     func(client.Object) any
	}{
		"gw": {&appsv1.Deployment{}, func(o client.Object) { o.(*appsv1.Deployment).Spec.Template.Spec.Containers[0].Image = "x" },
			func(o client.Object) any { return o.(*appsv1.Deployment).Spec }},
		"gw ": {&corev1.Service{}, func(o client.Object) {
			s := &o.(*corev1.Service).Spec
			s.Type, s.Selector, s.Ports[0].Port = corev1.ServiceTypeNodePort, nil, 80
		}, func(o client.Object) any {
			s := o.(*corev1.Service).Spec
			return []any{s.Type, s.Selector, s.Ports}
		}},
		"gw-gateway": {&rbacv1.Role{}, func(o client.Object) { o.(*rbacv1.Role).Rules = nil }, func(o client.Object) any { return o.(*rbacv1.Role).Rules }},
		"gw-gateway ": {&rbacv1.RoleBinding{}, func(o client.Object) { o.(*rbacv1.RoleBinding).Subjects = nil },
			func(o client.Object) any { b := o.(*rbacv1.RoleBinding); return []any{b.Subjects, b.RoleRef} }},
		"gw-gateway  ": {&corev1.ConfigMap{}, func(o client.Object) { o.(*corev1.ConfigMap).Data = nil }, func(o client.Object) any { return o.(*corev1.ConfigMap).Data }},
		"gw-gateway   ": {&corev1.ServiceAccount{}, func(o client.Object) { delete(o.GetLabels(), v1alpha1.LabelGateway) },
			func(o client.Object) any { return o.GetLabels()[v1alpha1.LabelGateway] }},
	} {
		var key string
		_, err := fmt.Sscan(name, &key)
		require.NoError(t, err)
		what := fmt.Sprintf("%T", row.object)
		c.eventually(what, func() bool { return c.get(key, row.object) })
		want, uid := row.is(row.object), row.object.GetUID()
		c.eventually("edit", func() bool {
			require.True(t, c.get(key, row.object))
			row.spoil(row.object)
			err := c.api.Update(t.Context(), row.object)
			require.True(t, err == nil || apierrors.IsConflict(err), "%v", err)
			return err == nil
		})
		c.eventually(what+" as it was", func() bool { return c.get(key, row.object) && assert.ObjectsAreEqual(want, row.is(row.object)) })
		require.NoError(t, c.api.Delete(t.Context(), row.object))
		c.eventually(what+" again", func() bool { return c.get(key, row.object) && row.object.GetUID() != uid })
		assert.True(t, metav1.IsControlledBy(row.object, gw), what)
	}
}

// TestAGatewaysKeyIsMadeAnew: under another name, since nodes go on giving out what they have
// read of an immutable Secret, and what was derived from the key before is over.
func TestAGatewaysKeyIsMadeAnew(t *testing.T) {
	t.Parallel()
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	gw := c.gateway("gw")
	c.create(kerneltest.GPUSpec("cpu", 0), kerneltest.Kernel("k", "gw", "cpu"))
	former := c.ready("k", 1, "")
	key, err := podspec.ReadGatewayKey(t.Context(), c.api, c.namespace, "gw")
	require.NoError(t, err)
	mounted := func() string {
		var d appsv1.Deployment
		require.True(t, c.get("gw", &d))
		return d.Spec.Template.Spec.Volumes[0].Secret.SecretName
	}
	c.eventually("served", func() bool { return c.get("gw", gw) && gw.Status.URL != "" })
	for run := int64(2); run < 4; run++ {
		lost := &corev1.Secret{}
		require.True(t, c.get(mounted(), lost))
		c.eventually("a second has passed", func() bool { return metav1.Now().Unix() > former.CreationTimestamp.Unix() })
		require.NoError(t, c.api.Delete(t.Context(), lost))
		if run == 3 { // kubectl replace --force
			c.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: lost.Name}, StringData: map[string]string{"key": "mine"}})
		}
		var d appsv1.Deployment
		c.eventually("looked at", func() bool { // which time does, too
			require.True(t, c.get("gw", &d))
			d.Spec.Paused = true
			return c.api.Update(t.Context(), &d) == nil
		})
		c.eventually("another is mounted", func() bool { return mounted() != lost.Name && c.get("gw", gw) && gw.Status.KeySecret == mounted() })
		k := c.phase("k", run-1, v1alpha1.KernelDead)
		assert.Equal(t, v1alpha1.CauseOrphaned, k.Status.Cause)
		assert.Equal(t, "The key of the kernel's gateway was deleted, and another was made.", k.Status.Message)
		other, err := podspec.ReadGatewayKey(t.Context(), c.api, c.namespace, "gw")
		require.NoError(t, err)
		assert.NotEqual(t, key, other)
		key = other
		c.kill(former)
		c.askRun("k", run)
		former = c.ready("k", run, "")
	}
}

// TestASecretThatAPodWaitsForIsRepaired: without it the Pod would never start.
func TestASecretThatAPodWaitsForIsRepaired(t *testing.T) {
	t.Parallel()
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw")
	c.create(kerneltest.GPUSpec("cpu", 0), kerneltest.Kernel("k", "gw", "cpu"))
	pod, secret := c.pod("k", 1), &corev1.Secret{}
	c.bind(pod, "somewhere")
	require.True(t, c.get(pod.Name, secret))
	require.NoError(t, c.api.Delete(t.Context(), secret))
	again := &corev1.Secret{}
	c.eventually("made anew", func() bool { return c.get(pod.Name, again) })
	assert.NotEqual(t, secret.UID, again.UID)
	assert.Equal(t, secret.Data, again.Data)
	assert.True(t, metav1.IsControlledBy(again, c.kernel("k")))
}
