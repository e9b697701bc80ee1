package podtrouble_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/podtrouble"
)

func amounts(cpu, memory, gpu string) corev1.ResourceList {
	all := corev1.ResourceList{}
	for name, value := range map[corev1.ResourceName]string{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory, "nvidia.com/gpu": gpu} {
		if value != "" {
			all[name] = resource.MustParse(value)
		}
	}
	return all
}

func asking(cpu, memory, gpu string) *corev1.PodSpec {
	return &corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: amounts(cpu, memory, gpu)}}}}
}

const notHelpful = " preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."

// The texts are the scheduler's: FitError of pkg/scheduler/framework and the reasons of its
// plugins, Kubernetes 1.30 to 1.35.
func TestUnplaced(t *testing.T) {
	t.Parallel()
	large := asking("8", "16Gi", "2")
	room := &podtrouble.Room{Nodes: 3, Free: amounts("6", "3.25Gi", "1"), Allocatable: amounts("16", "8Gi", "")}
	pinned := asking("1", "", "")
	pinned.NodeSelector = map[string]string{"pool": "a100", "disk": "ssd"}
	for message, row := range map[string]struct {
		placement podtrouble.Placement
		want      string
	}{
		"0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.": {
			podtrouble.Placement{Spec: large, Room: room}, "no node has 8 CPUs free; the largest free is 6."},
		"0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod..": {
			podtrouble.Placement{Spec: asking("500m", "", "")}, "no node has 0.5 CPUs free."},
		"0/1 nodes are available: 1 Insufficient memory.": {
			podtrouble.Placement{Spec: large, Room: room}, "no node has 16 GiB of memory; the largest has 8 GiB."},
		"0/3 nodes are available: 3 Insufficient nvidia.com/gpu.": {
			podtrouble.Placement{Spec: large, Room: room}, "no node has any nvidia.com/gpu, and it asks for 2."},
		"0/2 nodes are available: 2 Insufficient cpu.": {
			podtrouble.Placement{Spec: asking("1", "", ""), Room: room}, "no node has 1 CPU free."},
		"0/5 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 2 node(s) had untolerated taint {dedicated: gpu}, 4 Insufficient cpu." + notHelpful: {
			podtrouble.Placement{Spec: large, Room: room},
			"of 5 nodes, 4 have less than 8 CPUs free (the largest free is 6), 2 are kept for other Pods by the taint dedicated=gpu and 1 is kept for the control plane."},
		"0/3 nodes are available: 3 node(s) had untolerated taint(s)." + notHelpful: {
			podtrouble.Placement{Spec: large}, "all 3 nodes are kept for other Pods by taints."},
		"0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.": {
			podtrouble.Placement{Spec: large}, "the only node is not ready."},
		"0/2 nodes are available: 1 node(s) were unschedulable, 1 node(s) had untolerated taint {node.kubernetes.io/unschedulable: }.": {
			podtrouble.Placement{Spec: large}, "all 2 nodes are cordoned."},
		"0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector." + notHelpful: {
			podtrouble.Placement{Spec: pinned, Policy: "the policy ml"}, "all 3 nodes do not match its node selector disk=ssd,pool=a100, which is that of the policy ml."},
		"0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 Too many pods.": {
			podtrouble.Placement{Spec: large}, "of 3 nodes, 2 run as many Pods as they may and 1 does not match its node affinity."},
		"0/2 nodes are available: 1 node(s) didn't match pod anti-affinity rules, 1 node(s) didn't match pod topology spread constraints (missing required label).": {
			podtrouble.Placement{Spec: large}, "of 2 nodes, 1 lacks the label of its topology spread constraints and 1 runs Pods that its anti-affinity keeps it away from."},
		"0/2 nodes are available: 2 node(s) had volume node affinity conflict. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling..": {
			podtrouble.Placement{Spec: large}, "all 2 nodes cannot reach its volume."},
		"0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.": {
			podtrouble.Placement{Spec: large}, "all 2 nodes cannot reach its volume."},
		"0/1 nodes are available: 1 cannot allocate all claims. still not schedulable, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.": {
			podtrouble.Placement{Spec: large}, "the only node has too few devices free for its claims."},
		"0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.": {
			podtrouble.Placement{Spec: large, Room: room}, "the only node has less than 16 GiB of memory free (the largest has 8 GiB) and has less than 8 CPUs free (the largest free is 6)."},
		"0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.": {
			podtrouble.Placement{Spec: large}, "a volume of it is not made yet: its claim waits for a provisioner, or for a volume that somebody makes."},
		`0/1 nodes are available: persistentvolumeclaim "claim-alice" not found. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.`: {
			podtrouble.Placement{Spec: large}, "the volume claim claim-alice does not exist."},
		`0/1 nodes are available: persistentvolumeclaim "claim-alice" is being deleted.`: {
			podtrouble.Placement{Spec: large}, "the volume claim claim-alice is being deleted."},
		`0/1 nodes are available: persistentvolumeclaim "home" bound to non-existent persistentvolume "pv-1".`: {
			podtrouble.Placement{Spec: large}, "the volume pv-1 of the claim home is gone."},
		"no nodes available to schedule pods": {podtrouble.Placement{}, "the cluster has no nodes."},
	} {
		got, known := podtrouble.Unplaced(message, row.placement)
		assert.True(t, known, message)
		assert.Equal(t, row.want, got, message)
	}
	for _, message := range []string{
		"", "0/1 nodes are available", "0/1 nodes are available: 1 node(s) were on strike.", "0/2 nodes are available: 1 Insufficient cpu, some others.",
		"running PreBind plugin \"VolumeBinding\": binding volumes: context deadline exceeded",
	} {
		got, known := podtrouble.Unplaced(message, podtrouble.Placement{Spec: large, Room: room})
		assert.False(t, known, message)
		assert.Equal(t, message, got)
	}
}

// TestRequestedTogether: what an init container takes counts where it is more.
func TestRequestedTogether(t *testing.T) {
	t.Parallel()
	always := corev1.ContainerRestartPolicyAlways
	of := func(cpu string) corev1.Container {
		return corev1.Container{Resources: corev1.ResourceRequirements{Requests: amounts(cpu, "", "")}}
	}
	sidecar := of("1")
	sidecar.RestartPolicy = &always
	for want, spec := range map[string]*corev1.PodSpec{
		"no node has 3 CPUs free.":    {InitContainers: []corev1.Container{of("2")}, Containers: []corev1.Container{of("1"), of("2")}},
		"no node has 9 CPUs free.":    {InitContainers: []corev1.Container{sidecar, of("8")}, Containers: []corev1.Container{of("1")}},
		"no node has 2.25 CPUs free.": {InitContainers: []corev1.Container{sidecar}, Containers: []corev1.Container{of("1")}, Overhead: amounts("250m", "", "")},
	} {
		got, _ := podtrouble.Unplaced("0/1 nodes are available: 1 Insufficient cpu.", podtrouble.Placement{Spec: spec})
		assert.Equal(t, want, got)
	}
}
