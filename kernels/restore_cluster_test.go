package kernels

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
)

// copyOf is what tools for backups make of an object: no status, no UID, no owners.
func copyOf(o client.Object) client.Object {
	c := o.DeepCopyObject().(client.Object)
	meta := metav1.ObjectMeta{Name: o.GetName(), Namespace: o.GetNamespace(), Labels: o.GetLabels(), Annotations: o.GetAnnotations()}
	switch c := c.(type) {
	case *v1alpha1.JupyterKernel:
		c.ObjectMeta, c.Status = meta, v1alpha1.JupyterKernelStatus{}
	case *v1alpha1.JupyterNotebook:
		c.ObjectMeta, c.Status = meta, v1alpha1.JupyterNotebookStatus{}
	case *v1alpha1.JupyterGateway:
		c.ObjectMeta, c.Status = meta, v1alpha1.JupyterGatewayStatus{}
	case *v1alpha1.JupyterKernelSpec:
		c.ObjectMeta, c.Status = meta, v1alpha1.JupyterKernelSpecStatus{}
	}
	return c
}

// restoreCluster has a kernel with kept state, one without, and one that runs, of a notebook.
func restoreCluster(t *testing.T) (c *cluster, seed []byte) {
	seed = bytes.Repeat([]byte{5}, keys.Size)
	c = startCluster(t, func(cfg *Config) {
		cfg.ClusterCapacity, cfg.KeepSeeds = false, keys.FixedKeepSeeds(seed)
		cfg.Pods.Keep = podspec.Keep{Enabled: true, IdleSeconds: 300, TTL: time.Hour}
	})
	c.gateway("gw")
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "nb"}}
	nb.Spec.User = "ann"
	nb.Spec.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: resource.MustParse("1Gi")}}
	nb.Spec.Gateway = &corev1.ObjectReference{Name: "gw"}
	c.create(kerneltest.GPUSpec("cpu", 0), nb)
	for _, name := range []string{"parked", "busy"} {
		c.create(kerneltest.Kernel(name, "gw", "cpu", func(k *v1alpha1.JupyterKernel) { k.Spec.Notebook = "nb" }))
		pod := c.ready(name, 1, "")
		if name == "parked" {
			c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","kept":{"outcome":"whole","run":1,"variables":3,"bytes":70000}}`))
			c.phase(name, 1, v1alpha1.KernelParked)
		}
		c.eventually("what a copy needs is noted", func() bool {
			as, _ := c.kernel(name).RestoreAs()
			return as.UID == string(c.kernel(name).UID) && (as.Kept != nil) == (name == "parked")
		})
	}
	return c, seed
}

// takeAll returns copies of all objects and removes them, the kernels first.
func (c *cluster) takeAll() []client.Object {
	c.Helper()
	var copies []client.Object
	for _, o := range []client.Object{
		&v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Name: "parked"}}, &v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Name: "busy"}},
		&v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "nb"}}, &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: "gw"}},
		&v1alpha1.JupyterKernelSpec{ObjectMeta: metav1.ObjectMeta{Name: "cpu"}},
	} {
		require.True(c, c.get(o.GetName(), o), o.GetName())
		copies = append(copies, copyOf(o))
		require.NoError(c, c.api.Delete(c.ctx, o))
		c.gone(o)
	}
	_ = c.api.DeleteAllOf(c.ctx, &corev1.Pod{}, client.InNamespace(c.namespace), client.GracePeriodSeconds(0))
	_ = c.api.DeleteAllOf(c.ctx, &corev1.Secret{}, client.InNamespace(c.namespace))
	return copies
}

// TestRestoreInAnyOrder: as plain kubectl apply brings them, kernels come back parked, whatever
// they were and whatever comes first, belong to their notebook, take no Pod until they are used,
// and then load the state that is kept by the UID of the first of them.
func TestRestoreInAnyOrder(t *testing.T) {
	c, seed := restoreCluster(t)
	first := string(c.kernel("parked").UID)
	key, err := keys.DeriveKeep(seed, c.namespace, first)
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 6 {
		copies := c.takeAll()
		random.Shuffle(len(copies), func(i, j int) { copies[i], copies[j] = copies[j], copies[i] })
		if round == 0 { // each kernel long before its notebook and its gateway
			copies = append(copies[:0:0], sortedByKind(copies)...)
		}
		var order []string
		for _, o := range copies {
			order = append(order, o.GetName())
			c.create(o)
			if k, is := o.(*v1alpha1.JupyterKernel); is {
				c.phase(k.Name, k.WantedRun(), v1alpha1.KernelParked)
			}
		}
		t.Log(strings.Join(order, " "))
		nb := &v1alpha1.JupyterNotebook{}
		require.True(t, c.get("nb", nb))
		for _, name := range []string{"parked", "busy"} {
			c.eventually(name+" belongs to its notebook", func() bool {
				owners := c.kernel(name).OwnerReferences
				return len(owners) == 1 && owners[0].Kind == "JupyterNotebook" && owners[0].UID == nb.UID
			})
		}
		k := c.kernel("parked")
		require.NotEqual(t, first, string(k.UID))
		assert.Equal(t, first, k.Status.KeptAs)
		require.NotNil(t, k.Status.Kept)
		assert.EqualValues(t, 3, k.Status.Kept.Variables)
		assert.Contains(t, k.Status.Message, "restored from a backup")
		var pods corev1.PodList
		require.NoError(t, c.api.List(c.ctx, &pods, client.InNamespace(c.namespace), podspec.SelectorOf("parked")))
		assert.Empty(t, pods.Items)
	}
	// a new gateway has a new key
	c.eventually("gateway key", func() bool {
		gw := &v1alpha1.JupyterGateway{}
		return c.get("gw", gw) && c.get(podspec.KeySecretName(gw), &corev1.Secret{})
	})
	c.askRun("parked", 2)
	pod := c.pod("parked", 2)
	var secret corev1.Secret
	require.True(t, c.get("parked-2", &secret))
	assert.Equal(t, key.Hex()+"\n", string(secret.Data[podspec.KeepKeyName]))
	assert.Contains(t, pod.Spec.Containers[0].Env, corev1.EnvVar{Name: "ELASTICHUB_AGENT_KEEP_KERNEL", Value: first})
	assert.Contains(t, pod.Spec.Containers[0].Env, corev1.EnvVar{Name: "ELASTICHUB_AGENT_KEEP_LOADS", Value: "1"})
	c.askRun("busy", 2)
	c.pod("busy", 2)

	// it goes on as any other: the state of its next park has the same name
	c.report(pod, kerneltest.Running("10.0.0.9", true))
	c.phase("parked", 2, v1alpha1.KernelReady)
	c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","kept":{"outcome":"whole","run":2,"variables":4,"bytes":70000}}`))
	assert.Equal(t, first, c.phase("parked", 2, v1alpha1.KernelParked).Status.KeptAs)
	c.eventually("it is noted", func() bool {
		as, _ := c.kernel("parked").RestoreAs()
		return as.UID == first && as.Kept != nil && as.Kept.Variables == 4
	})

	// and it ends with its gateway, as ever
	k := c.kernel("busy")
	require.NoError(t, c.api.Delete(c.ctx, &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: "gw", Namespace: c.namespace}}))
	c.gone(k)
}

