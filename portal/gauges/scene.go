package gauges

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/podtrouble"
	"github.com/elastichub/elastichub/portal/holdings"
)

// Labels.
const (
	labelPhase    = "phase"
	labelResource = "resource"
	labelState    = "state"
	labelPolicy   = "policy"
	labelNode     = "node"
	labelKind     = "kind"
	labelReason   = "reason"
	labelGateway  = "gateway"
)

// States of a device that is held.
const (
	stateBusy = "busy"
	stateIdle = "idle"
)

// States of replicas of a gateway.
const (
	stateWanted = "wanted"
	stateReady  = "ready"
)

// Kinds of what the cluster does not take.
const (
	kindServer  = "server"
	kindKernel  = "kernel"
	kindGateway = "gateway"
)

// all are the gauges' descriptions, as described has noted them.
var all []*prometheus.Desc

func described(name, help string, labels ...string) *prometheus.Desc {
	desc := prometheus.NewDesc("elastichub_"+name, help, labels, nil)
	all = append(all, desc)
	return desc
}

var (
	kernels = described("kernels", "Kernels by phase.", labelPhase)

	gatewayReplicas = described("gateway_replicas", "Replicas of each gateway: wanted, ready.", labelGateway, labelState)
	notTaken        = described("waiting_for_cluster", "Servers, kernels and gateways whose Pods the cluster does not take now, by reason: a quota, or a webhook that does not answer.", labelKind, labelReason)

	devicesAllocatable = described("devices_allocatable", "Extended resources, such as GPUs, of the cluster's nodes, those included that an autoscaler may add.", labelResource)
	devicesFree        = described("devices_free", "Extended resources that nobody has.", labelResource)
	devicesHeld        = described("devices_held", "Extended resources that kernels hold, by whether these are busy or idle.", labelResource, labelState)
	devicesWaiting     = described("devices_waiting", "Extended resources that kernels in the queue ask for.", labelResource)

	policyServers    = described("policy_servers", "Servers that run, by policy; - is none, or one that does not exist.", labelPolicy)
	policyKernels    = described("policy_kernels", "Kernels with a Pod, by policy.", labelPolicy)
	policyWaiting    = described("policy_waiting_kernels", "Kernels in the queue, by policy.", labelPolicy)
	policyUsers      = described("policy_users", "Users with servers, by policy.", labelPolicy)
	policyAtLimit    = described("policy_users_at_limit", "Users with as many servers as they may have, by policy.", labelPolicy)
	policyCPU        = described("policy_held_cpu_cores", "CPU that Pods of servers and kernels request, by policy.", labelPolicy)
	policyMemory     = described("policy_held_memory_bytes", "Memory that Pods of servers and kernels request, by policy.", labelPolicy)
	policyDevices    = described("policy_held_devices", "Extended resources that kernels hold, by policy.", labelPolicy, labelResource)
	policyDevicesMax = described("policy_limit_devices", "Extended resources that the members of a policy may have together, where its pool is bounded.", labelPolicy, labelResource)

	nodeServers   = described("node_servers", "Servers that run, by node; - is none yet.", labelNode)
	nodeKernels   = described("node_kernels", "Kernels with a Pod, by node.", labelNode)
	nodeCPU       = described("node_held_cpu_cores", "CPU that Pods of servers and kernels request, by node.", labelNode)
	nodeMemory    = described("node_held_memory_bytes", "Memory that Pods of servers and kernels request, by node.", labelNode)
	nodeDevices   = described("node_held_devices", "Extended resources that kernels hold, by node.", labelNode, labelResource)
	nodeHasCPU    = described("node_allocatable_cpu_cores", "CPU of each node of the cluster.", labelNode)
	nodeHasMemory = described("node_allocatable_memory_bytes", "Memory of each node of the cluster.", labelNode)
	nodeHas       = described("node_allocatable_devices", "Extended resources of each node of the cluster.", labelNode, labelResource)
	nodeAllCPU    = described("node_requested_cpu_cores", "CPU that all Pods on a node request, whosoever they are.", labelNode)
	nodeAllMemory = described("node_requested_memory_bytes", "Memory that all Pods on a node request.", labelNode)
	nodeAll       = described("node_requested_devices", "Extended resources that all Pods on a node request.", labelNode, labelResource)
)

// passing are the reasons why the cluster does not take a Pod now and may later.
var passing = []string{podtrouble.PassingQuota, podtrouble.PassingWebhook}

// kernelPhases are all that there are.
var kernelPhases = []v1alpha1.KernelPhase{v1alpha1.KernelQueued, v1alpha1.KernelStarting, v1alpha1.KernelReady, v1alpha1.KernelParked, v1alpha1.KernelDead}

// scene is what there is at one moment.
type scene struct {
	holdings holdings.Holdings
	overview holdings.Overview
	policies []holdings.Policy
	nodes    []Node
	gateways []v1alpha1.JupyterGateway
	// notTaken counts by kind and reason.
	notTaken map[[2]string]int
}

// notTakenOf counts what waits until the cluster takes its Pod.
func notTakenOf(notebooks []v1alpha1.JupyterNotebook, kernels []v1alpha1.JupyterKernel, gateways []v1alpha1.JupyterGateway) map[[2]string]int {
	counts := map[[2]string]int{}
	for _, kind := range []string{kindServer, kindKernel, kindGateway} {
		for _, reason := range passing {
			counts[[2]string{kind, reason}] = 0
		}
	}
	count := func(kind, reason string) {
		if slices.Contains(passing, reason) {
			counts[[2]string{kind, reason}]++
		}
	}
	for i := range notebooks {
		if status := &notebooks[i].Status; status.Phase == v1alpha1.NotebookPending || status.Phase == v1alpha1.NotebookStarting {
			count(kindServer, status.Reason)
		}
	}
	for i := range kernels {
		for _, c := range kernels[i].Status.Conditions {
			if kernels[i].Status.Phase == v1alpha1.KernelQueued && c.Status == metav1.ConditionFalse {
				count(kindKernel, c.Reason)
			}
		}
	}
	for i := range gateways {
		if ready := meta.FindStatusCondition(gateways[i].Status.Conditions, v1alpha1.ConditionReady); ready != nil {
			count(kindGateway, ready.Reason)
		}
	}
	return counts
}

