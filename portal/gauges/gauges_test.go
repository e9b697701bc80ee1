package gauges

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/podtrouble"
	"github.com/elastichub/elastichub/portal/holdings"
)

const gpu = "nvidia.com/gpu"

// listed is a cache that holds these objects.
type listed struct {
	client.Reader
	kernels   []v1alpha1.JupyterKernel
	notebooks []v1alpha1.JupyterNotebook
	specs     []v1alpha1.JupyterKernelSpec
	pods      []corev1.Pod
	policies  []v1alpha1.GroupPolicy
	gateways  []v1alpha1.JupyterGateway
	err       error
}

func (l listed) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	switch list := into.(type) {
	case *v1alpha1.JupyterKernelList:
		list.Items = l.kernels
	case *v1alpha1.JupyterNotebookList:
		list.Items = l.notebooks
	case *v1alpha1.JupyterKernelSpecList:
		list.Items = l.specs
	case *corev1.PodList:
		list.Items = l.pods
	case *v1alpha1.GroupPolicyList:
		list.Items = l.policies
	case *v1alpha1.JupyterGatewayList:
		list.Items = l.gateways
	}
	return l.err
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

func amounts(cpu, memory string, gpus int64) corev1.ResourceList {
	all := corev1.ResourceList{}
	if cpu != "" {
		all[corev1.ResourceCPU], all[corev1.ResourceMemory] = resource.MustParse(cpu), resource.MustParse(memory)
	}
	if gpus > 0 {
		all[gpu] = *resource.NewQuantity(gpus, resource.DecimalSI)
	}
	return all
}

// scenery is a namespace with a bit of everything.
func scenery() listed {
	pool := int32(4)
	research := v1alpha1.GroupPolicy{ObjectMeta: named("research")}
	research.Spec.Kernels.GPUsPerKernel, research.Spec.Kernels.GPUPool = 2, &pool
	research.Status.Users, research.Status.UsersAtLimit = 3, 1
	kernel := func(name, policy string, phase v1alpha1.KernelPhase, gpus int64, idle bool) v1alpha1.JupyterKernel {
		k := v1alpha1.JupyterKernel{ObjectMeta: named(name)}
		k.Spec.KernelSpec, k.Spec.Policies, k.Spec.User = "gpu", []string{policy}, "Ann"
		k.Status.Phase, k.Status.Held = phase, amounts("", "", gpus)
		if phase == v1alpha1.KernelReady {
			k.Status.PodName, k.Status.Node = name+"-1", "one"
		}
		if idle {
			k.Status.IdleSince = &metav1.Time{}
		}
		return k
	}
	spec := v1alpha1.JupyterKernelSpec{ObjectMeta: named("gpu")}
	spec.Spec.Resources = &corev1.ResourceRequirements{Limits: amounts("", "", 1)}
	pod := corev1.Pod{ObjectMeta: named("busy-1")}
	pod.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: amounts("2", "4Gi", 2)}}}
	notebook := v1alpha1.JupyterNotebook{ObjectMeta: named("jupyter-ann")}
	notebook.Spec.KernelOptions = &v1alpha1.KernelOptions{Policies: []string{"research"}}
	notebook.Status.Phase = v1alpha1.NotebookReady
	refused := kernel("refused", "research", v1alpha1.KernelQueued, 0, false)
	refused.Status.Conditions = []metav1.Condition{{Type: "Taken", Status: metav1.ConditionFalse, Reason: podtrouble.PassingQuota}}
	awaited := v1alpha1.JupyterNotebook{ObjectMeta: named("jupyter-bob")}
	awaited.Status.Phase, awaited.Status.Reason = v1alpha1.NotebookPending, podtrouble.PassingWebhook
	down := v1alpha1.JupyterGateway{ObjectMeta: named("default")}
	down.Spec.Replicas, down.Status.ReadyReplicas = ptr.To[int32](2), 1
	down.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: podtrouble.PassingQuota}}
	return listed{
		gateways: []v1alpha1.JupyterGateway{down, {ObjectMeta: metav1.ObjectMeta{Namespace: "second", Name: "default"}}},
		kernels: []v1alpha1.JupyterKernel{
			kernel("busy", "research", v1alpha1.KernelReady, 2, false),
			kernel("idle", "gone\"\n", v1alpha1.KernelReady, 1, true),
			kernel("waits", "research", v1alpha1.KernelQueued, 0, false),
			kernel("parked", "research", v1alpha1.KernelParked, 0, false),
			refused,
		},
		specs: []v1alpha1.JupyterKernelSpec{spec}, pods: []corev1.Pod{pod}, notebooks: []v1alpha1.JupyterNotebook{notebook, awaited},
		policies: []v1alpha1.GroupPolicy{research, {ObjectMeta: named("students")}},
	}
}

func collector(from listed, leads bool) *Collector {
	elected := make(chan struct{})
	if leads {
		close(elected)
	}
	return New(Sources{
		Elected: elected, Reader: from, Scope: namespaces.Only("ns"), Log: slog.New(slog.DiscardHandler),
		Capacity: func(context.Context) (holdings.Capacity, error) {
			return holdings.Capacity{Total: map[string]int64{gpu: 8}, Free: map[string]int64{gpu: 5}}, nil
		},
		Nodes: func(context.Context) ([]Node, error) {
			return []Node{
				{Name: "one", Allocatable: amounts("16", "64Gi", 8), Requested: amounts("3", "8Gi", 3)},
				{Name: "two", Allocatable: amounts("8", "32Gi", 0)},
			}, nil
		},
	})
}

