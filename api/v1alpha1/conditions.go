package v1alpha1

// ConditionReady is the condition that every kind has, and its first: true while
// the object is what it was made for, so that `kubectl wait` and what reads the
// health of objects need no other.
const ConditionReady = "Ready"

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
