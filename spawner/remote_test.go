package spawner

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func TestKernelShortage(t *testing.T) {
	const none = "This server has no remote kernels"
	ofGateway := func(change func(*v1alpha1.JupyterGateway)) func(*v1alpha1.JupyterNotebook, *remote) {
		return func(_ *v1alpha1.JupyterNotebook, r *remote) { change(r.gateway) }
	}
	notReady := func(change func(*v1alpha1.JupyterGateway)) func(*v1alpha1.JupyterNotebook, *remote) {
		return ofGateway(func(gateway *v1alpha1.JupyterGateway) {
			gateway.Status.ReadyReplicas = 0
			change(gateway)
		})
	}
	for name, row := range map[string]struct {
		change  func(*v1alpha1.JupyterNotebook, *remote)
		reason  Reason
		message string
	}{
		"all there":    {func(*v1alpha1.JupyterNotebook, *remote) {}, "", ""},
		"switched off": {func(nb *v1alpha1.JupyterNotebook, r *remote) { nb.Spec.Gateway, *r = nil, remote{} }, "", ""},
		"built-in": {func(_ *v1alpha1.JupyterNotebook, r *remote) {
			r.gateway.Spec.Kernels = nil
			r.allowed = []string{"python_kubernetes"}
			r.specs = r.allowed
		}, "", ""},
		"no gateway":   {func(_ *v1alpha1.JupyterNotebook, r *remote) { *r = remote{} }, ReasonGatewayMissing, none + " until an administrator creates the JupyterGateway default in the namespace hub."},
		"another name": {func(_ *v1alpha1.JupyterNotebook, r *remote) { *r = remote{others: []string{"gpus"}} }, ReasonGatewayMissing, none + " until an administrator creates the JupyterGateway default in the namespace hub, or sets notebooks.gateway in the chart's values to one that exists: gpus."},
		"without a Hub": {func(nb *v1alpha1.JupyterNotebook, r *remote) {
			nb.Spec.Start = ""
			*r = remote{others: []string{"gpus"}}
		}, ReasonGatewayMissing, none + " until an administrator creates the JupyterGateway default in the namespace hub, or sets spec.gateway.name of the JupyterNotebook to one that exists: gpus."},
		"made just now":  {notReady(func(*v1alpha1.JupyterGateway) {}), ReasonGatewayNotReady, none + " until the JupyterGateway default is ready: it was made a moment ago."},
		"scaled to none": {notReady(func(g *v1alpha1.JupyterGateway) { g.Spec.Replicas = new(int32) }), ReasonGatewayNotReady, none + " until the JupyterGateway default is ready: its spec.replicas is 0."},
		"its own word": {notReady(func(g *v1alpha1.JupyterGateway) {
			g.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionFalse, Message: "No replica of the gateway is ready."}}
		}), ReasonGatewayNotReady, none + " until the JupyterGateway default is ready: No replica of the gateway is ready."},
		"refused": {notReady(func(g *v1alpha1.JupyterGateway) {
			g.Status.Conditions = []metav1.Condition{{Type: string(appsv1.DeploymentReplicaFailure), Status: metav1.ConditionTrue, Message: "exceeded quota: compute"}}
		}), ReasonGatewayNotReady, none + " until the JupyterGateway default is ready: the cluster refuses its Pods: exceeded quota: compute."},
		"policy allows none":  {func(_ *v1alpha1.JupyterNotebook, r *remote) { r.allowed = nil }, ReasonNoKernelAllowed, none + ": spec.kernels.allowed of the policy ml names none."},
		"policy allows other": {func(_ *v1alpha1.JupyterNotebook, r *remote) { r.allowed = []string{"r"} }, ReasonNoKernelOffered, none + ": the policy ml allows r, and spec.kernels of the JupyterGateway default offers python-cpu, python-gpu."},
		"no kernelspec":       {func(_ *v1alpha1.JupyterNotebook, r *remote) { r.specs = nil }, ReasonKernelSpecMissing, none + " until an administrator creates the JupyterKernelSpec python-cpu, python-gpu in the namespace hub."},
		"one kernelspec":      {func(_ *v1alpha1.JupyterNotebook, r *remote) { r.specs = r.specs[:1] }, ReasonKernelSpecMissing, "This server lacks the remote kernel python-gpu until an administrator creates the JupyterKernelSpec of that name in the namespace hub."},
		"not its kernelspec":  {func(_ *v1alpha1.JupyterNotebook, r *remote) { r.specs, r.allowed = r.specs[:1], r.allowed[1:] }, "", ""},
		"no policies":         {func(nb *v1alpha1.JupyterNotebook, r *remote) { nb.Spec.KernelOptions, r.allowed = nil, nil }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			nb, r := requested(testRequest("alice", "", "s1")), readyGateway()
			row.change(nb, &r)
			short := kernelShortage(nb, r)
			if row.reason == "" {
				assert.Nil(t, short)
				return
			}
			require.NotNil(t, short)
			assert.Equal(t, shortage{row.reason, row.message}, *short)
		})
	}
}

