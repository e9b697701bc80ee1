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
	// Nodes are those that are cordoned.
	Nodes string
	// Queued: what the user waits for counts in Used.
	Queued bool
	// Before and Now are the policies that the user had at the server's start, and
	// has now, if these are others.
	Before, Now string
	// Hours are those of a budget, Window is where they count, e.g. 7 days or month, and PerUser
	// whose they are. Again is when it allows something again, as people are told it.
	Hours, Window string
	PerUser       bool
	Again         string
}

// ReasonCode names a kind of Reason.
type ReasonCode string

// A request is refused for the first four, always, for BudgetSpent, until that is over, and
// for the user's own limits where the policy says so; it waits for all others.
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
	NodesCordoned        ReasonCode = "NodesCordoned"
	NodesTooSmall        ReasonCode = "NodesTooSmall"
	NodesInUse           ReasonCode = "NodesInUse"
	NodesNotEnough       ReasonCode = "NodesNotEnough"
	NodesAwaited         ReasonCode = "NodesAwaited"
	WarmPodEnds          ReasonCode = "WarmPodEnds"
	// What the directory says, or does not say, of the user: refused for the first two.
	UserUnknown       ReasonCode = "UserUnknown"
	UserWithoutPolicy ReasonCode = "UserWithoutPolicy"
	PolicyInvalid     ReasonCode = "PolicyInvalid"
	GroupsUnknown     ReasonCode = "GroupsUnknown"
	// What the ledger of hours says, or cannot say yet.
	BudgetSpent   ReasonCode = "BudgetSpent"
	BudgetUnknown ReasonCode = "BudgetUnknown"
)

// WaitingReasons are all that a request may wait for.
var WaitingReasons = []ReasonCode{
	UserKernelsInUse, UserGPUsInUse, PolicyMissing, PoolInUse, PoolAwaited, NoNodeOffers, NodesCordoned, NodesTooSmall, NodesInUse,
	NodesNotEnough, NodesAwaited, WarmPodEnds, PolicyInvalid, GroupsUnknown, BudgetUnknown,
}

// String is a sentence for the user, or two.
func (r Reason) String() string {
	if r.Before != r.Now {
		return fmt.Sprintf("%s Your groups have changed since the server was started: %s counts now, it was %s.", r.sentence(), r.Now, r.Before)
	}
	return r.sentence()
}

func (r Reason) sentence() string {
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
		return fmt.Sprintf("Others of policy %s are ahead in the queue for its %d %s (gpuPool).", r.Policy, r.Limit, r.Resource)
	case NoNodeOffers:
		return fmt.Sprintf("No node offers %s.", r.Resource)
	case NodesCordoned:
		return fmt.Sprintf("No node with %s takes Pods now: cordoned (%s).", r.Resource, r.Nodes)
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
		return fmt.Sprintf("Others are ahead in the queue for %s, or no single node has enough of it free.", r.Resource)
	case WarmPodEnds:
		return "A kernel that was kept warm ends to make room."
	case UserUnknown:
		return "The directory does not know you any more: kernels are not started."
	case UserWithoutPolicy:
		return "You are no longer in a group that a policy names: kernels are not started."
	case PolicyInvalid:
		return "A policy of your groups has faults, which an administrator has to correct."
	case GroupsUnknown:
		return "Your groups cannot be looked up now: the directory does not answer."
	case BudgetSpent:
		whose := "of all members"
		if r.PerUser {
			whose = "of each user"
		}
		return fmt.Sprintf("The budget of policy %s is spent: %s hours of %s %s per %s. Kernels are started again from %s.",
			r.Policy, r.Hours, r.Resource, whose, r.Window, r.Again)
	case BudgetUnknown:
		return fmt.Sprintf("How much of the budget of policy %s is used is not known yet.", r.Policy)
	}
	return string(r.Code)
}