// gather tells every gauge as `name{label="value"} number`, without its prefix.
func gather(t *testing.T, c *Collector) []string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(c))
	families, err := registry.Gather()
	require.NoError(t, err)
	var all []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			all = append(all, fmt.Sprintf("%s{%s} %g", strings.TrimPrefix(f.GetName(), "elastichub_"), strings.Join(labels, ","), m.GetGauge().GetValue()))
		}
	}
	return all
}

func TestGauges(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{
		"devices_allocatable{resource=nvidia.com/gpu} 8",
		"devices_free{resource=nvidia.com/gpu} 5",
		"devices_held{resource=nvidia.com/gpu,state=busy} 2",
		"devices_held{resource=nvidia.com/gpu,state=idle} 1",
		"devices_waiting{resource=nvidia.com/gpu} 2",
		"gateway_replicas{gateway=default,state=ready} 1",
		"gateway_replicas{gateway=default,state=wanted} 3",
		"kernels{phase=Dead} 0",
		"kernels{phase=Parked} 1",
		"kernels{phase=Queued} 2",
		"kernels{phase=Ready} 2",
		"kernels{phase=Starting} 0",
		"node_allocatable_cpu_cores{node=one} 16",
		"node_allocatable_cpu_cores{node=two} 8",
		"node_allocatable_devices{node=one,resource=nvidia.com/gpu} 8",
		"node_allocatable_memory_bytes{node=one} 6.8719476736e+10",
		"node_allocatable_memory_bytes{node=two} 3.4359738368e+10",
		"node_held_cpu_cores{node=-} 0",
		"node_held_cpu_cores{node=one} 2",
		"node_held_cpu_cores{node=two} 0",
		"node_held_devices{node=one,resource=nvidia.com/gpu} 3",
		"node_held_memory_bytes{node=-} 0",
		"node_held_memory_bytes{node=one} 4.294967296e+09",
		"node_held_memory_bytes{node=two} 0",
		"node_kernels{node=-} 0",
		"node_kernels{node=one} 2",
		"node_kernels{node=two} 0",
		"node_requested_cpu_cores{node=one} 3",
		"node_requested_cpu_cores{node=two} 0",
		"node_requested_devices{node=one,resource=nvidia.com/gpu} 3",
		"node_requested_memory_bytes{node=one} 8.589934592e+09",
		"node_requested_memory_bytes{node=two} 0",
		"node_servers{node=-} 1",
		"node_servers{node=one} 0",
		"node_servers{node=two} 0",
		"policy_held_cpu_cores{policy=-} 0",
		"policy_held_cpu_cores{policy=research} 2",
		"policy_held_cpu_cores{policy=students} 0",
		"policy_held_devices{policy=-,resource=nvidia.com/gpu} 1",
		"policy_held_devices{policy=research,resource=nvidia.com/gpu} 2",
		"policy_held_memory_bytes{policy=-} 0",
		"policy_held_memory_bytes{policy=research} 4.294967296e+09",
		"policy_held_memory_bytes{policy=students} 0",
		"policy_kernels{policy=-} 1",
		"policy_kernels{policy=research} 1",
		"policy_kernels{policy=students} 0",
		"policy_limit_devices{policy=research,resource=nvidia.com/gpu} 4",
		"policy_servers{policy=-} 0",
		"policy_servers{policy=research} 1",
		"policy_servers{policy=students} 0",
		"policy_users{policy=research} 3",
		"policy_users{policy=students} 0",
		"policy_users_at_limit{policy=research} 1",
		"policy_users_at_limit{policy=students} 0",
		"policy_waiting_kernels{policy=-} 0",
		"policy_waiting_kernels{policy=research} 2",
		"policy_waiting_kernels{policy=students} 0",
		"waiting_for_cluster{kind=gateway,reason=QuotaExceeded} 1",
		"waiting_for_cluster{kind=gateway,reason=WebhookUnavailable} 0",
		"waiting_for_cluster{kind=kernel,reason=QuotaExceeded} 1",
		"waiting_for_cluster{kind=kernel,reason=WebhookUnavailable} 0",
		"waiting_for_cluster{kind=server,reason=QuotaExceeded} 0",
		"waiting_for_cluster{kind=server,reason=WebhookUnavailable} 1",
	}, gather(t, collector(scenery(), true)))
}

// TestWithoutNodesOrDevices: nobody counts the cluster's, and what is held is still told.
func TestWithoutNodesOrDevices(t *testing.T) {
	t.Parallel()
	c := collector(scenery(), true)
	c.from.Capacity = func(context.Context) (holdings.Capacity, error) { return holdings.Capacity{}, nil }
	c.from.Nodes = func(context.Context) ([]Node, error) { return nil, nil }
	all := strings.Join(gather(t, c), "\n")
	assert.Contains(t, all, "node_held_devices{node=one,resource=nvidia.com/gpu} 3")
	assert.Contains(t, all, "devices_held{resource=nvidia.com/gpu,state=busy} 2")
	assert.NotContains(t, all, "allocatable")
	assert.NotContains(t, all, "free")
}

// TestOnlyTheLeaderTells, so that a sum over replicas counts nothing twice; and nothing is
// told that could not be read.
func TestOnlyTheLeaderTells(t *testing.T) {
	t.Parallel()
	assert.Empty(t, gather(t, collector(scenery(), false)))
	failing := scenery()
	failing.err = errors.New("no cache")
	assert.Empty(t, gather(t, collector(failing, true)))
}

// TestNamesAreAsPrometheusWantsThem, and none of a user's is a label.
func TestNamesAreAsPrometheusWantsThem(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(collector(scenery(), true)))
	families, err := registry.Gather()
	require.NoError(t, err)
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	require.NoError(t, err)
	assert.Empty(t, problems)
	assert.NotContains(t, strings.Join(gather(t, collector(scenery(), true)), "\n"), "Ann")
}
