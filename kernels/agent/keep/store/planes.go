package store

import "encoding/binary"

// split writes the bytes of 8-byte words by their place in the word: first the
// lowest of all words, then the next. Numbers in arrays differ in few of their
// bytes, so most planes are nearly constant. What is left at the end, less than
// eight words, is copied. Both have the same length.
func split(to, from []byte) {
	words := len(from) / 64 * 8
	for i := 0; i < words; i += 8 {
		var square [8]uint64
		for j := range square {
			square[j] = binary.LittleEndian.Uint64(from[(i+j)*8:])
		}
		transpose(&square)
		for j := range square {
			binary.LittleEndian.PutUint64(to[j*words+i:], square[j])
		}
	}
	copy(to[words*8:], from[words*8:])
}

// join is the inverse of split.
func join(to, from []byte) {
	words := len(from) / 64 * 8
	for i := 0; i < words; i += 8 {
		var square [8]uint64
		for j := range square {
			square[j] = binary.LittleEndian.Uint64(from[j*words+i:])
		}
		transpose(&square)
		for j := range square {
			binary.LittleEndian.PutUint64(to[(i+j)*8:], square[j])
		}
	}
	copy(to[words*8:], from[words*8:])
}

// transpose exchanges rows and columns of eight times eight bytes, by halves,
// quarters and bytes.
func transpose(s *[8]uint64) {
	const halves, quarters, bytes = 0x00000000ffffffff, 0x0000ffff0000ffff, 0x00ff00ff00ff00ff
	for i := range 4 {
		exchange(&s[i], &s[i+4], 32, halves)
	}
	for _, i := range [...]int{0, 1, 4, 5} {
		exchange(&s[i], &s[i+2], 16, quarters)
	}
	for i := 0; i < 8; i += 2 {
		exchange(&s[i], &s[i+1], 8, bytes)
	}
}

func exchange(a, b *uint64, shift int, mask uint64) {
	x, y := *a, *b
	*a = x&mask | (y&mask)<<shift
	*b = x>>shift&mask | y&^mask
}
