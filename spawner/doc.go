// Package spawner makes notebook servers exist, says their state, stops them
// and removes them. A server is a JupyterNotebook; everything else follows
// from that object.
//
//	Service     on every replica: writes JupyterNotebook and Secret, answers
//	            from a snapshot in memory, streams the progress of a start
//	controller  on the leader: JupyterNotebook → claim, Secrets, Service and a
//	            Deployment of zero or one Pod, and back into the status
//
// A start goes through
//
//	Pending → Starting → Ready
//	   └─────────┴────────┴──→ Failed     (no way up by itself)
//	   └─────────┴────────┴──→ Stopping → Stopped
//
// and a new spec.start leads from anywhere to Pending.
//
// What outlives what: the home claim has no owner and outlives Pod, Deployment
// and JupyterNotebook. It goes only with Service.Remove; `kubectl delete
// jupyternotebook` keeps it, and a notebook of the same name and user finds it
// again. Everything else is owned by the JupyterNotebook.
//
// A running server is never restarted by an upgrade of elastichub: its Pod
// template is built when spec changes and then left alone. What others change in
// what was made for it is taken back; see repair.go.
//
// A start that failed is over for servers of a Hub (spec.start is set): its Pod
// is taken away, because the Hub will not ask to stop what it was told has
// failed. Without a Hub the Pod stays, and the server becomes Ready if it
// recovers.
package spawner
