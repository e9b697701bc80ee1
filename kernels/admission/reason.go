package admission

import "fmt"

// Reason is why a request waits or is refused; the zero Reason is none. It is a
// value until somebody reads it: see String.
type Reason struct {
	Code ReasonCode
	// Policy is the one that limits, or all of them, joined by commas.
	Policy     string
	Resource   string
	KernelSpec string
	// Wants is what the request wants of Resource; Used of Limit is in use.
	Wants, Used, Limit int64
	// Queued: what the user waits for counts in Used.
	Queued bool
}

// ReasonCode names a kind of Reason.
type ReasonCode string

// A request is refused for the first four, always, and for the user's own limits
// where the policy says so; it waits for all others.
const (
	KernelSpecNotAllowed ReasonCode = "KernelSpecNotAllowed"
	OverGPUsPerKernel    ReasonCode = "OverGPUsPerKernel"
	OverGPUsPerUser      ReasonCode = "OverGPUsPerUser"
	OverGPUPool          ReasonCode = "OverGPUPool"
	UserKernelsInUse     ReasonCode = "UserKernelsInUse"
	UserGPUsInUse        ReasonCode = "UserGPUsInUse"
	PolicyMissing        ReasonCode = "PolicyMissing"
	PoolInUse            ReasonCode = "PoolInUse"
	PoolAwaited          ReasonCode = "PoolAwaited"
	NoNodeOffers         ReasonCode = "NoNodeOffers"
	NodesTooSmall        ReasonCode = "NodesTooSmall"
	NodesInUse           ReasonCode = "NodesInUse"
	NodesNotEnough       ReasonCode = "NodesNotEnough"
	NodesAwaited         ReasonCode = "NodesAwaited"
	WarmPodEnds          ReasonCode = "WarmPodEnds"
)

// String is a sentence for the user.
func (r Reason) String() string {
	over := fmt.Sprintf("resources.limits[%s] of the kernel is %d", r.Resource, r.Wants)
	use := "use"
	if r.Queued {
		use = "use or wait for"
	}
	switch r.Code {
	case KernelSpecNotAllowed:
		return fmt.Sprintf("The kernel %q is not among spec.kernels.allowed of policy %s.", r.KernelSpec, r.Policy)
	case OverGPUsPerKernel:
		return fmt.Sprintf("%s, but spec.kernels.gpusPerKernel of policy %s allows %d.", over, r.Policy, r.Limit)
	case OverGPUsPerUser:
		return fmt.Sprintf("%s, but spec.kernels.gpusPerUser of policy %s allows %d.", over, r.Policy, r.Limit)
	case OverGPUPool:
		return fmt.Sprintf("%s, but spec.kernels.gpuPool of policy %s is %d.", over, r.Policy, r.Limit)
	case UserKernelsInUse:
		return fmt.Sprintf("You %s %d of the %d kernels that policy %s allows you at a time (perUser).", use, r.Used, r.Limit, r.Policy)
	case UserGPUsInUse:
		return fmt.Sprintf("You %s %d of the %d %s that policy %s allows you (gpusPerUser).", use, r.Used, r.Limit, r.Resource, r.Policy)
	case PolicyMissing:
		return fmt.Sprintf("The policy %s does not exist.", r.Policy)
	case PoolInUse:
		return fmt.Sprintf("%d of the %d %s of policy %s are in use (gpuPool).", r.Used, r.Limit, r.Resource, r.Policy)
	case PoolAwaited:
		return fmt.Sprintf("Others of policy %s have waited longer for its %d %s (gpuPool).", r.Policy, r.Limit, r.Resource)
	case NoNodeOffers:
		return fmt.Sprintf("No node offers %s.", r.Resource)
	case NodesTooSmall:
		return fmt.Sprintf("No node has %d %s; the largest has %d.", r.Wants, r.Resource, r.Limit)
	case NodesInUse:
		if r.Limit == 1 {
			return fmt.Sprintf("The only %s of the cluster is in use.", r.Resource)
		}
		return fmt.Sprintf("All %d %s of the cluster are in use.", r.Limit, r.Resource)
	case NodesNotEnough:
		return fmt.Sprintf("%d of the %d %s of the cluster are in use, and %d are needed.", r.Used, r.Limit, r.Resource, r.Wants)
	case NodesAwaited:
		return fmt.Sprintf("Others have waited longer for %s, or no single node has enough of it free.", r.Resource)
	case WarmPodEnds:
		return "A kernel that was kept warm ends to make room."
	}
	return string(r.Code)
}