func TestGatewayCondition(t *testing.T) {
	ready := podCondition(corev1.PodReady, corev1.ConditionTrue, "", "")
	notReady := func(o *observed) { o.remote.gateway.Status.ReadyReplicas = 0 }
	for name, row := range map[string]struct {
		observed observed
		status   metav1.ConditionStatus
		reason   Reason
	}{
		"found":                 {starting(), metav1.ConditionTrue, ReasonFound},
		"not ready":             {starting(notReady), metav1.ConditionTrue, ReasonGatewayNotReady},
		"of a running server":   {starting(ready, notReady), metav1.ConditionTrue, ReasonFound},
		"missing":               {starting(func(o *observed) { o.remote = remote{} }), metav1.ConditionFalse, ReasonGatewayMissing},
		"gone meanwhile":        {starting(ready, func(o *observed) { o.remote = remote{} }), metav1.ConditionFalse, ReasonGatewayMissing},
		"short of a kernelspec": {starting(func(o *observed) { o.remote.specs = nil }), metav1.ConditionTrue, ReasonFound},
	} {
		status, _ := decide(row.observed)
		condition := apimeta.FindStatusCondition(status.Conditions, ConditionGateway)
		require.NotNil(t, condition, name)
		assert.Equal(t, row.status, condition.Status, name)
		assert.Equal(t, string(row.reason), condition.Reason, name)
	}
	off := starting()
	off.notebook.Status, _ = decide(off)
	off.notebook.Spec.Gateway = nil
	status, _ := decide(off)
	assert.Nil(t, apimeta.FindStatusCondition(status.Conditions, ConditionGateway), "nothing is looked for")
}

func TestNoHomeIsTold(t *testing.T) {
	const told = "This server has no home volume: its files are lost when it stops, until an administrator sets spec.storage.home in the policy ml."
	for name, row := range map[string]struct {
		change func(*v1alpha1.JupyterNotebook)
		tell   bool
	}{
		"home":             {func(*v1alpha1.JupyterNotebook) {}, false},
		"none":             {func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Storage = nil }, true},
		"data only":        {func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Storage.Home = nil }, true},
		"shared home":      {func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Storage = sharedAt("/home/jovyan/", false) }, false},
		"shared above":     {func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Storage = sharedAt("/home", false) }, false},
		"shared in home":   {func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Storage = sharedAt("/home/jovyan/x", false) }, true},
		"shared read-only": {func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Storage = sharedAt("/home/jovyan", true) }, true},
		"without a Hub":    {func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Start, nb.Spec.Storage = "", nil }, false},
	} {
		o := starting()
		row.change(o.notebook)
		o.notebook.Status, _ = decide(o)
		var all []string
		for _, entry := range o.notebook.Status.Progress {
			all = append(all, entry.Message)
		}
		if row.tell {
			assert.Contains(t, all, told, name)
		} else {
			assert.NotContains(t, all, told, name)
		}
	}
}

func sharedAt(at string, readOnly bool) *v1alpha1.NotebookStorage {
	return &v1alpha1.NotebookStorage{Shared: []v1alpha1.SharedVolume{{Name: "s", Claim: "s", MountPath: at, ReadOnly: readOnly}}}
}

