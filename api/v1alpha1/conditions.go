package v1alpha1

// Conditions of every kind, as kstatus reads them, by which Helm, Flux and others judge
// the health of objects: Ready false is in progress, Stalled is failed, and neither of
// them is healthy. docs/health.md has a table of them.
const (
	// ConditionReady comes first. It is true while the object is what it was made for. An
	// object that rests has none: it neither is ready nor becomes so by itself.
	ConditionReady = "Ready"
	// ConditionOrphan is true on a JupyterNotebook of the Hub whose user or server the Hub
	// does not know, or that runs and is stopped by the Hub; its transition time is since
	// when. The next start removes it.
	ConditionOrphan = "Orphan"
	// ConditionStalled is true while the object will not become ready by itself, and
	// absent otherwise.
	ConditionStalled = "Stalled"
	// ConditionResting is true while nothing runs for the object, as it should be: a
	// notebook that is stopped, a kernel that is parked or has done its work, a gateway
	// with no replicas. It is absent otherwise.
	ConditionResting = "Resting"
)

// Reason is the reason of a condition: a word of a closed set. Rooms declare
// those that only they give.
type Reason string

// Reasons of ConditionReady that several kinds give.
const (
	// ReasonUsable: kernels can be made from it.
	ReasonUsable Reason = "Usable"
	// ReasonInvalid: it can be read, but what it says does not go together.
	ReasonInvalid Reason = "Invalid"
	// ReasonMalformed: its spec cannot be read; nothing is done for it until it is mended.
	ReasonMalformed Reason = "Malformed"
)

// ReasonHubUserUnclear is that of ConditionOrphan whose user was deleted, or renamed, and
// nothing tells which: only an administrator ends such a server.
const ReasonHubUserUnclear Reason = "HubUserUnclear"
