// Package kernels puts the controllers of kernels, and of the gateways that serve
// them, on the leader of `elastichub serve`. What they do is in the rooms below,
// one idea each; imports point down.
//
//	               kernels
//	  ┌───────────────┼────────────┐
//	offers            │         gateways     what there is to lend · Deployments of JupyterGateways
//	  └──── queue ────┤            │         who gets a Pod next, the warm pool (over admission)
//	          └── lifecycle        │         one kernel: Queued → Starting → Ready → Parked, or Dead
//	                  │            │
//	               podstate        │         what a Pod says: alive, ended, troubled
//	                  └── podspec ─┘         the Pod of a kernel: gather, build
//
// booking, beside queue, keeps the ledger of hours (package usage); devices, below it,
// counts what is allocated by claims.
//
// Beside them run, in processes of their own, gateway (Jupyter's API) and agent
// (in the kernel's Pod); agent/protocol is what they and the controllers say to
// each other, and languages what is known of the languages of kernels.
package kernels
