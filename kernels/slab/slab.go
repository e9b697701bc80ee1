// Package slab lends large buffers. A message of megabytes then costs neither
// an allocation nor the clearing of it, and a connection that waits for its
// next message holds none. The garbage collector takes what is not in use.
package slab

import (
	"math/bits"
	"sync"
)

// Smallest is the size in bytes from which buffers are lent; smaller ones are
// left to their owners.
const Smallest = 64 << 10

// classes of buffers: Smallest << i bytes.
var classes [14]sync.Pool

// Get returns an empty buffer with room for at least n bytes, a power of two.
// n must be positive.
func Get(n int) []byte {
	i := max(0, bits.Len(uint((n-1)/Smallest)))
	if i >= len(classes) {
		return make([]byte, 0, n)
	}
	if b, ok := classes[i].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, Smallest<<i)
}

// Put takes a buffer back, which nobody may use any more. One that Get did not
// make, or none, is left to the garbage collector.
func Put(b []byte) {
	n := cap(b)
	if n < Smallest || n&(n-1) != 0 {
		return
	}
	if i := bits.Len(uint(n/Smallest)) - 1; i < len(classes) {
		spoil(b[:n])
		classes[i].Put(&b)
	}
}

// Grow returns b with room for at least n more bytes. It doubles, and gives
// back what it outgrows.
func Grow(b []byte, n int) []byte {
	if len(b)+n <= cap(b) {
		return b
	}
	need := max(len(b)+n, 2*cap(b))
	if need < Smallest {
		return append(make([]byte, 0, need), b...)
	}
	larger := append(Get(need), b...)
	Put(b)
	return larger
}
