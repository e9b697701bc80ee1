// Package economy replays a day of notebook users, in virtual time, through the code that
// decides about their GPUs, and says what that would have held, and whom it would have
// let wait.
//
//	Day(seed) ─▶ sessions ─┐
//	Way: rules, warm, yield ├─▶ Replay ─▶ Outcome
//	Measured: start, save… ─┘
//
// What decides is the product's own: podspec.IdleRuleOf says after how much idle time a kernel
// is parked, keeper.Plan when its state is saved and that it is parked, admission.Decide
// who gets a GPU, admission.Yield who gives one back, warm.Plan for whom kernels are kept ready,
// and usage.Ledger counts hours. What is outside of it is a model: users (trace.go), the
// cluster, and how long starts, saves and loads take (measured.go), which is drawn from what
// other parts of the bench have measured.
package economy
