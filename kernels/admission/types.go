package admission

import "time"

// Resources are amounts of extended resources, in whole units, by name.
type Resources map[string]int64

// Policy is what a GroupPolicy says about kernels.
type Policy struct {
	Name string
	// Allowed are the kernelspecs that may be used; none means none.
	Allowed []string
	// GPUResource is the one extended resource that the policy grants.
	GPUResource string
	// GPUsPerKernel and GPUsPerUser: zero means none.
	GPUsPerKernel, GPUsPerUser int64
	// GPUPool is for all members together; nil means unlimited.
	GPUPool *int64
	// PerUser is how many kernels with a Pod a user may have; zero means unlimited.
	PerUser int64
	// Refuse, rather than queue, at the user's own limit.
	Refuse bool
	// Weight of the group; less than one means one.
	Weight int64
}

// Node is a node that offers extended resources.
type Node struct {
	Name string
	// Coming: it is not there yet. An autoscaler adds it once a Pod waits for it.
	// Those that are there are filled first, and warm Pods end, before it is asked for.
	Coming bool
	// Grown: it is of a pool that an autoscaler adds nodes to, as those are that are
	// Coming. A Pod that the scheduler found no node for may be what it was added for.
	Grown bool
	// Cordoned: it takes no Pods now. What it offers is nothing but a reason.
	Cordoned bool
	// Total is what the node offers, Free what Pods other than kernels leave
	// of it. The kernels are given as Holders.
	Total, Free Resources
}

// Holder is a kernel that has a Pod or was promised one.
type Holder struct {
	ID       string
	User     string
	Policies []string
	Holds    Resources
	// Node is where the Pod is bound; empty while it is nowhere.
	Node string
	// Eligible are the nodes it may go to while Node is empty; nil means any.
	Eligible func(node string) bool
	// Unschedulable: the scheduler has found no place for a good while. It
	// counts against quotas, but takes nothing from nodes that no autoscaler adds.
	Unschedulable bool
	// WarmPod is the ID of the warm Pod that it has taken; for the caller only.
	WarmPod string
}

// WarmPod is a Pod that runs and is nobody's. It takes room on a node and counts
// against no quota. A request of the same class may take it; any other that
// lacks nothing but room makes it go.
type WarmPod struct {
	ID string
	// Class is that of the requests it is good for; empty for none, such as
	// while it is on its way out.
	Class string
	// Ready ones are taken first.
	Ready bool
	// Going: it will be gone soon, whatever is decided.
	Going bool
	Holds Resources
	// Node, Eligible and Unschedulable are as a Holder's.
	Node          string
	Eligible      func(node string) bool
	Unschedulable bool
}

// WarmTarget is a number of warm Pods that are to be made, if there is room.
type WarmTarget struct {
	ID string
	// Order in which room is given, lowest first.
	Order    int
	Missing  int64
	Wants    Resources
	Eligible func(node string) bool
}

// Request is a kernel that waits for a Pod.
type Request struct {
	ID       string
	User     string
	Policies []string
	// KernelSpec is checked against Policy.Allowed; empty for a kernel made
	// from a complete template, which is not checked.
	KernelSpec string
	Since      time.Time
	// Priority comes before Since, and before what the groups hold.
	Priority int32
	Wants    Resources
	// Returning kernels queue at the user's own limit whatever the policy says.
	Returning bool
	// Eligible are the nodes it may go to; nil means any.
	Eligible func(node string) bool
	// Class is that of the warm Pods it can take; empty for none.
	Class string
	// Gone says why its user may have nothing any more; Unknown why nobody can
	// tell now what the user may have. Usually empty.
	Gone, Unknown ReasonCode
	// Budget is a BudgetSpent, a BudgetUnknown, or the zero Reason.
	Budget Reason
}

// Input is everything that Decide looks at.
type Input struct {
	Policies map[string]Policy
	Holders  []Holder
	Requests []Request
	WarmPods []WarmPod
	Targets  []WarmTarget
	// Nodes with extended resources; nil means that they are not known and
	// that only the policies limit.
	Nodes []Node
}

// QueuePosition is where a request stands that is neither admitted nor refused.
type QueuePosition struct {
	// Position counts from 1 among the Length requests that wait for the same thing.
	Position, Length int32
	Reason           Reason
}

// Decision maps the ID of every request to exactly one of three fates.
type Decision struct {
	// Admit is in the order of admission.
	Admit []string
	Wait  map[string]QueuePosition
	// Refuse says which limit forbids it, for good.
	Refuse map[string]Reason

	// Starved lists the requests among Wait that lack nothing but room, on a
	// node or in a pool, and for whom none is being made, first come first.
	Starved []string

	// AssignWarm maps admitted requests to the warm Pods that they take over.
	AssignWarm map[string]string
	// EndWarm lists the warm Pods that are to end, since somebody waits for room.
	EndWarm []string
	// MakeWarm says how many warm Pods of each target there is room for.
	MakeWarm map[string]int64
}
