// Package renew changes the secrets of a release while it is used, for `elastichub rotate`:
//
//	           write next           all readers have it           write it as current, the former beside
//	Secret ──▶ {a, next: b} ──▶ nudge, ask each for its mark ──▶ {b, former: a, former-until} ──▶ ask again
//
// With a cut-off the former is left out and next is skipped: {b}. Readers are the processes
// that have the Secret mounted, the service's, and gateways, which have the public halves of
// signing keys. Of a gateway's own key they are its replicas, and then the service brings the
// agents of its kernels their new secrets, which annotations of their Pods tell. The kubelet brings a mounted file up to date by itself within a minute or two,
// and at once when something changes in the Pod's object: an annotation of ours is enough.
package renew
