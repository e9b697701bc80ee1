// Package booking shows the leader's ledger (package usage) what kernels hold, and writes it.
//
// It looks at everything every second, so that nothing hangs on an event that is missed or
// told twice. What looks like the begin or the end of a run is looked up in the API server
// first: the cache of a new leader may be behind what the former one has booked. What agents
// have counted comes from the backstop's rounds (package lifecycle), and from the last words of Pods.
package booking