// sortedByKind puts kernels first.
func sortedByKind(objects []client.Object) []client.Object {
	var kernels, others []client.Object
	for _, o := range objects {
		if _, is := o.(*v1alpha1.JupyterKernel); is {
			kernels = append(kernels, o)
		} else {
			others = append(others, o)
		}
	}
	return append(kernels, others...)
}

// TestRestoreForged: nobody has the state of another kernel loaded by what he writes into a copy,
// nor gets into another's notebook; and a seed that is lost loses the state and nothing else.
func TestRestoreForged(t *testing.T) {
	c, seed := restoreCluster(t)
	true1, _ := c.kernel("parked").RestoreAs()
	copies := c.takeAll()
	var parked *v1alpha1.JupyterKernel
	for _, o := range copies {
		if k, is := o.(*v1alpha1.JupyterKernel); is {
			if k.Name == "parked" {
				parked = k
			}
			continue
		}
		c.create(o)
	}
	other := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
	other.Spec.User, other.Spec.Storage = "eve", &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: resource.MustParse("1Gi")}}
	other.Spec.Gateway = &corev1.ObjectReference{Name: "gw"}
	c.create(other)
	forge := func(name string, change func(k *v1alpha1.JupyterKernel)) {
		k := parked.DeepCopy()
		k.Name, k.ResourceVersion = name, ""
		change(k)
		c.create(k)
	}
	unsealed := func(as v1alpha1.RestoreAs) map[string]string {
		text, err := json.Marshal(as)
		require.NoError(t, err)
		return map[string]string{v1alpha1.AnnotationRestoreAs: string(text)}
	}
	elsewhere, err := keys.SealKept(bytes.Repeat([]byte{6}, keys.Size), keys.Kept{Namespace: c.namespace, Name: "own-seal", Notebook: "nb", User: "ann", UID: true1.UID})
	require.NoError(t, err)
	for name, change := range map[string]func(k *v1alpha1.JupyterKernel){
		"another-name":     func(*v1alpha1.JupyterKernel) {},
		"another-notebook": func(k *v1alpha1.JupyterKernel) { k.Spec.Notebook, k.Spec.User = "other", "eve" },
		"no-seal":          func(k *v1alpha1.JupyterKernel) { k.Annotations = unsealed(v1alpha1.RestoreAs{UID: true1.UID}) },
		"own-seal": func(k *v1alpha1.JupyterKernel) {
			k.Annotations = unsealed(v1alpha1.RestoreAs{UID: true1.UID, Seal: elsewhere})
		},
		"no-json": func(k *v1alpha1.JupyterKernel) { k.Annotations = map[string]string{v1alpha1.AnnotationRestoreAs: "{"} },
	} {
		forge(name, change)
		k := c.phase(name, 1, v1alpha1.KernelParked)
		assert.Empty(t, k.Status.KeptAs, name)
		assert.Nil(t, k.Status.Kept, name)
		c.eventually("it has an owner", func() bool { return len(c.kernel(name).OwnerReferences) == 1 })
	}
	forge("strangers", func(k *v1alpha1.JupyterKernel) { k.Spec.User = "eve" })
	k := c.phase("strangers", 1, v1alpha1.KernelDead)
	assert.Equal(t, v1alpha1.CauseRefused, k.Status.Cause)
	assert.Empty(t, k.OwnerReferences)

	// another seed: the kernel is there, its state is not, and the right seed brings it back
	c.stop()
	c.cfg.KeepSeeds = keys.FixedKeepSeeds(bytes.Repeat([]byte{7}, keys.Size))
	c.start()
	c.create(parked)
	k = c.phase("parked", 1, v1alpha1.KernelParked)
	assert.Empty(t, k.Status.KeptAs)
	assert.Contains(t, k.Status.Message, "without its variables")
	c.stop()
	c.cfg.KeepSeeds = keys.FixedKeepSeeds(seed)
	c.start()
	c.eventually("its state is its own again", func() bool { return c.kernel("parked").Status.KeptAs == true1.UID })
}