// put passes on every gauge's value.
type put func(desc *prometheus.Desc, value float64, labels ...string)

func (s scene) put(to put) {
	phases := map[v1alpha1.KernelPhase]int{}
	for _, k := range s.holdings.Kernels {
		phases[k.Phase]++
	}
	for _, phase := range kernelPhases {
		to(kernels, float64(phases[phase]), string(phase))
	}
	for _, d := range s.overview.Devices {
		if d.Total != nil {
			to(devicesAllocatable, float64(*d.Total), d.Resource)
			to(devicesFree, float64(*d.Free), d.Resource)
		}
		to(devicesHeld, float64(d.Busy), d.Resource, stateBusy)
		to(devicesHeld, float64(d.Idle), d.Resource, stateIdle)
		to(devicesWaiting, float64(d.Waiting), d.Resource)
	}
	for of, n := range s.notTaken {
		to(notTaken, float64(n), of[0], of[1])
	}
	s.putGateways(to)
	s.putPolicies(to)
	s.putNodes(to)
}

// putGateways adds those of one name in several namespaces.
func (s scene) putGateways(to put) {
	wanted, ready := map[string]int32{}, map[string]int32{}
	for i := range s.gateways {
		g := &s.gateways[i]
		wanted[g.Name] += ptr.Deref(g.Spec.Replicas, 1)
		ready[g.Name] += g.Status.ReadyReplicas
	}
	for name, n := range wanted {
		to(gatewayReplicas, float64(n), name, stateWanted)
		to(gatewayReplicas, float64(ready[name]), name, stateReady)
	}
}

// putPolicies shows a policy that nobody uses, too.
func (s scene) putPolicies(to put) {
	known := map[string]bool{}
	for _, p := range s.policies {
		known[p.Name] = true
	}
	name := func(policy string) string {
		if known[policy] {
			return policy
		}
		return nobodys
	}
	sums := map[string]holdings.Sum{}
	for _, sum := range s.holdings.Sums(func(k holdings.Kernel) string { return name(k.Policy) }, func(v holdings.Server) string { return name(v.Policy) }) {
		sums[sum.Name] = sum
	}
	waiting := map[string]int{}
	for _, k := range s.holdings.Queue() {
		waiting[name(k.Policy)]++
	}
	if _, there := sums[nobodys]; there || waiting[nobodys] > 0 {
		known[nobodys] = true
	}
	for policy := range known {
		sum := sums[policy]
		to(policyServers, float64(sum.Servers), policy)
		to(policyKernels, float64(sum.Kernels), policy)
		to(policyWaiting, float64(waiting[policy]), policy)
		to(policyCPU, sum.CPU, policy)
		to(policyMemory, float64(sum.Memory), policy)
	}
	for policy, sum := range sums {
		for resource, n := range sum.Devices {
			to(policyDevices, float64(n), policy, resource)
		}
	}
	for _, p := range s.policies {
		to(policyUsers, float64(p.Users), p.Name)
		to(policyAtLimit, float64(p.UsersAtLimit), p.Name)
		if p.GPUs == nil {
			continue
		}
		if _, held := sums[p.Name].Devices[p.GPUs.Resource]; !held {
			to(policyDevices, 0, p.Name, p.GPUs.Resource)
		}
		if p.GPUs.Pool != nil {
			to(policyDevicesMax, float64(*p.GPUs.Pool), p.Name, p.GPUs.Resource)
		}
	}
}

// putNodes shows a node that has nothing of ours, too.
func (s scene) putNodes(to put) {
	sums := map[string]holdings.Sum{}
	for _, n := range s.nodes {
		sums[n.Name] = holdings.Sum{}
	}
	for _, sum := range s.overview.Nodes {
		if sum.Name == "" {
			sum.Name = nobodys
		}
		sums[sum.Name] = sum
	}
	for node, sum := range sums {
		to(nodeServers, float64(sum.Servers), node)
		to(nodeKernels, float64(sum.Kernels), node)
		to(nodeCPU, sum.CPU, node)
		to(nodeMemory, float64(sum.Memory), node)
	}
	for _, n := range s.nodes {
		to(nodeHasCPU, n.Allocatable.Cpu().AsApproximateFloat64(), n.Name)
		to(nodeHasMemory, n.Allocatable.Memory().AsApproximateFloat64(), n.Name)
		to(nodeAllCPU, n.Requested.Cpu().AsApproximateFloat64(), n.Name)
		to(nodeAllMemory, n.Requested.Memory().AsApproximateFloat64(), n.Name)
		for name := range n.Allocatable {
			if podrules.IsExtendedResource(name) {
				has, requested := n.Allocatable[name], n.Requested[name]
				to(nodeHas, has.AsApproximateFloat64(), n.Name, string(name))
				to(nodeAll, requested.AsApproximateFloat64(), n.Name, string(name))
				to(nodeDevices, float64(sums[n.Name].Devices[string(name)]), n.Name, string(name))
			}
		}
	}
	if len(s.nodes) > 0 {
		return
	}
	for node, sum := range sums { // nobody counts nodes: what is known of them is held there
		for resource, n := range sum.Devices {
			to(nodeDevices, float64(n), node, resource)
		}
	}
}
