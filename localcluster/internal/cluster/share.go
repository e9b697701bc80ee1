package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Each of two nodes sees the whole machine, and promises half of it.

// halves are what a node of the whole machine does not promise where there are two.
func halves(whole corev1.ResourceList) corev1.ResourceList {
	half := corev1.ResourceList{}
	cpu, memory := whole[corev1.ResourceCPU], whole[corev1.ResourceMemory]
	half[corev1.ResourceCPU] = *resource.NewMilliQuantity(cpu.MilliValue()/2, resource.DecimalSI)
	half[corev1.ResourceMemory] = *resource.NewQuantity(memory.Value()/2, resource.BinarySI)
	return half
}

// systemReserved is a list as the kubelet's configuration has it.
func systemReserved(list corev1.ResourceList) string {
	cpu, memory := list[corev1.ResourceCPU], list[corev1.ResourceMemory]
	return fmt.Sprintf("{cpu: %dm, memory: %q}", cpu.MilliValue(), fmt.Sprint(memory.Value()))
}

// fits fails if the Pods of the first node ask for more than a part of it: its kubelet
// would end some, when it starts with that.
func fits(pods []corev1.Pod, part corev1.ResourceList) error {
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		var asked resource.Quantity
		for _, pod := range pods {
			if pod.Spec.NodeName != nodeName {
				continue
			}
			for _, container := range pod.Spec.Containers {
				asked.Add(container.Resources.Requests[name])
			}
		}
		if room := part[name]; asked.Cmp(room) > 0 {
			return fmt.Errorf("the Pods of node %s ask for %s of %s, and of two nodes each has %s: stop some first",
				nodeName, asked.String(), name, room.String())
		}
	}
	return nil
}

// unfinished are the Pods that hold something.
func unfinished(ctx context.Context, client kubernetes.Interface) ([]corev1.Pod, error) {
	list, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "status.phase!=Succeeded,status.phase!=Failed"})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// promise has the first node's kubelet start again, with that reserved, and waits until
// the node says so.
func (s *supervisor) promise(ctx context.Context, client kubernetes.Interface, reserved corev1.ResourceList) error {
	at := s.layout.firstNode(s.options)
	if len(reserved) > 0 {
		at.reserved = systemReserved(reserved)
	}
	if at.reserved == s.reserved {
		return nil
	}
	s.reserved = "unknown" // until it is what it is to be
	if err := s.layout.writeConfigs(at); err != nil {
		return err
	}
	for _, stage := range s.stages {
		for _, r := range stage {
			if r.component.Name == "kubelet" {
				if err := r.restart(stopPatience); err != nil {
					return err
				}
			}
		}
	}
	err := waitFor(ctx, "kubelet", nil, func(ctx context.Context) error {
		first, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		whole, left, kept := first.Status.Capacity.Cpu(), first.Status.Allocatable.Cpu(), reserved[corev1.ResourceCPU]
		if whole.MilliValue()-left.MilliValue() != kept.MilliValue() {
			return fmt.Errorf("node %s promises %s of %s CPUs", nodeName, left, whole)
		}
		options, err := s.layout.readOptions()
		if err != nil {
			return err
		}
		return s.layout.probeNode(ctx, client, options.GPUs)
	})
	if err == nil {
		s.reserved = at.reserved
	}
	return err
}
