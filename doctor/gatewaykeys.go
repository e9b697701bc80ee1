package doctor

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// gatewayKeys tells of kernels whose agents have secrets of a key that was rotated: they end
// when its time is over.
func gatewayKeys(p *Picture) (found []Problem) {
	for i := range p.Gateways {
		gateway, former := &p.Gateways[i], 0
		if gateway.Status.KeyID == "" {
			continue // it was never rotated
		}
		for j := range p.Pods {
			pod := &p.Pods[j]
			if pod.Labels[v1alpha1.LabelComponent] == v1alpha1.ComponentKernel && pod.Labels[v1alpha1.LabelGateway] == podrules.ObjectLabel(gateway.Name) &&
				pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil && pod.Annotations[v1alpha1.AnnotationAgentKey] != gateway.Status.KeyID {
				former++
			}
		}
		if former > 0 {
			found = append(found, Problem{
				What: fmt.Sprintf("the agents of %d kernels of the gateway %s have secrets of its former key, and end with it", former, gateway.Name),
				Fix:  "have them restarted or parked before the former key's time is over; those of a release that follows a rotation do so by themselves within a minute",
			})
		}
	}
	return found
}
