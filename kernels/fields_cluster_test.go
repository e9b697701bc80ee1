package kernels

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/gateways"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/podrules/podrulestest"
)

// fieldWorld is a kernel that runs, and all that it is made from, of one name.
type fieldWorld struct {
	*cluster
	name, ip string
	pod      *corev1.Pod
}

// fieldRow is an edit of one field of an object of type T, and what is to come of it beside
// what its effect says.
type fieldRow[T client.Object] struct {
	edit func(T)
	then func(w *fieldWorld) bool
	// seenBy is the test that shows what is at once, where that takes more than one kernel.
	seenBy string
	// alone: the kernel has no notebook.
	alone bool
}

func fieldCluster(t *testing.T) *cluster {
	return startCluster(t, func(cfg *Config) {
		cfg.ClusterCapacity, cfg.KeepSeeds = false, keys.FixedKeepSeeds(make([]byte, 32))
		cfg.Pods.Keep.TTL, cfg.Pods.Keep.IdleSeconds = time.Hour, 300
	})
}

// world makes a kernel run.
func (c *cluster) world(n int, alone bool) *fieldWorld {
	c.Helper()
	w := &fieldWorld{cluster: c, name: fmt.Sprintf("w%d", n), ip: fmt.Sprintf("10.2.%d.%d", n/200, n%200+1)}
	template := &v1alpha1.JupyterKernelTemplate{ObjectMeta: metav1.ObjectMeta{Name: w.name}}
	template.Spec.Template = &v1alpha1.PodTemplate{}
	template.Spec.Template.Labels = map[string]string{"from": "template"}
	template.Spec.Template.Spec.Containers = []corev1.Container{{Name: "kernel"}}
	ks, other := kerneltest.GPUSpec(w.name, 0), kerneltest.GPUSpec(w.name+"-other", 0)
	ks.Spec.Template, other.Spec.Image = &corev1.ObjectReference{Name: w.name}, "other:test"
	policy := kerneltest.Policy(w.name, func(k *v1alpha1.PolicyKernels) {
		k.Allowed, k.OwnEnvironments = []string{ks.Name, other.Name}, ptr.To(true)
		k.Keep = &v1alpha1.PolicyKeep{Enabled: ptr.To(true)}
	})
	policy.Spec.ServiceAccountTokens = []v1alpha1.ServiceAccountToken{{Audience: "vault", Path: "vault", ExpirationSeconds: 3600}}
	policy.Spec.ServiceAccountName = w.name
	policy.Spec.ImagePullSecrets = []v1alpha1.PullSecret{{Name: "pull"}}
	account := func(name string) *corev1.ServiceAccount {
		return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{
			v1alpha1.AnnotationForPolicies: "*", v1alpha1.AnnotationTokenAudiences: "vault,bank",
		}}}
	}
	k := kerneltest.Kernel(w.name, w.name, w.name, kerneltest.Owned("ann", w.name))
	gw := &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: w.name}}
	gw.Spec.Auth = &v1alpha1.GatewayAuth{Clients: []v1alpha1.GatewayClient{{Name: "ci", Policies: []string{w.name}, TokenSecretRef: corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "ci"}, Key: "token"}}}}
	if !alone {
		nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: w.name}}
		nb.Spec = v1alpha1.JupyterNotebookSpec{
			User: "ann", Gateway: &corev1.ObjectReference{Name: w.name}, KernelOptions: &v1alpha1.KernelOptions{Policies: []string{w.name}},
			Storage: &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: resource.MustParse("1Gi")}},
		}
		c.create(nb)
		k.Spec.Notebook = w.name
	}
	c.create(account(w.name), account(w.name+"-other"), template, policy, ks, other, gw, k)
	w.pod = c.pod(w.name, 1)
	c.report(w.pod, kerneltest.Running(w.ip, true))
	c.phase(w.name, 1, v1alpha1.KernelReady)
	return w
}

