// Package queue decides, on the leader alone, which waiting kernels get a Pod,
// and keeps the pool of warm Pods.
//
//	kernels, Pods, policies,                admission.Decide
//	gateways, nodes ─────────▶ survey ─────────────────────▶ Decision ─▶ admitter
//	expectations, claims                                                 │
//	                    Queued → Starting, Queued → Dead(Refused), queue position,
//	                    warm Pods made and ended, the use of each policy
//
// There is one pass at a time. What was written and the cache does not show yet
// is remembered: admissions in admission's claims, Pods in expectations. A new
// leader reads the API server itself before it first decides; see takeover.go.
//
// While somebody waits, the yielder asks idle kernels to park.
package queue
