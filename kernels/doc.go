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
// makes it once. status.held stays until no Pod of the kernel is alive, so a
// GPU is never given away while it is still in use.
package kernels
