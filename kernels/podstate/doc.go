// Package podstate reads what the Pod of a kernel says of itself: whether it is
// alive and ready, how it ended, and what keeps it from starting, as a cause and
// a sentence for people. It looks at one Pod and decides nothing.
//
//	scheduled ──▶ TroubleOf ──▶ Ready ──▶ EndingOf
//
// An end that came from outside the Pod (eviction, a lost node, a deletion) is
// marked as Disrupted: nothing is wrong with the kernel.
package podstate