// shape is what two runs of a kernel have in common if nothing was edited.
func (w *fieldWorld) shape(pod *corev1.Pod) string {
	w.Helper()
	labels := maps.Clone(pod.Labels)
	delete(labels, v1alpha1.LabelRun)
	spec := pod.Spec.DeepCopy()
	for i := range spec.Containers {
		spec.Containers[i].LivenessProbe = nil // knows the agent's secret
		for j := range spec.Containers[i].Env {
			switch e := &spec.Containers[i].Env[j]; e.Name {
			case "ELASTICHUB_AGENT_KEEP_RUN", "ELASTICHUB_AGENT_KEEP_LOADS":
				e.Value = ""
			}
		}
	}
	text, err := json.Marshal([]any{labels, pod.Annotations, spec})
	require.NoError(w, err)
	return strings.ReplaceAll(string(text), pod.Name, "POD")
}

// next is the Pod of the next run.
func (w *fieldWorld) next() *corev1.Pod {
	w.Helper()
	if w.kernel(w.name).Spec.Run < 2 {
		w.askRun(w.name, 2)
	}
	w.phase(w.name, 2, v1alpha1.KernelQueued)
	w.kill(w.pod)
	return w.cluster.pod(w.name, 2)
}

// each edits the fields of a kind, one world for each, and looks at the kernel.
func each[T client.Object](t *testing.T, kind string, spec any, made *atomic.Int32, c *cluster, rows map[string]fieldRow[T], empty func() T) {
	documented := podrulestest.Documented(t, "..", kind, spec)
	maps.DeleteFunc(documented, func(_ string, e podrulestest.Effect) bool { return e == podrulestest.NextStart }) // not the kernels'
	podrulestest.EachField(t, documented, rows, func(t *testing.T, field string, effect podrulestest.Effect, row fieldRow[T]) {
		if row.seenBy != "" {
			return
		}
		here := *c
		here.T, here.ctx = t, t.Context()
		w := here.world(int(made.Add(1)), row.alone)
		object := empty()
		require.True(t, w.get(w.name, object))
		var deployment appsv1.Deployment
		w.eventually("gateway", func() bool { return w.get(w.name, &deployment) })
		before, gateway := w.shape(w.pod), *deployment.Spec.Template.DeepCopy()
		edited := object.DeepCopyObject().(client.Object)
		row.edit(edited.(T))
		err := w.api.Patch(t.Context(), edited, client.MergeFrom(object))
		if effect == podrulestest.Never && kind == "JupyterKernel" {
			require.True(t, apierrors.IsInvalid(err), "%v", err)
			return
		}
		require.NoError(t, err)
		if row.then != nil {
			w.eventually("what is at once", func() bool { return row.then(w) })
		}
		switch effect {
		case podrulestest.AtOnce:
			require.NotNil(t, row.then, "what is at once?")
			require.True(t, w.get(w.name, &deployment))
			assert.Equal(t, gateway, deployment.Spec.Template)
		case podrulestest.NextRun:
			assert.Equal(t, w.pod.UID, w.cluster.pod(w.name, 1).UID, "what runs is left alone")
			assert.NotEqual(t, before, w.shape(w.next()))
		case podrulestest.NewPod:
			if kind == "JupyterGateway" {
				w.eventually("rolled", func() bool {
					return w.get(w.name, &deployment) && !assert.ObjectsAreEqual(gateway, deployment.Spec.Template)
				})
				break
			}
			w.next()
		case podrulestest.Never:
			assert.Equal(t, before, w.shape(w.next()))
			require.True(t, w.get(w.name, &deployment))
			assert.Equal(t, gateway, deployment.Spec.Template)
		default:
			t.Fatalf("no such effect here: %q", effect)
		}
	})
}

func agentTold(timeout time.Duration) func(*fieldWorld) bool {
	return func(w *fieldWorld) bool { return w.agents.state(w.ip).timeout == timeout }
}

