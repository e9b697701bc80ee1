package kernels

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/rotation"
	"github.com/elastichub/elastichub/rotation/renew"
)

// release makes what `elastichub rotate` looks for: a service, and a replica of a gateway that
// says that it has read each step of its key.
func (c *cluster) release(gateway string) (rotate func(change func(*renew.Renewal)) (said string, err error)) {
	c.Helper()
	service := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "service", Labels: map[string]string{
		"app.kubernetes.io/name": "elastichub", "app.kubernetes.io/component": "service", "app.kubernetes.io/instance": "r",
	}}}
	service.Spec.Selector = &metav1.LabelSelector{MatchLabels: service.Labels}
	service.Spec.Template.Labels, service.Spec.Template.Spec.Containers = service.Labels, []corev1.Container{{Name: "x", Image: "x"}}
	c.create(service, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "service"}, Data: map[string]string{"config.yaml": "log: {}\n"}})
	var d appsv1.Deployment
	c.eventually("Deployment of the gateway", func() bool { return c.get(gateway, &d) })
	replica := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: gateway + "-1", Labels: d.Spec.Template.Labels}}
	replica.Spec.Containers = []corev1.Container{{Name: "gateway", Image: "x"}}
	c.create(replica)
	c.report(replica, func(s *corev1.PodStatus) {
		s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	})
	api, err := kubernetes.NewForConfig(kerneltest.APIServer(c.T))
	require.NoError(c, err)
	secret, err := renew.Find("gateway-key")
	require.NoError(c, err)
	return func(change func(*renew.Renewal)) (string, error) {
		c.Helper()
		var said strings.Builder
		r := renew.Renewal{
			Site: renew.Site{API: api, Namespace: c.namespace, Release: "r"}, Secret: secret, Gateway: gateway, FormerFor: secret.FormerFor, Patience: time.Minute, Out: &said, Now: time.Now,
			Ask: func(context.Context, renew.Reader) (map[string]string, error) {
				return map[string]string{"gateway-key": string(c.keySecret(gateway).Data[rotation.KeyMark])}, nil
			},
		}
		if change != nil {
			change(&r)
		}
		err := r.Run(c.ctx)
		return said.String(), err
	}
}

// keySecret is the Secret that a gateway mounts.
func (c *cluster) keySecret(gateway string) *corev1.Secret {
	c.Helper()
	var d appsv1.Deployment
	require.True(c, c.get(gateway, &d))
	secret := &corev1.Secret{}
	require.True(c, c.get(d.Spec.Template.Spec.Volumes[0].Secret.SecretName, secret))
	return secret
}

// agentHas is what the agent of a kernel's first run reads.
func (c *cluster) agentHas(kernel string) rotation.Values {
	c.Helper()
	secret := &corev1.Secret{}
	require.True(c, c.get(podspec.PodName(kernel, 1), secret))
	values, err := rotation.Parse(podspec.KeyName, func(key string) string { return string(secret.Data[key]) })
	require.NoError(c, err)
	return values
}

// ofFormerRelease puts another in the place of a Pod that runs, as a former release has made it:
// its agent reads its secret once, in a Secret that cannot be changed.
func (c *cluster) ofFormerRelease(pod *corev1.Pod) {
	c.Helper()
	c.stop()
	require.True(c, c.get(pod.Name, pod))
	former := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Labels: pod.Labels, Annotations: pod.Annotations, OwnerReferences: pod.OwnerReferences}, Spec: *pod.Spec.DeepCopy()}
	for i := range former.Spec.Volumes {
		if secret := former.Spec.Volumes[i].Secret; secret != nil && secret.SecretName == pod.Name {
			secret.Items = []corev1.KeyToPath{{Key: podspec.KeyName, Path: podspec.KeyName}}
		}
	}
	pod.Finalizers = nil
	require.NoError(c, c.api.Update(c.ctx, pod))
	c.kill(pod)
	c.gone(pod)
	c.create(former)
	c.report(former, kerneltest.Running("10.0.0.9", true))
	secret := &corev1.Secret{}
	require.True(c, c.get(pod.Name, secret))
	secret.Immutable = ptr.To(true)
	require.NoError(c, c.api.Update(c.ctx, secret))
	c.start()
}

