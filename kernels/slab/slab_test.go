package slab

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSizes(t *testing.T) {
	for n, want := range map[int]int{
		1: Smallest, Smallest: Smallest, Smallest + 1: 2 * Smallest, 3 * Smallest: 4 * Smallest, 4 * Smallest: 4 * Smallest, 1 << 28: 1 << 28,
	} {
		b := Get(n)
		assert.Empty(t, b)
		assert.Equal(t, want, cap(b), "%d", n)
		Put(b)
	}
}

func TestPutTakesOnlyItsOwn(t *testing.T) {
	Put(nil)
	Put(make([]byte, 0, 100))
	Put(make([]byte, 0, 3*Smallest))
	for range 10 {
		assert.Equal(t, 4*Smallest, cap(Get(3*Smallest)))
	}
}

func TestGrow(t *testing.T) {
	var b []byte
	var want []byte
	for i := range 40 {
		piece := bytes.Repeat([]byte{byte(i)}, 100_000)
		b = append(Grow(b, len(piece)), piece...)
		want = append(want, piece...)
	}
	assert.True(t, bytes.Equal(want, b))
	assert.Equal(t, 4<<20, cap(b))
	same := Grow(b, 1)
	assert.Same(t, &b[0], &same[0])
}
