package queue

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/namespaces"
)

// idleAgents say how long they have been idle, by address.
type idleAgents map[string]time.Duration

func (a idleAgents) Idle(_ context.Context, ip string, _ keys.Secrets) (time.Duration, error) {
	idle, known := a[ip]
	if !known {
		return 0, errors.New("no answer")
	}
	return idle, nil
}

func (a idleAgents) IdleToYield(ctx context.Context, ip string, secrets keys.Secrets) (time.Duration, error) {
	return a.Idle(ctx, ip, secrets)
}

func (a idleAgents) Park(context.Context, string, keys.Secrets, time.Duration) (bool, error) {
	return false, nil
}

// TestAWarmPodThatComputesEnds, if it is somebody's, has had its time, and its agent says so.
func TestAWarmPodThatComputesEnds(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(kerneltest.Scheme).WithStatusSubresource(&corev1.Pod{}).Build()
	create := func(o client.Object) {
		t.Helper()
		o.SetNamespace("ns")
		if o.GetUID() == "" {
			o.SetUID(types.UID(o.GetName()))
		}
		require.NoError(t, c.Create(t.Context(), o))
	}
	gw := &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: "gw"}}
	create(gw)
	key := &corev1.Secret{Data: map[string][]byte{podspec.KeyName: []byte(hex.EncodeToString([]byte(strings.Repeat("k", keys.Size))))}}
	key.Name = podspec.KeySecretName(gw)
	key.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(gw, v1alpha1.GroupVersion.WithKind("JupyterGateway"))}
	create(key)
	pods := podspec.NewBuilder(podspec.Config{Image: "elastichub:test", ImagePullPolicy: corev1.PullIfNotPresent, KernelImage: "kernel:test"})
	w := &warmWatch{cfg: Config{Scope: namespaces.Only("ns")}, client: c, live: c, now: time.Now, memory: &poolMemory{}, agents: idleAgents{
		"10.0.0.1": 0, "10.0.0.2": warmStill, "10.0.0.3": 0, "10.0.0.4": 0,
	}}
	made := map[string]*corev1.Pod{}
	for name, at := range map[string]struct {
		ip      string
		nobodys bool
		since   time.Duration
	}{
		"computes": {ip: "10.0.0.1", since: warmSettles}, "is still": {ip: "10.0.0.2", since: warmSettles},
		"has just begun": {ip: "10.0.0.3", since: warmSettles / 2}, "is nobody's": {ip: "10.0.0.4", nobodys: true, since: warmSettles},
		"does not answer": {ip: "10.0.0.5", since: warmSettles},
	} {
		want := podspec.WarmWant{KernelSpec: v1alpha1.DefaultKernelName}
		nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: strings.NewReplacer(" ", "-", "'", "").Replace(name)}}
		nb.Spec.Gateway = &corev1.ObjectReference{Name: "gw"}
		create(nb)
		if !at.nobodys {
			want.Notebook = nb
		}
		pod, err := pods.BuildWarm(t.Context(), c, gw, want, podspec.NewWarmName())
		require.NoError(t, err)
		pod.Annotations[v1alpha1.AnnotationWarm] = name
		create(pod)
		kerneltest.Running(at.ip, true)(&pod.Status)
		pod.Status.Conditions[0].LastTransitionTime = metav1.NewTime(time.Now().Add(-at.since))
		require.NoError(t, c.Status().Update(t.Context(), pod))
		made[name] = pod
	}
	require.NoError(t, w.round(t.Context()))
	for name, pod := range made {
		err := c.Get(t.Context(), client.ObjectKeyFromObject(pod), &corev1.Pod{})
		require.NoError(t, client.IgnoreNotFound(err))
		assert.Equal(t, name == "computes", err != nil, name)
	}

	p := poolOf(time.Now(), 1)
	p.targets[0].class = "computes"
	up := warmPod("up", time.Now(), kerneltest.Running("10.0.0.1", true)) // another of its class, that ends the pauses of failures
	up.Annotations[v1alpha1.AnnotationWarm], up.UID = "computes", types.UID("up")
	p.pods[podID(up)] = up
	p.targets[0].count = 2
	w.memory.recall(p)
	_, targets, again := p.supply(nil)
	assert.Empty(t, targets, "nothing is made in its place")
	assert.InDelta(t, warmRests, again, float64(time.Minute))
	p.now = p.now.Add(warmRests)
	w.memory.recall(p)
	_, targets, _ = p.supply(nil)
	assert.Len(t, targets, 1, "for an hour")
}
