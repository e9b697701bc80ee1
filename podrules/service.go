package podrules

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// RestoreService makes a Service inside the cluster of what exists what is wanted of it,
// whatever others have written: where it leads, and that it leads nobody in from outside.
// What the API server filled in stays.
func RestoreService(have, want *corev1.ServiceSpec) {
	have.Type, have.Selector, have.Ports = corev1.ServiceTypeClusterIP, want.Selector, slices.Clone(want.Ports)
	have.ExternalIPs, have.ExternalName, have.LoadBalancerIP, have.LoadBalancerClass = nil, "", "", nil // the third is old, and still obeyed
	have.LoadBalancerSourceRanges, have.AllocateLoadBalancerNodePorts, have.HealthCheckNodePort, have.ExternalTrafficPolicy = nil, nil, 0, ""
	have.SessionAffinity, have.SessionAffinityConfig = corev1.ServiceAffinityNone, nil
	have.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyCluster)
	have.PublishNotReadyAddresses = want.PublishNotReadyAddresses
}
