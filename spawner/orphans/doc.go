// Package orphans finds JupyterNotebooks of the Hub whose user or server the Hub does not
// know any more, and removes them after a grace if it is asked to. The leader does it.
//
//	the Hub lists all its users ─ judge ─▶ known: the condition Orphan goes
//	        │                       ├────▶ missed once: looked at again
//	        │                       ├────▶ missed twice: the condition Orphan, an Event
//	        │                       └────▶ missed for the whole grace, and in a listing that
//	        │                              was made just for this: stopped, then deleted
//	        └ fails, is not whole, names nobody, or less than half of the notebooks' users:
//	          nothing is concluded
//
// People are told apart by when the Hub made them, since names are given away (ADR 6), and
// the Hub's API tells no ids. Homes stay.
package orphans
