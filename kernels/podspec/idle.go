package podspec

import (
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// IdleRule is when a kernel is parked.
type IdleRule struct {
	// TimeoutSeconds without work; zero means never.
	TimeoutSeconds int64 `json:"timeoutSeconds"`
	// CullConnected: also while a client is connected.
	CullConnected bool `json:"cullConnected"`
}

func IdleRuleOf(cfg Config, in Parts) IdleRule {
	rule := IdleRule{CullConnected: ptr.Deref(in.Gateway.Spec.CullConnected, true)}
	if !in.Warm {
		rule.TimeoutSeconds = IdleSeconds(cfg, in)
	}
	return rule
}

// Limits are what the agent is told.
func (r IdleRule) Limits() protocol.IdleLimits {
	return protocol.IdleLimits{Long: r.Timeout(), CullConnected: r.CullConnected}
}

func (r IdleRule) Timeout() time.Duration { return time.Duration(r.TimeoutSeconds) * time.Second }

func (r IdleRule) String() string {
	text, _ := json.Marshal(r) // numbers and bools always encode
	return string(text)
}

// Obeyed reports whether the agent of a Pod is known to follow a rule.
func (r IdleRule) Obeyed(pod *corev1.Pod) bool {
	return pod.Annotations[v1alpha1.AnnotationIdle] == r.String()
}

// IdleSeconds until the kernel is taken back; zero means never.
func IdleSeconds(cfg Config, in Parts) int64 {
	for _, given := range []*int64{in.Kernel.Spec.IdleTimeoutSeconds, in.Spec.Spec.IdleTimeoutSeconds} {
		if given != nil {
			return max(*given, 0)
		}
	}
	for _, p := range in.Policies {
		if p.Spec.Kernels.IdleSeconds > 0 {
			return p.Spec.Kernels.IdleSeconds
		}
	}
	if t := in.Gateway.Spec.CullIdleTimeout; t != nil {
		return max(int64(*t), 0)
	}
	return max(cfg.IdleSeconds, 0)
}