// What a new installation lacks keeps nobody from starting, and is told.
func TestServerStartsWithoutGateway(t *testing.T) {
	c := newCluster(t)
	s := c.replica(true)
	req := testRequest("gwen", "", "s1")
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	d := c.deployment("jupyter-gwen", "s1", 1)
	assert.Contains(t, d.Spec.Template.Spec.Containers[0].Env, corev1.EnvVar{Name: "JUPYTER_GATEWAY_URL", Value: "http://default." + c.namespace + ".svc:8888"})
	c.ready(c.pod(d))
	c.phase(s, req.Key, v1alpha1.NotebookReady)
	assert.Contains(t, messages(c.all(s, req.Key, "s1", "")),
		"This server has no remote kernels until an administrator creates the JupyterGateway default in the namespace "+c.namespace+".")

	// Step by step, as an administrator would: each start tells what is next.
	next := func(start, want string) {
		t.Helper()
		req := testRequest("gwen", "", start)
		_, err := s.Start(t.Context(), req)
		require.NoError(t, err)
		d := c.deployment("jupyter-gwen", start, 1)
		c.ready(c.pod(d))
		c.phase(s, req.Key, v1alpha1.NotebookReady)
		all := messages(c.all(s, req.Key, start, ""))
		if want != "" {
			assert.Contains(t, all, want)
		}
		for _, message := range all {
			if message != want {
				assert.NotContains(t, message, "remote kernel")
			}
		}
	}
	gateway := &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "default"}, Spec: v1alpha1.JupyterGatewaySpec{Kernels: []string{"python-gpu"}}}
	require.NoError(t, c.client.Create(t.Context(), gateway))
	c.notebook("jupyter-gwen", func(nb *v1alpha1.JupyterNotebook) bool {
		return apimeta.IsStatusConditionTrue(nb.Status.Conditions, ConditionGateway)
	})
	next("s2", "This server has no remote kernels until the JupyterGateway default is ready: it was made a moment ago.")
	gateway.Status.ReadyReplicas = 1
	require.NoError(t, c.client.Status().Update(t.Context(), gateway))
	seen(c, s, gateway, func(gateway *v1alpha1.JupyterGateway) bool { return gateway.Status.ReadyReplicas == 1 })
	next("s3", "This server has no remote kernels: spec.kernels.allowed of the policy ml names none.")
	policy := &v1alpha1.GroupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "ml"}, Spec: v1alpha1.GroupPolicySpec{
		Groups: []string{"ml"}, Images: []v1alpha1.ImageChannel{{ID: "stable", Image: "lab"}}, Kernels: v1alpha1.PolicyKernels{Allowed: []string{"python-gpu"}},
		CPU:    v1alpha1.ResourceRange{Min: resource.MustParse("1"), Max: resource.MustParse("2")},
		Memory: v1alpha1.ResourceRange{Min: resource.MustParse("1Gi"), Max: resource.MustParse("2Gi")},
	}}
	require.NoError(t, c.client.Create(t.Context(), policy))
	seen(c, s, policy, func(*v1alpha1.GroupPolicy) bool { return true })
	next("s4", "This server has no remote kernels until an administrator creates the JupyterKernelSpec python-gpu in the namespace "+c.namespace+".")
	ks := &v1alpha1.JupyterKernelSpec{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "python-gpu"}, Spec: v1alpha1.JupyterKernelSpecSpec{Language: "python", DisplayName: "GPU", Image: "kernel"}}
	require.NoError(t, c.client.Create(t.Context(), ks))
	seen(c, s, ks, func(*v1alpha1.JupyterKernelSpec) bool { return true })
	next("s5", "")
}

// notebooks.gateway: "" in the chart.
func TestRemoteKernelsSwitchedOff(t *testing.T) {
	c := newCluster(t)
	c.cfg.GatewayName = ""
	s := c.replica(true)
	req := testRequest("otto", "", "s1")
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	d := c.deployment("jupyter-otto", "s1", 1)
	for _, variable := range d.Spec.Template.Spec.Containers[0].Env {
		assert.NotContains(t, variable.Name, "JUPYTER_GATEWAY")
	}
	c.ready(c.pod(d))
	c.phase(s, req.Key, v1alpha1.NotebookReady)
	for _, message := range messages(c.all(s, req.Key, "s1", "")) {
		assert.NotContains(t, message, "remote kernels")
	}
	var nb v1alpha1.JupyterNotebook
	require.NoError(t, c.get("jupyter-otto", &nb))
	assert.Nil(t, nb.Spec.Gateway)
	assert.Nil(t, apimeta.FindStatusCondition(nb.Status.Conditions, ConditionGateway))
}

// The events are those of kube-controller-manager, with their words and types.
func TestStartWithoutStorageClass(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	s := c.replica(true)
	req := testRequest("vera", "", "s1")
	req.Storage.Home.StorageClassName = nil
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	d := c.deployment("jupyter-vera", "s1", 1)
	c.pod(d)
	var volume corev1.PersistentVolumeClaim
	require.NoError(t, c.get("home-jupyter-vera", &volume))
	c.event(&volume, "PersistentVolumeClaim", corev1.EventTypeNormal, "FailedBinding", "no persistent volumes available for this claim and no storage class is set", "")
	nb := c.notebook("jupyter-vera", func(nb *v1alpha1.JupyterNotebook) bool { return nb.Status.Reason == "NoStorageClass" })
	log := nb.Status.Progress
	assert.Equal(t, noStorageClass(nb, "home-jupyter-vera"), log[len(log)-1].Message)
	began := time.Now()
	state := c.phase(s, req.Key, v1alpha1.NotebookFailed)
	assert.Less(t, time.Since(began), 3*troubleGrace)
	assert.Equal(t, noStorageClass(nb, "home-jupyter-vera"), state.Message)
	c.deployment("jupyter-vera", "s1", 0)
}
