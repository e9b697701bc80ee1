// Package lifecycle leads one kernel after the other through its life.
//
//	       spec.run > status.run            admitted              Pod is Ready
//	(any) ───────────────────────▶ Queued ───────────▶ Starting ───────────────▶ Ready
//	                                 │ ▲                   │                       │
//	     refused, cannot be built    │ │ spec.run + 1      │ the Pod ends          │
//	                                 ▼ │                   ▼                       ▼
//	                                Dead ◀──────────── any other end ──────── Parked (idle)
//
// The kernel reconciler writes every transition but Queued → Starting and
// Queued → Dead(Refused), which are those of package queue. Both write with the
// resource version they read, so neither can undo the other.
//
// A pass reads what there is (observed), decides in next, which is pure, and
// carries out the plan. A kernel's Pod is a bare Pod named after kernel and run:
// repeating a request makes it once. Or it is a warm Pod that the kernel took
// over; see warm_claim.go. status.held stays until no Pod of the kernel is alive,
// so a GPU is never given away while it is still in use. A Pod that is taken away
// before it is ready leads from Starting back to Queued; see retry.go.
//
// Who asks in spec.park that a run be parked has its agent asked first; see park.go.
// A kernel that is a template of its own has another run when that changes; see bare.go.
// A kernel that was restored from a backup begins Parked; see restore.go.
// What ends a kernel for good, and what becomes of a wish that it ends, is in ends.go.
//
// The agents of running kernels are told of idle times that change by the
// idleReconciler.
package lifecycle
