package kernels

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/removal"
	"github.com/elastichub/elastichub/test/helm"
)

// install applies the chart as Helm renders it, with the record that Helm keeps, and says that the service runs.
func (c *cluster) install(namespace string) {
	c.Helper()
	chart := filepath.Join("..", "charts", "elastichub")
	out, err := helm.Run(c.T, "template", "elastichub", chart, "--namespace", namespace, "--kube-version", "1.34", "--no-hooks", "--skip-crds",
		"--values", filepath.Join(chart, "testdata", "smallest.yaml"))
	require.NoError(c, err, out)
	for text := range strings.SplitSeq(out, "\n---\n") {
		o := &unstructured.Unstructured{}
		require.NoError(c, yaml.Unmarshal([]byte(text), &o.Object))
		if o.GetKind() == "" {
			continue
		}
		if o.GetNamespace() == "" {
			o.SetNamespace(namespace)
		}
		require.NoError(c, c.api.Create(c.ctx, o), "%s %s", o.GetKind(), o.GetName())
		if !strings.HasPrefix(o.GetKind(), "Cluster") && !strings.HasPrefix(o.GetKind(), "Validating") {
			continue
		}
		c.Cleanup(func() { _ = c.api.Delete(context.Background(), o) })
	}
	var record bytes.Buffer
	w := gzip.NewWriter(&record)
	_, err = w.Write([]byte(`{"chart": {"metadata": {"name": "elastichub"}}}`))
	require.NoError(c, err)
	require.NoError(c, w.Close())
	for _, secret := range []*corev1.Secret{
		{ObjectMeta: metav1.ObjectMeta{Name: "sh.helm.release.v1.elastichub.v1", Labels: map[string]string{"owner": "helm", "name": "elastichub"}},
			Data: map[string][]byte{"release": []byte(base64.StdEncoding.EncodeToString(record.Bytes()))}},
		{ObjectMeta: metav1.ObjectMeta{Name: "elastichub-keep", Labels: map[string]string{"app.kubernetes.io/name": "elastichub", "app.kubernetes.io/instance": "elastichub"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "of-the-values"}},
	} {
		secret.Namespace = namespace
		c.create(secret)
	}
	d := &appsv1.Deployment{}
	require.NoError(c, c.api.Get(c.ctx, client.ObjectKey{Namespace: namespace, Name: "elastichub"}, d))
	d.Status.Replicas, d.Status.ReadyReplicas = 2, 2
	require.NoError(c, c.api.Status().Update(c.ctx, d))
}

// removed is what the removal said and did.
type removed struct {
	sync.Mutex
	lines []string
}

func (r *removed) tell(line string) {
	r.Lock()
	defer r.Unlock()
	r.lines = append(r.lines, line)
}

func (c *cluster) site(said *removed) removal.Site {
	return removal.Site{API: c.api, Namespace: c.namespace, Release: "elastichub", By: "the test", Now: time.Now, Tell: said.tell}
}

// free has GPUs freed while the test plays the kubelets, the controller of Deployments, that of
// notebooks, and a user who runs a cell of a kernel that was just parked.
func (c *cluster) free(site removal.Site, patience time.Duration, again string) removal.Freed {
	c.Helper()
	type result struct {
		freed removal.Freed
		err   error
	}
	done := make(chan result, 1)
	go func() {
		freed, err := site.FreeGPUs(c.ctx, patience, true)
		done <- result{freed, err}
	}()
	for {
		select {
		case r := <-done:
			require.NoError(c, r.err)
			return r.freed
		case <-time.After(20 * time.Millisecond):
		}
		var d appsv1.Deployment
		if c.get("elastichub", &d) && ptr.Deref(d.Spec.Replicas, 1) == 0 {
			c.stop()
		}
		var notebooks v1alpha1.JupyterNotebookList
		require.NoError(c, c.api.List(c.ctx, &notebooks, client.InNamespace(c.namespace)))
		for i := range notebooks.Items {
			if nb := &notebooks.Items[i]; nb.Spec.Stopped && nb.Status.Phase != v1alpha1.NotebookStopped {
				nb.Status.Phase = v1alpha1.NotebookStopped
				require.NoError(c, client.IgnoreNotFound(c.api.Status().Update(c.ctx, nb)))
			}
		}
		var pods corev1.PodList
		require.NoError(c, c.api.List(c.ctx, &pods, client.InNamespace(c.namespace)))
		for i := range pods.Items {
			pod := &pods.Items[i]
			ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
			switch {
			case pod.DeletionTimestamp != nil && len(pod.Finalizers) == 0:
				c.kill(pod)
			case !ended && c.agents.state(pod.Status.PodIP).parked:
				c.report(pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","kept":{"outcome":"whole","run":1,"variables":3,"bytes":70000}}`))
			}
		}
		if again != "" && c.kernel(again).Status.Phase == v1alpha1.KernelParked {
			c.askRun(again, 2)
			again = ""
		}
	}
}

func (c *cluster) readyAt(kernel, node, ip string, agent func(*fakeAgent)) *corev1.Pod {
	c.Helper()
	c.agents.at(ip, agent)
	pod := c.pod(kernel, 1)
	c.bind(pod, node)
	c.report(pod, kerneltest.Running(ip, true))
	c.phase(kernel, 1, v1alpha1.KernelReady)
	return pod
}

// holders are the Pods that hold something.
func (c *cluster) holders() []string {
	c.Helper()
	var pods corev1.PodList
	require.NoError(c, c.api.List(c.ctx, &pods, client.InNamespace(c.namespace)))
	var all []string
	for _, pod := range pods.Items {
		if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			all = append(all, pod.Name)
		}
	}
	return all
}

func names(items []removal.Item) []string {
	var all []string
	for _, item := range items {
		all = append(all, item.String())
	}
	slices.Sort(all)
	return all
}

// TestUninstall: kernels are parked with their variables, or by force; one that somebody uses
// again meanwhile and the Pods that nobody has go, too. What goes and what stays is what was planned; another
// release of the name loses nothing.
func TestUninstall(t *testing.T) {
	c := startCluster(t, func(cfg *Config) {
		cfg.Pods.Keep = podspec.Keep{Enabled: true, IdleSeconds: 300, TTL: time.Hour}
	})
	c.install(c.namespace)
	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "kernels-"}}
	require.NoError(t, c.api.Create(c.ctx, other))
	c.install(other.Name)
	c.node("removal", 3)
	c.gateway("gw")
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "nb"}}
	nb.Spec.User, nb.Spec.Gateway = "ann", &corev1.ObjectReference{Name: "gw"}
	home := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "claim-ann", Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}}}
	home.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	home.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	ledger := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "elastichub-usage-00", Labels: map[string]string{"elastichub.io/usage": "elastichub-usage"}}}
	c.create(nb, home, ledger, kerneltest.GPUSpec("gpu", 1), kerneltest.Policy("lab", func(k *v1alpha1.PolicyKernels) { k.Allowed = []string{"gpu"} }))
	for name, idle := range map[string]time.Duration{"idle": time.Minute, "again": time.Minute, "busy": 0} {
		c.create(kerneltest.Kernel(name, "gw", "gpu"))
		c.readyAt(name, "removal", "10.1.0."+map[string]string{"idle": "1", "again": "2", "busy": "3"}[name], func(a *fakeAgent) { a.idle = idle })
	}
	c.create(kerneltest.Kernel("waits", "gw", "gpu"))
	c.eventually("one waits", func() bool { return c.kernel("waits").Status.Queue != nil })

	var said removed
	site := c.site(&said)
	plan, err := site.Look(t.Context(), false)
	require.NoError(t, err)
	ns := c.namespace + "/"
	assert.Equal(t, []string{"JupyterKernel " + ns + "again", "JupyterKernel " + ns + "busy", "JupyterKernel " + ns + "idle", "JupyterKernel " + ns + "waits"}, names(plan.Kernels))
	assert.Equal(t, []string{"JupyterNotebook " + ns + "nb"}, names(plan.Servers))
	assert.Contains(t, names(plan.Goes), "ClusterRole "+c.namespace+"-elastichub-capacity")
	assert.Contains(t, names(plan.Goes), "ValidatingAdmissionPolicy "+c.namespace+"-elastichub-gateways")
	assert.Contains(t, names(plan.Last), "ConfigMap "+ns+"elastichub")
	assert.Contains(t, names(plan.Last), "Secret "+ns+"sh.helm.release.v1.elastichub.v1")
	assert.Empty(t, plan.Unknown)
	for _, stays := range []string{"PersistentVolumeClaim " + ns + "claim-ann", "Secret " + ns + "elastichub-keep", "ConfigMap " + ns + "elastichub-usage-00", "JupyterNotebook " + ns + "nb", "GroupPolicy " + ns + "lab", "JupyterKernel " + ns + "idle"} {
		assert.Contains(t, names(plan.Stays), stays)
	}
	for _, item := range slices.Concat(plan.Goes, plan.Last, plan.Stays) {
		assert.NotContains(t, item.String(), other.Name)
		assert.NotContains(t, item.String(), "of-the-values")
	}

	freed := c.free(site, time.Second, "again")
	assert.Empty(t, freed.Held)
	assert.Empty(t, c.holders())
	assert.GreaterOrEqual(t, freed.Parked, 3)
	assert.Equal(t, 1, freed.Forced)
	assert.Less(t, freed.Took, time.Minute)
	for name, run := range map[string]int64{"idle": 1, "busy": 1, "waits": 1} {
		k := c.kernel(name)
		assert.Equal(t, v1alpha1.KernelParked, k.Status.Phase, name)
		assert.Equal(t, run, k.Status.Run, name)
	}
	require.NotNil(t, c.kernel("idle").Status.Kept)
	assert.Equal(t, "whole", c.kernel("idle").Status.Kept.Outcome)
	require.True(t, c.get("nb", nb))
	assert.Equal(t, string(v1alpha1.StopAdmin), nb.Annotations[v1alpha1.AnnotationStopCause])

	// What cannot go is named, and what tells whose it is waits for it.
	role := &rbacv1.Role{}
	require.True(t, c.get("elastichub", role))
	role.Finalizers = []string{"example.org/slow"}
	require.NoError(t, c.api.Update(c.ctx, role))
	soon := site
	var mu sync.Mutex
	var passed time.Duration
	soon.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		passed += 2 * time.Second
		return time.Now().Add(passed)
	}
	plan, err = site.Look(t.Context(), false)
	require.NoError(t, err)
	remaining, err := soon.Remove(t.Context(), plan)
	require.NoError(t, err)
	require.Len(t, remaining, 1+len(plan.Last))
	assert.Equal(t, "Role "+ns+"elastichub", remaining[0].Item.String())
	assert.Contains(t, remaining[0].Why, "example.org/slow")
	require.True(t, c.get("elastichub", &corev1.ConfigMap{}))
	require.True(t, c.get("elastichub", role))
	role.Finalizers = nil
	require.NoError(t, c.api.Update(c.ctx, role))

	// Repeated, it goes on.
	plan, err = site.Look(t.Context(), false)
	require.NoError(t, err)
	remaining, err = site.Remove(t.Context(), plan)
	require.NoError(t, err)
	assert.Empty(t, remaining)
	for name, o := range map[string]client.Object{"claim-ann": home, "elastichub-keep": &corev1.Secret{}, "of-the-values": &corev1.Secret{}, "elastichub-usage-00": ledger, "nb": nb, "lab": &v1alpha1.GroupPolicy{}} {
		assert.True(t, c.get(name, o), name)
	}
	assert.False(t, c.get("elastichub", &appsv1.Deployment{}))
	assert.False(t, c.get("elastichub", &corev1.ConfigMap{}))
	assert.False(t, c.get("sh.helm.release.v1.elastichub.v1", &corev1.Secret{}))

	// Everything, of a release that is gone already.
	plan, err = site.Look(t.Context(), true)
	require.NoError(t, err)
	remaining, err = site.Remove(t.Context(), plan)
	require.NoError(t, err)
	assert.Empty(t, remaining)
	for name, o := range map[string]client.Object{"nb": nb, "lab": &v1alpha1.GroupPolicy{}, "elastichub-keep": &corev1.Secret{}, "elastichub-usage-00": ledger, "idle": &v1alpha1.JupyterKernel{}} {
		assert.False(t, c.get(name, o), name)
	}
	assert.True(t, c.get("claim-ann", home))
	assert.Equal(t, []string{"PersistentVolumeClaim " + ns + "claim-ann"}, names(plan.Stays))

	for name, o := range map[string]client.Object{"elastichub": &appsv1.Deployment{}, "elastichub-keep": &corev1.Secret{}} {
		require.NoError(t, c.api.Get(c.ctx, client.ObjectKey{Namespace: other.Name, Name: name}, o))
	}
	require.NoError(t, c.api.Get(c.ctx, client.ObjectKey{Name: other.Name + "-elastichub-capacity"}, &rbacv1.ClusterRole{}))

	// Neither another release of the namespace, nor a namespace of another release's.
	site.Namespace, site.Release = other.Name, "typo"
	_, err = site.Look(t.Context(), true)
	var wrong *removal.OtherReleaseError
	require.ErrorAs(t, err, &wrong)
	assert.Equal(t, []string{"elastichub"}, wrong.There)
}
