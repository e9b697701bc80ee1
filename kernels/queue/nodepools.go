package queue

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/podrules"
)

// NodePool is a set of equal nodes that an autoscaler adds, while Pods wait for them,
// and removes again: kernels are admitted to nodes that are not there yet, so that
// their Pods wait where the autoscaler sees them.
type NodePool struct {
	Name string
	// Labels are on each of its nodes, and not all of them on any other node.
	Labels map[string]string
	// Taints are those of its nodes.
	Taints []corev1.Taint
	// Resources are the extended resources of one node, in whole units.
	Resources admission.Resources
	// MaxNodes is how many nodes it may have at most.
	MaxNodes int
}

// mostPoolNodes bounds MaxNodes: each node that may come is counted like one that is there.
const mostPoolNodes = 1000

// ValidatePools returns all faults, each with its path below the given one.
func ValidatePools(path string, pools []NodePool) error {
	var faults []error
	names := map[string]bool{}
	for i, p := range pools {
		at := fmt.Sprintf("%s[%d]", path, i)
		if p.Name == "" || names[p.Name] {
			faults = append(faults, fmt.Errorf("%s.name: %q is empty, or another pool's", at, p.Name))
		}
		names[p.Name] = true
		if len(p.Labels) == 0 {
			faults = append(faults, fmt.Errorf("%s.labels: at least one is needed, by which the nodes of the pool are known", at))
		}
		if len(p.Resources) == 0 {
			faults = append(faults, fmt.Errorf("%s.resources: at least one is needed, such as nvidia.com/gpu: 8", at))
		}
		for _, name := range slices.Sorted(maps.Keys(p.Resources)) {
			if !podrules.IsExtendedResource(corev1.ResourceName(name)) || p.Resources[name] < 1 {
				faults = append(faults, fmt.Errorf("%s.resources[%s]: %d is not a number of devices, 1 or more of an extended resource", at, name, p.Resources[name]))
			}
		}
		if p.MaxNodes < 1 || p.MaxNodes > mostPoolNodes {
			faults = append(faults, fmt.Errorf("%s.maxNodes: %d is not between 1 and %d", at, p.MaxNodes, mostPoolNodes))
		}
		for _, taint := range p.Taints {
			if !slices.Contains([]corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}, taint.Effect) || taint.Key == "" {
				faults = append(faults, fmt.Errorf("%s.taints: %q is not a key with the effect NoSchedule, PreferNoSchedule or NoExecute", at, taint.ToString()))
			}
		}
	}
	return errors.Join(faults...)
}

// withComing marks which of the nodes that take Pods autoscalers have added, and appends
// those that they may still add to all, which include those that take no Pods now: the
// autoscaler counts them too.
func withComing(pools []NodePool, list []Node, all []corev1.Node) []Node {
	for _, p := range pools {
		left := p.MaxNodes
		for i := range all {
			if hasAll(all[i].Labels, p.Labels) {
				left--
			}
		}
		for i := range list {
			list[i].Grown = list[i].Grown || hasAll(list[i].Labels, p.Labels)
		}
		for i := range left {
			list = append(list, Node{
				Node: admission.Node{
					// No node can be called so: names have no spaces.
					Name: fmt.Sprintf("%s %d", p.Name, i+1), Coming: true, Grown: true, Total: maps.Clone(p.Resources), Free: maps.Clone(p.Resources),
				},
				Labels: p.Labels, Taints: p.Taints,
			})
		}
	}
	return list
}