func gatewayHas(kind, message string) func(*fieldWorld) bool {
	return func(w *fieldWorld) bool {
		var gw v1alpha1.JupyterGateway
		found := w.get(w.name, &gw) && meta.IsStatusConditionTrue(gw.Status.Conditions, kind)
		return found && strings.Contains(meta.FindStatusCondition(gw.Status.Conditions, kind).Message, message)
	}
}

func specSeen(w *fieldWorld) bool {
	var ks v1alpha1.JupyterKernelSpec
	return w.get(w.name, &ks) && ks.Status.ObservedGeneration == ks.Generation
}

// TestEveryFieldOfKernelsIsLive: an edit of it does what docs/kinds.md says.
func TestEveryFieldOfKernelsIsLive(t *testing.T) {
	t.Parallel()
	c := fieldCluster(t)
	var made atomic.Int32
	t.Run("JupyterKernelSpec", func(t *testing.T) {
		t.Parallel()
		type ks = v1alpha1.JupyterKernelSpec
		each(t, "JupyterKernelSpec", v1alpha1.JupyterKernelSpecSpec{}, &made, c, map[string]fieldRow[*ks]{
			"language":    {edit: func(k *ks) { k.Spec.Language = "R" }},
			"displayName": {edit: func(k *ks) { k.Spec.DisplayName = "Other" }, then: specSeen},
			"image":       {edit: func(k *ks) { k.Spec.Image = "other:1" }},
			"env":         {edit: func(k *ks) { k.Spec.Env = []corev1.EnvVar{{Name: "A", Value: "b"}} }},
			"command":     {edit: func(k *ks) { k.Spec.Command = []string{"mine", "{connection_file}"} }},
			"className":   {edit: func(k *ks) { k.Spec.ClassName = "x" }},
			"template":    {edit: func(k *ks) { k.Spec.Template = nil }},
			"resources": {edit: func(k *ks) {
				k.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{"memory": resource.MustParse("1Gi")}}
			}},
			"idleTimeoutSeconds": {edit: func(k *ks) { k.Spec.IdleTimeoutSeconds = ptr.To[int64](77) }, then: agentTold(77 * time.Second)},
			"logo":               {edit: func(k *ks) { k.Spec.Logo = "data:image/png;base64,AAAA" }, then: specSeen},
			"keep":               {edit: func(k *ks) { k.Spec.Keep = ptr.To(false) }},
			"interruptMode":      {edit: func(k *ks) { k.Spec.InterruptMode = v1alpha1.InterruptSignal }},
			"shmSize":            {edit: func(k *ks) { k.Spec.ShmSize = ptr.To(resource.MustParse("1Gi")) }},
		}, func() *ks { return &ks{} })
	})
	t.Run("JupyterKernelTemplate", func(t *testing.T) {
		t.Parallel()
		type kt = v1alpha1.JupyterKernelTemplate
		each(t, "JupyterKernelTemplate", v1alpha1.JupyterKernelTemplateSpec{}, &made, c, map[string]fieldRow[*kt]{
			"template": {edit: func(k *kt) { k.Spec.Template.Labels = map[string]string{"team": "blue"} }},
		}, func() *kt { return &kt{} })
	})
	t.Run("JupyterKernel", func(t *testing.T) {
		t.Parallel()
		type jk = v1alpha1.JupyterKernel
		parked := func(w *fieldWorld) bool { return w.agents.state(w.ip).parkCalls > 0 }
		gone := func(w *fieldWorld) bool { return !w.get(w.name, &jk{}) }
		park := func(p v1alpha1.KernelPark) func(*jk) { return func(k *jk) { p.Run = 1; k.Spec.Park = &p } }
		each(t, "JupyterKernel", v1alpha1.JupyterKernelCRDSpec{}, &made, c, map[string]fieldRow[*jk]{
			"template":           {seenBy: "TestATemplateOfABareKernelIsLive"},
			"gateway":            {edit: func(k *jk) { k.Spec.Gateway = "other" }},
			"gatewayNamespace":   {edit: func(k *jk) { k.Spec.GatewayNamespace = "other" }},
			"notebook":           {edit: func(k *jk) { k.Spec.Notebook = "other" }},
			"user":               {edit: func(k *jk) { k.Spec.User = "bob" }},
			"kernelSpec":         {edit: func(k *jk) { k.Spec.KernelSpec += "-other"; k.Spec.Run = 2 }},
			"run":                {edit: func(k *jk) { k.Spec.Run = 2 }},
			"policies":           {edit: func(k *jk) { k.Spec.Policies = nil }, alone: true},
			"env":                {edit: func(k *jk) { k.Spec.Env = []corev1.EnvVar{{Name: "KERNEL_X", Value: "b"}} }},
			"workingDir":         {edit: func(k *jk) { k.Spec.WorkingDir = "/home/jovyan/work" }},
			"environment":        {edit: func(k *jk) { k.Spec.Environment = "/home/jovyan/env" }},
			"idleTimeoutSeconds": {edit: func(k *jk) { k.Spec.IdleTimeoutSeconds = ptr.To[int64](77) }, then: agentTold(77 * time.Second)},
			"session.id":         {seenBy: "kernels/gateway: TestSessions"}, "session.path": {seenBy: "kernels/gateway: TestSessions"},
			"session.name": {seenBy: "kernels/gateway: TestSessions"}, "session.type": {seenBy: "kernels/gateway: TestSessions"},
			"park.run":      {edit: park(v1alpha1.KernelPark{}), then: parked},
			"park.force":    {edit: park(v1alpha1.KernelPark{Force: true}), then: parked},
			"park.by":       {edit: park(v1alpha1.KernelPark{By: "root"}), then: parked},
			"park.reason":   {edit: park(v1alpha1.KernelPark{Reason: "a talk"}), then: parked},
			"shutdown.by":   {edit: func(k *jk) { k.Spec.Shutdown = &v1alpha1.KernelShutdown{By: "root"} }, then: gone},
			"shutdown.at":   {edit: func(k *jk) { k.Spec.Shutdown = &v1alpha1.KernelShutdown{At: ptr.To(metav1.Now())} }, then: gone},
			"queuePriority": {seenBy: "TestMoveInTheQueue"}, "queueMove.run": {seenBy: "TestMoveInTheQueue"},
			"queueMove.by": {seenBy: "TestMoveInTheQueue"}, "queueMove.reason": {seenBy: "TestMoveInTheQueue"},
		}, func() *jk { return &jk{} })
	})
	t.Run("JupyterGateway", func(t *testing.T) {
		t.Parallel()
		type jg = v1alpha1.JupyterGateway
		c.create(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: c.namespace}})
		each(t, "JupyterGateway", v1alpha1.JupyterGatewaySpec{}, &made, c, map[string]fieldRow[*jg]{
			"kernels":         {edit: func(g *jg) { g.Spec.Kernels = []string{"absent"} }, then: gatewayHas(gateways.ConditionKernelSpecMissing, "absent")},
			"defaultKernel":   {edit: func(g *jg) { g.Spec.Kernels, g.Spec.DefaultKernel = []string{g.Name}, ptr.To("absent") }, then: gatewayHas(gateways.ConditionKernelSpecMissing, "the default")},
			"cullIdleTimeout": {edit: func(g *jg) { g.Spec.CullIdleTimeout = ptr.To[int32](77) }, then: agentTold(77 * time.Second)},
			"cullInterval":    {edit: func(g *jg) { g.Spec.CullInterval = ptr.To[int32](7) }},
			"logLevel":        {edit: func(g *jg) { g.Spec.LogLevel = ptr.To[v1alpha1.LogLevel]("DEBUG") }},
			"resources":       {edit: func(g *jg) { g.Spec.Resources = &corev1.ResourceRequirements{} }},
			"image":           {edit: func(g *jg) { g.Spec.Image = "mine:1" }},
			"clusterRole": {edit: func(g *jg) { g.Spec.ClusterRole = ptr.To(c.namespace) }, then: func(w *fieldWorld) bool {
				return w.get(w.name+"-gateway-extra", &rbacv1.RoleBinding{})
			}},
			"replicas": {edit: func(g *jg) { g.Spec.Replicas = ptr.To[int32](3) }, then: func(w *fieldWorld) bool {
				var d appsv1.Deployment
				return w.get(w.name, &d) && *d.Spec.Replicas == 3
			}},
			"cullConnected": {edit: func(g *jg) { g.Spec.CullConnected = ptr.To(false) }, then: func(w *fieldWorld) bool {
				a := w.agents.state(w.ip)
				return a.calls > 0 && !a.cull
			}},
			"onIdle": {edit: func(g *jg) { g.Spec.OnIdle = v1alpha1.OnIdleDelete }, then: func(w *fieldWorld) bool {
				if w.get(w.pod.Name, w.pod) && w.pod.Status.Phase == corev1.PodRunning {
					w.eventually("seen", func() bool { return w.agents.state(w.ip).calls > 0 }) // no longer kept
					w.report(w.pod, kerneltest.Exited(0, "Completed", `{"reason":"idle","exitCode":0}`))
				}
				return !w.get(w.name, &v1alpha1.JupyterKernel{})
			}},
			"auth.clients[].name":           {edit: func(g *jg) { g.Spec.Auth.Clients[0].Name = "cd" }},
			"auth.clients[].tokenSecretRef": {edit: func(g *jg) { g.Spec.Auth.Clients[0].TokenSecretRef.Key = "other" }},
			"auth.clients[].policies":       {seenBy: "TestAClientsPolicyThatIsMissingIsTold"},
			"warm":                          {seenBy: "TestWarmStart"}, "warmKernels[].kernelSpec": {seenBy: "TestWarmStart"},
			"warmKernels[].count": {seenBy: "TestWarmStart"}, "warmKernels[].policies": {seenBy: "TestWarmStart"},
			"yieldIdleSeconds":        {seenBy: "TestTheLongestIdleYields"},
			"parkNoticeSeconds":       {edit: func(g *jg) { g.Spec.ParkNoticeSeconds = ptr.To[int64](7) }},
			"iopub.messagesPerSecond": {edit: func(g *jg) { g.Spec.IOPub = &v1alpha1.IOPubLimits{MessagesPerSecond: 7} }},
			"iopub.bytesPerSecond":    {edit: func(g *jg) { g.Spec.IOPub = &v1alpha1.IOPubLimits{BytesPerSecond: 7} }},
			"keep.idleSeconds": {edit: func(g *jg) { g.Spec.Keep = &v1alpha1.GatewayKeep{IdleSeconds: ptr.To[int64](77)} },
				then: func(w *fieldWorld) bool { return w.agents.state(w.ip).short == 77*time.Second }},
			"keep.enabled":      {seenBy: "TestKeyOfAKeptKernel"},
			"keep.maxBytes":     {edit: func(g *jg) { g.Spec.Keep = &v1alpha1.GatewayKeep{MaxBytes: ptr.To(resource.MustParse("7Mi"))} }},
			"keep.ttl":          {edit: func(g *jg) { g.Spec.Keep = &v1alpha1.GatewayKeep{TTL: &metav1.Duration{Duration: 7 * time.Hour}} }},
			"keep.claim":        {edit: func(g *jg) { g.Spec.Keep = &v1alpha1.GatewayKeep{Claim: "other"} }},
			"allowedNamespaces": {seenBy: "TestAGatewayServesTheNamespacesThatItNames"},
		}, func() *jg { return &jg{} })
	})
	t.Run("GroupPolicy", func(t *testing.T) {
		t.Parallel()
		type gp = v1alpha1.GroupPolicy
		quota, budget := fieldRow[*gp]{seenBy: "kernels/admission: TestDecide"}, fieldRow[*gp]{seenBy: "TestBudgets"}
		rows := map[string]fieldRow[*gp]{
			"nodeSelector":                             {edit: func(p *gp) { p.Spec.NodeSelector = map[string]string{"a": "b"} }},
			"tolerations":                              {edit: func(p *gp) { p.Spec.Tolerations = []corev1.Toleration{{Key: "a", Operator: corev1.TolerationOpExists}} }},
			"affinity":                                 {edit: func(p *gp) { p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{}} }},
			"priorityClassName":                        {edit: func(p *gp) { p.Spec.PriorityClassName = "system-node-critical" }},
			"schedulerName":                            {edit: func(p *gp) { p.Spec.SchedulerName = "packing" }},
			"imagePullSecrets[].name":                  {edit: func(p *gp) { p.Spec.ImagePullSecrets[0].Name = "other" }},
			"serviceAccountName":                       {edit: func(p *gp) { p.Spec.ServiceAccountName += "-other" }},
			"serviceAccountTokens[].audience":          {edit: func(p *gp) { p.Spec.ServiceAccountTokens[0].Audience = "bank" }},
			"serviceAccountTokens[].expirationSeconds": {edit: func(p *gp) { p.Spec.ServiceAccountTokens[0].ExpirationSeconds = 7200 }},
			"serviceAccountTokens[].path":              {edit: func(p *gp) { p.Spec.ServiceAccountTokens[0].Path = "bank" }},
			"kernels.maxRunSeconds":                    {edit: func(p *gp) { p.Spec.Kernels.MaxRunSeconds = ptr.To[int64](7000) }},
			"kernels.idleSeconds":                      {edit: func(p *gp) { p.Spec.Kernels.IdleSeconds = 77 }, then: agentTold(77 * time.Second)},
			"kernels.keep.idleSeconds": {edit: func(p *gp) { p.Spec.Kernels.Keep.IdleSeconds = ptr.To[int64](77) },
				then: func(w *fieldWorld) bool { return w.agents.state(w.ip).short == 77*time.Second }},
			"kernels.keep.enabled":  {edit: func(p *gp) { p.Spec.Kernels.Keep.Enabled = ptr.To(false) }},
			"kernels.keep.maxBytes": {edit: func(p *gp) { p.Spec.Kernels.Keep.MaxBytes = ptr.To(resource.MustParse("7Mi")) }},
			"kernels.keep.ttl":      {edit: func(p *gp) { p.Spec.Kernels.Keep.TTL = &metav1.Duration{Duration: 7 * time.Hour} }},
			"kernels.keep.onYield":  {edit: func(p *gp) { p.Spec.Kernels.Keep.OnYield = v1alpha1.OnYieldWhole }},
			"kernels.onBudget":      budget,
		}
		for _, field := range podrulestest.Fields(v1alpha1.GroupPolicySpec{}) {
			_, has := rows[field]
			switch {
			case has:
			case strings.HasPrefix(field, "budget[]."), strings.HasPrefix(field, "kernels.budget[]."):
				rows[field] = budget
			}
		}
		for _, field := range []string{"allowed", "gpuResource", "gpusPerKernel", "gpusPerUser", "gpuPool", "perUser", "atLimit", "weight"} {
			rows["kernels."+field] = quota
		}
		rows["kernels.ownEnvironments"] = fieldRow[*gp]{seenBy: "kernels/podspec: TestOwnEnvironment"}
		each(t, "GroupPolicy", v1alpha1.GroupPolicySpec{}, &made, c, rows, func() *gp { return &gp{} })
	})
}
