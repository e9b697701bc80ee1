// Package usage is the ledger of what kernels held and what they were busy with, by
// user, group, kernelspec and day.
//
//	kernels, servers, agents ─ Look, every second ─▶ Ledger ─ at most 16 writes a minute ─▶ Book × 16 ─▶ Report
//	                              (the leader's)                 (ConfigMaps)            (any replica's)
//
// A Book has the open runs of its users and their sums, so that one conditional write
// ends a run and books it: it is booked once, whoever crashes. What passes is measured on
// monotonic clocks, the leader's and, across a change of leader, that of the kernel's agent;
// without the latter by the difference of two timestamps of the API server. Wall clocks only
// name the day.
//
// Nothing but Store knows Kubernetes.
package usage
