package kernels

import (
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// idleRule is when a kernel is parked.
type idleRule struct {
	// TimeoutSeconds without work; zero means never.
	TimeoutSeconds int64 `json:"timeoutSeconds"`
	// CullConnected: also while a client is connected.
	CullConnected bool `json:"cullConnected"`
}

func idleRuleOf(cfg Config, in parts) idleRule {
	rule := idleRule{CullConnected: ptr.Deref(in.Gateway.Spec.CullConnected, true)}
	if !in.Warm {
		rule.TimeoutSeconds = idleSeconds(cfg, in)
	}
	return rule
}

func (r idleRule) timeout() time.Duration { return time.Duration(r.TimeoutSeconds) * time.Second }

func (r idleRule) String() string {
	text, _ := json.Marshal(r) // numbers and bools always encode
	return string(text)
}

// obeyed tells whether the agent of a Pod is known to follow a rule.
func (r idleRule) obeyed(pod *corev1.Pod) bool {
	return pod.Annotations[v1alpha1.AnnotationIdle] == r.String()
}
