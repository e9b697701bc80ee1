// Package store keeps the state of a parked kernel on a volume: it takes the
// stream that the kernel writes (package frames), and gives it back byte by byte.
//
//	Save:  stream ─▶ cut ─▶ name ─┬─ known ──────────────────────▶ ┐
//	                              └─ pack ─▶ seal ─▶ chunks/<name> ┴▶ Draft
//	       Draft ─▶ Commit ─▶ manifest, sweep      or Discard, or a crash: as before
//	Load:  manifest ─▶ chunks, several at a time ─▶ open, unpack ─▶ in order ─▶ stream
//
// A snapshot is there with its manifest, which is written last and replaces that
// of the former one in a single step. Until then the former snapshot is whole.
//
// Nothing that comes from the volume is trusted before it is authenticated: a
// chunk or manifest that is not what was written by this kernel's key is an
// error, and nothing of it is passed on. docs/parking-format.md, "At rest", has
// the files.
package store
