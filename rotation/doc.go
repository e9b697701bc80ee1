// Package rotation says which values of a secret count while it is changed.
//
// A Secret of ours holds one value under the name that it has always had, and beside it,
// while it changes, others:
//
//	NAME          the value that signs, seals and is shown
//	next          will take its place: counts already, and nobody uses it yet
//	former        was in its place: counts until former-until, for ever where that is missing
//	former-until  a time, RFC 3339
//	mark          changes with each step, so that readers can say which of them they have seen
//
// Who rotates writes next, waits until all readers have it, and puts it into the place of
// the former. So nobody is shown a value that they do not know, in whatever order the nodes
// bring mounted files up to date. `elastichub rotate` does it; see docs/rotation.md.
package rotation
