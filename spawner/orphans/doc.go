// Package orphans finds JupyterNotebooks of the Hub whose user or server the Hub does not
// know any more, or that run while the Hub says that they are stopped. If it is asked to, it
// removes the first and stops the second, after a grace. The leader does it.
//
//	the Hub lists all its users ─ judge ─▶ known: the condition Orphan goes
//	        │                       ├────▶ missed once: looked at again
//	        │                       ├────▶ missed twice: the condition Orphan, an Event
//	        │                       └────▶ missed for the whole grace, and in a listing that
//	        │                              was made just for this: stopped; then deleted, if
//	        │                              the Hub does not know it
//	        └ fails, is not whole, names nobody, or less than half of the notebooks' users:
//	          nothing is concluded
//
// People are told apart by when the Hub made them, since names are given away (ADR 6), and
// the Hub's API tells no ids. Homes stay.
//
// A server that the Hub says is stopped is one that its database says was not started, and of
// which nothing is pending: one that is being started, or looked at by a Hub that has restarted,
// is not. What counts is one start of it, so that the next begins anew.
package orphans
