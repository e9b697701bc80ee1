//go:build race

package slab

// spoil overwrites a buffer that was given back, so that tests with the race
// detector find who still uses it.
func spoil(b []byte) { clear(b) }
