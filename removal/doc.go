// Package removal takes a release out of a cluster, for `elastichub uninstall` and for the Job
// that the chart has Helm run before it removes the release:
//
//	kernels ─ the service is asked to park them, busy ones by force after a time
//	servers ─ the service is asked to stop them
//	service ─ no replica of it, so that nothing comes back
//	Pods    ─ what still holds a GPU is deleted, and awaited
//	objects ─ those of the chart, and of what the service had running; with Everything the
//	          kinds' objects, the chart's Secrets and the ledger as well. Homes never
//
// Plan lists what goes and what stays and changes nothing; every step looks at what is there, so
// that a removal may be repeated. What says which namespaces the release looks after is removed
// last. elastichub sets no finalizers: what waits for those of others is named.
package removal