// TestAGatewaysKeyIsRotated: the agents of kernels that run get secrets of the new key, and the
// former's counts for its time. Nothing ends, but what cannot follow when the former is cut off.
func TestAGatewaysKeyIsRotated(t *testing.T) {
	t.Parallel()
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.gateway("gw")
	rotate := c.release("gw")
	c.create(kerneltest.GPUSpec("cpu", 0), kerneltest.Kernel("k", "gw", "cpu"), kerneltest.Kernel("old", "gw", "cpu"))
	pod, old := c.ready("k", 1, ""), c.ready("old", 1, "")
	assert.NotContains(t, pod.Annotations, v1alpha1.AnnotationAgentKey, "it was never rotated")
	first, ofOld := c.agentHas("k"), c.agentHas("old")
	assert.Equal(t, rotation.Values{Current: first.Current}, first)
	c.ofFormerRelease(old)
	gw := &v1alpha1.JupyterGateway{}
	secretOf := func(kernel string) string { // of the current key
		key, err := podspec.ReadGatewayKey(t.Context(), c.api, c.namespace, "gw")
		require.NoError(t, err)
		secrets, err := key.Derive(string(c.kernel(kernel).UID), 1)
		require.NoError(t, err)
		return secrets[0].Hex()
	}

	said, err := rotate(func(r *renew.Renewal) { r.DryRun, r.CutOff = true, true })
	require.NoError(t, err)
	assert.Contains(t, said, "Cells wait for some seconds")
	assert.Contains(t, said, "Kernels that run: 2")
	_, err = rotate(func(r *renew.Renewal) { r.Gateway = "another" })
	require.ErrorContains(t, err, "there are "+c.namespace+"/gw")

	said, err = rotate(nil)
	require.NoError(t, err)
	assert.Contains(t, said, "counts for 7 days")
	assert.Contains(t, said, "were given secrets of the new key")
	require.True(t, c.get("gw", gw))
	require.NotEmpty(t, gw.Status.KeyID)
	has := c.agentHas("k")
	assert.Equal(t, secretOf("k"), has.Current)
	assert.Equal(t, first.Current, has.Former)
	assert.WithinDuration(t, time.Now().Add(7*24*time.Hour), has.FormerUntil, time.Minute)
	assert.Equal(t, ofOld, c.agentHas("old"))
	for _, name := range []string{"k", "old"} {
		assert.Equal(t, v1alpha1.KernelReady, c.kernel(name).Status.Phase, name)
	}
	require.True(t, c.get(pod.Name, pod))
	assert.Equal(t, gw.Status.KeyID, pod.Annotations[v1alpha1.AnnotationAgentKey])
	c.create(kerneltest.Kernel("later", "gw", "cpu"))
	assert.Equal(t, gw.Status.KeyID, c.pod("later", 1).Annotations[v1alpha1.AnnotationAgentKey])
	assert.Equal(t, rotation.Values{Current: secretOf("later")}, c.agentHas("later"))
	_, err = rotate(nil)
	require.ErrorContains(t, err, "would be lost")

	_, err = rotate(func(r *renew.Renewal) { r.CutOff = true })
	require.NoError(t, err)
	assert.Equal(t, rotation.Values{Current: secretOf("k")}, c.agentHas("k"), "no other counts")
	assert.Equal(t, v1alpha1.KernelReady, c.kernel("k").Status.Phase)
	ended := c.phase("old", 1, v1alpha1.KernelDead)
	assert.Equal(t, v1alpha1.CauseOrphaned, ended.Status.Cause)
	assert.Contains(t, ended.Status.Message, "of a former release")
}

// TestAKeyOfAFormerReleaseCanBeChanged: it is in a Secret that cannot, and gets another. No
// kernel ends, and what it was copied from goes with the first rotation.
func TestAKeyOfAFormerReleaseCanBeChanged(t *testing.T) {
	t.Parallel()
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	gw := c.gateway("gw")
	rotate := c.release("gw")
	c.create(kerneltest.GPUSpec("cpu", 0), kerneltest.Kernel("k", "gw", "cpu"))
	c.ready("k", 1, "")
	former := c.keySecret("gw")
	former.Immutable = ptr.To(true)
	require.NoError(t, c.api.Update(t.Context(), former))
	_, err := rotate(nil)
	require.ErrorContains(t, err, "of a former release")

	var d appsv1.Deployment // as time does
	require.True(t, c.get("gw", &d))
	looked := d.DeepCopy()
	looked.Annotations = map[string]string{"x": "y"}
	require.NoError(t, c.api.Patch(t.Context(), looked, client.MergeFrom(&d)))
	c.eventually("another Secret", func() bool { return c.keySecret("gw").Name != former.Name })
	assert.Equal(t, former.Data, c.keySecret("gw").Data)
	c.eventually("said", func() bool { return c.get("gw", gw) && gw.Status.KeySecret == c.keySecret("gw").Name })
	assert.Nil(t, gw.Status.KeySince)
	has := c.agentHas("k")

	_, err = rotate(nil)
	require.NoError(t, err)
	c.eventually("nothing has the former key", func() bool { return !c.get(former.Name, &corev1.Secret{}) })
	assert.Equal(t, has.Current, c.agentHas("k").Former)
	assert.Equal(t, v1alpha1.KernelReady, c.kernel("k").Status.Phase)
	assert.True(t, metav1.IsControlledBy(c.keySecret("gw"), gw))
}
