// Package podtrouble says in words for people what keeps a Pod from being made, placed,
// or started, and what takes it away. It translates the texts of Kubernetes 1.30 to 1.35 and of its container
// runtimes, and is pure:
//
//	refused by the API server ─ Unmade, Passing
//	no node takes it          ─ Unplaced
//	its volumes               ─ Unmounted, Unprovisioned
//	its image                 ─ Unpulled
//	preempted, evicted, …     ─ TakenAway
//
// What comes back goes after a colon: it begins with a small letter and ends with a full
// stop. A text that is not known is nobody's to change: it comes back as it is, with false.
package podtrouble
