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
	// TimeoutSeconds without work, whatever becomes of its state; zero means never.
	TimeoutSeconds int64 `json:"timeoutSeconds"`
	// ShortSeconds without work, if all of its state is kept; zero means not before
	// TimeoutSeconds.
	ShortSeconds int64 `json:"shortSeconds,omitempty"`
	// AtLeastSeconds is how old the kernel is when it is no longer kept by hand: until then
	// it cannot have been idle for longer. Zero means that it is not.
	AtLeastSeconds int64 `json:"atLeastSeconds,omitempty"`
	// ByKernelSpec: the kernelspec has said TimeoutSeconds, and is not asked if it is gone.
	ByKernelSpec bool `json:"byKernelSpec,omitempty"`
	// CullConnected: also while a client is connected.
	CullConnected bool `json:"cullConnected"`
	// NoticeSeconds before it is parked, the user is told; zero means not at all.
	NoticeSeconds int64 `json:"-"`
	// DecidedBy is who said TimeoutSeconds.
	DecidedBy IdleDecider `json:"-"`
}

// IdleDecider is who may say when a kernel is parked.
type IdleDecider string

// The deciders, in the order in which they are asked.
const (
	IdleByWarm          IdleDecider = "warm" // nobody's kernel is kept ready
	IdleByKernel        IdleDecider = "JupyterKernel"
	IdleByKernelSpec    IdleDecider = "JupyterKernelSpec"
	IdleByPolicy        IdleDecider = "GroupPolicy"
	IdleByGateway       IdleDecider = "JupyterGateway"
	IdleByConfiguration IdleDecider = "configuration"
)

// IdleRuleOf is the rule for a kernel that is not a complete template. The short
// limit is never longer than the long one, and where that is never, so is the short
// one: who asked not to be parked is not.
func IdleRuleOf(cfg Config, in Parts) IdleRule {
	rule := IdleRule{
		CullConnected: ptr.Deref(in.Gateway.Spec.CullConnected, true),
		NoticeSeconds: max(ptr.Deref(in.Gateway.Spec.ParkNoticeSeconds, defaultParkNotice), 0),
	}
	if in.Warm {
		rule.DecidedBy = IdleByWarm
		return rule
	}
	rule.TimeoutSeconds, rule.DecidedBy = longLimit(cfg, in)
	rule.ByKernelSpec = rule.DecidedBy == IdleByKernelSpec
	if keep := KeepOf(cfg, in); keep.Enabled && keep.IdleSeconds > 0 && keep.IdleSeconds < rule.TimeoutSeconds {
		rule.ShortSeconds = keep.IdleSeconds
	}
	if s := in.Kernel.Status; s.SnoozedUntil != nil && s.StartTime != nil {
		rule.AtLeastSeconds = max(int64(s.SnoozedUntil.Sub(s.StartTime.Time)/time.Second), 0)
	}
	return rule
}

// longLimit is after how many seconds without work a kernel is parked; zero means
// never.
func longLimit(cfg Config, in Parts) (int64, IdleDecider) {
	if given := in.Kernel.Spec.IdleTimeoutSeconds; given != nil {
		return max(*given, 0), IdleByKernel
	}
	if given := in.Spec.Spec.IdleTimeoutSeconds; given != nil {
		return max(*given, 0), IdleByKernelSpec
	}
	for _, p := range in.Policies {
		if p.Spec.Kernels.IdleSeconds > 0 {
			return p.Spec.Kernels.IdleSeconds, IdleByPolicy
		}
	}
	if t := in.Gateway.Spec.CullIdleTimeout; t != nil {
		return max(int64(*t), 0), IdleByGateway
	}
	return max(cfg.IdleSeconds, 0), IdleByConfiguration
}

// Limits are what the agent is told. A kernel that is kept by hand has longer ones, so that
// agents of every release keep it, and park it also if nobody tells them when that is over.
func (r IdleRule) Limits() protocol.IdleLimits {
	long, short := r.TimeoutSeconds, r.ShortSeconds
	if long > 0 {
		long = max(long, r.AtLeastSeconds)
	}
	if short > 0 {
		short = max(short, r.AtLeastSeconds)
	}
	if short >= long {
		short = 0
	}
	return protocol.IdleLimits{Long: time.Duration(long) * time.Second, Short: time.Duration(short) * time.Second, CullConnected: r.CullConnected}
}

// Timeout is the long limit of a kernel that is not kept by hand.
func (r IdleRule) Timeout() time.Duration { return time.Duration(r.TimeoutSeconds) * time.Second }

// Short is its short limit; zero means none.
func (r IdleRule) Short() time.Duration { return time.Duration(r.ShortSeconds) * time.Second }

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
	seconds, _ := longLimit(cfg, in)
	return seconds
}
