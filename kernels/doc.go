// Package kernels holds the controllers of kernels and of the gateways that
// serve them. They run on the leader of `elastichub serve`, in one namespace.
//
//	       spec.run > status.run            admitted              Pod is Ready
//	(any) ───────────────────────▶ Queued ───────────▶ Starting ───────────────▶ Ready
//	                                 │ ▲                   │                       │
//	     refused, cannot be built    │ │ spec.run + 1      │ the Pod ends          │
//	                                 ▼ │                   ▼                       ▼
//	                                Dead ◀──────────── any other end ──────── Parked (idle)
//
// Who writes what. The kernel reconciler writes every transition but
// Queued → Starting and Queued → Dead(Refused), which are the admitter's. Both
// write with the resource version they read, so neither can undo the other.
// The admitter is one goroutine of one leader; see package admission.
//
// A kernel's Pod is a bare Pod named after kernel and run: repeating a request
// makes it once. Or it is a warm Pod that the kernel took over; see warm.go.
// status.held stays until no Pod of the kernel is alive, so a GPU is never given
// away while it is still in use. A Pod that is taken away before it is ready
// leads from Starting back to Queued; see retry.go.
//
// The agents of running kernels are told of idle times that change by the
// idleReconciler, and asked to park early, for somebody who waits, by the yielder.
package kernels
